//! The requirements in a Build's PRD (spec scoring.md §9): lines `- [x] REQ-001: …`. A tick mark
//! is a claim, no evidence.

/// The kinds of ids that a PRD has; the plan counts those of the first.
const KINDS: [&str; 7] = ["REQ", "TECH", "INT", "WIRE", "SVC", "TEST", "SEC"];

/// A requirement of a PRD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PrdLine {
    /// `REQ-001`.
    pub(super) id: String,
    /// The rest of the line.
    pub(super) description: String,
    /// The heading it stands below; empty before the first.
    pub(super) heading: String,
}

/// The REQ lines of a PRD, in their order; the first of an id counts.
pub(super) fn requirements(text: &str) -> Vec<PrdLine> {
    let mut found: Vec<PrdLine> = Vec::new();
    let mut heading = String::new();
    for line in text.lines() {
        if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().to_owned();
        }
        let Some((id, description)) = item(line) else { continue };
        if id.starts_with(KINDS[0]) && !found.iter().any(|known| known.id == id) {
            found.push(PrdLine { id: id.into(), description: description.trim().into(), heading: heading.clone() });
        }
    }
    found
}

/// Id and text of a line of the list; none for any other line.
fn item(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix("- [")?;
    let rest = [" ", "x", "X"].iter().find_map(|mark| rest.strip_prefix(mark))?.strip_prefix("] ")?;
    let (id, description) = rest.split_once(':')?;
    let (kind, number) = id.split_once('-')?;
    let (digits, letter) = number.split_at_checked(3)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_letter = letter.len() <= 1 && letter.bytes().all(|byte| byte.is_ascii_alphabetic());
    (KINDS.contains(&kind) && is_number && is_letter).then_some((id, description))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case::ticked("- [x] REQ-001: it answers", Some("REQ-001"))]
    #[case::open("- [ ] REQ-001B: it answers", Some("REQ-001B"))]
    #[case::other_kind("- [X] SEC-012: it is safe", Some("SEC-012"))]
    #[case::unknown_kind("- [x] FOO-001: it", None)]
    #[case::indented("  - [x] REQ-001: it", None)]
    #[case::two_digits("- [x] REQ-01: it", None)]
    #[case::two_letters("- [x] REQ-001AB: it", None)]
    #[case::no_mark("- REQ-001: it", None)]
    fn a_line_names_a_requirement(#[case] line: &str, #[case] id: Option<&str>) {
        assert_eq!(item(line).map(|(id, _)| id), id);
    }

    #[test]
    fn the_milestone_is_the_heading_and_only_req_lines_count() {
        let text = "- [x] REQ-001: a\n## Milestone 2\n- [ ] REQ-900: b\n- [x] TECH-001: c\n- [x] REQ-001: again\n";
        let found: Vec<_> = requirements(text).into_iter().map(|it| (it.id, it.description, it.heading)).collect();
        let row = |id: &str, text: &str, heading: &str| (id.to_owned(), text.to_owned(), heading.to_owned());
        assert_eq!(found, [row("REQ-001", "a", ""), row("REQ-900", "b", "Milestone 2")]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in any::<String>()) {
            requirements(&format!("- [x] {text}\n{text}"));
        }
    }
}
