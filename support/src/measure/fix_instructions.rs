//! The shape of FIX_INSTRUCTIONS.md (builder.md §6): a head, sections in order, items with their
//! five details.

/// The sections in their order.
const SECTIONS: [&str; 3] = ["P0 (MUST FIX)", "P1 (SHOULD FIX)", "P2 (OPTIONAL)"];

/// The details of an item, in their order.
const DETAILS: [&str; 5] = ["Component", "File", "Severity", "Evidence", "Action"];

/// The words that a severity can be.
const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];

/// What in a text is not as it must be, each with its line; nothing when all of it is.
pub(super) fn misshapen(text: &str) -> Vec<String> {
    let mut lines = (1..).zip(text.lines().map(str::trim_end)).filter(|(_, line)| !line.is_empty());
    let mut wrong = Vec::new();
    if lines.next().is_none_or(|(_, line)| line != "# Fix Instructions") {
        wrong.push("it does not begin with `# Fix Instructions`".to_owned());
    }
    let head = lines.next().map(|(_, line)| line).unwrap_or_default();
    wrong.extend(
        ["Run: ", "Pass: ", "Service: "]
            .iter()
            .filter(|name| !head.contains(**name))
            .map(|name| format!("its second line has no `{}`", name.trim_end())),
    );
    let mut body = Body::default();
    for (number, line) in lines {
        wrong.extend(body.read(line).map(|what| format!("line {number}: {what}")));
    }
    wrong.extend(body.end());
    wrong
}

/// What was read of the sections so far.
#[derive(Default)]
struct Body {
    /// How many of [`SECTIONS`] are begun or left out.
    sections: usize,
    items: usize,
    /// How many of [`DETAILS`] the item has; none before the first item of a section.
    details: Option<usize>,
}

impl Body {
    fn read(&mut self, line: &str) -> Option<String> {
        if let Some(title) = line.strip_prefix("## ") {
            return self.section(title);
        }
        if let Some(title) = line.strip_prefix("### ") {
            return self.item(title);
        }
        let detail = line.strip_prefix("- ").and_then(|line| line.split_once(": "));
        match (detail, self.details) {
            (Some((name, value)), Some(count)) if DETAILS.get(count) == Some(&name) => {
                self.details = Some(count + 1);
                let unknown = name == "Severity" && !SEVERITIES.contains(&value);
                unknown.then(|| format!("{value} is no severity"))
            }
            _ => Some(format!("{line:?} has no place here")),
        }
    }

    fn section(&mut self, title: &str) -> Option<String> {
        let unfinished = self.unfinished();
        self.details = None;
        match SECTIONS.iter().position(|section| *section == title) {
            None => Some(format!("{title:?} is no section")),
            Some(place) if place < self.sections => Some(format!("{title:?} comes too late")),
            Some(place) => {
                self.sections = place + 1;
                unfinished
            }
        }
    }

    fn item(&mut self, title: &str) -> Option<String> {
        let unfinished = self.unfinished();
        self.items += 1;
        self.details = Some(0);
        let mut words = title.splitn(3, ' ');
        let number = words.next().and_then(|word| word.strip_prefix("FINDING-")).unwrap_or_default();
        let is_named = number.len() >= 3 && number.bytes().all(|byte| byte.is_ascii_digit());
        if self.sections == 0 {
            Some("an item stands before the first section".into())
        } else if !is_named || words.count() != 2 {
            Some(format!("{title:?} is not `FINDING-nnn CODE message`"))
        } else {
            unfinished
        }
    }

    fn unfinished(&self) -> Option<String> {
        let lacking = self.details.and_then(|count| DETAILS.get(count));
        lacking.map(|name| format!("the item above has no {name}"))
    }

    fn end(&self) -> Vec<String> {
        let nothing = (self.items == 0).then(|| "it has no item".to_owned());
        self.unfinished().into_iter().chain(nothing).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const GOOD: &str = "# Fix Instructions\nRun: r   Pass: 1   Service: orders\n## P0 (MUST FIX)\n\
                        ### FINDING-001 SEC-003 signature check off\n- Component: orders\n- File: src/a.py:1\n\
                        - Severity: critical\n- Evidence: scan\n- Action: remove it\n## P2 (OPTIONAL)\n\
                        ### FINDING-002 LOG-001 print\n- Component: orders\n- File: -\n- Severity: warning\n\
                        - Evidence: scan\n- Action: use a logger\n";

    #[rstest]
    #[case::good("", "", None)]
    #[case::no_title("# Fix Instructions", "# Instructions", Some("does not begin"))]
    #[case::no_pass("Pass: 1   ", "", Some("`Pass:`"))]
    #[case::order("## P0 (MUST FIX)", "## P2 (OPTIONAL)\n## P0 (MUST FIX)", Some("comes too late"))]
    #[case::section("## P0 (MUST FIX)", "## P3 (LATER)", Some("no section"))]
    #[case::detail("- File: -\n", "", Some("has no place here"))]
    #[case::last_detail("- Action: use a logger\n", "", Some("has no Action"))]
    #[case::severity("critical", "awful", Some("awful is no severity"))]
    #[case::finding("FINDING-001", "ITEM-001", Some("is not `FINDING-nnn"))]
    fn its_shape_is_judged(#[case] part: &str, #[case] instead: &str, #[case] wrong: Option<&str>) {
        let found = misshapen(&GOOD.replacen(part, instead, 1));
        assert_eq!(found.is_empty(), wrong.is_none(), "{found:?}");
        assert!(wrong.is_none_or(|wrong| found.iter().any(|it| it.contains(wrong))), "{found:?}");
    }

    #[test]
    fn what_the_suite_writes_has_this_shape() {
        use crate::{fix_pass::instructions, state::FindingId};
        let violation = crate::fix_pass::violation::Violation {
            code: "LOG-001".into(),
            severity: crate::fix_pass::violation::Severity::Warning,
            file: "src/main.py".into(),
            line: 3,
            message: "print".into(),
        };
        let item = instructions::Item::unclassified(FindingId::FIRST, "orders", &violation, "use a logger");
        assert_eq!(misshapen(&instructions::render("r", 1, "orders", &[item])), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            misshapen(&format!("# Fix Instructions\nRun: \n## P0 (MUST FIX)\n### {text}\n- {text}"));
        }
    }
}
