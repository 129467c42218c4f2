//! FIX_INSTRUCTIONS.md: what a builder is told to repair in its service (builder.md §6).

use std::fmt::Write;

use super::violation::{Severity, Violation};
use crate::state::{FindingId, Priority};

/// The sections of the file, in order. P3 is documented elsewhere and never repaired.
const SECTIONS: [(Priority, &str); 3] =
    [(Priority::P0, "MUST FIX"), (Priority::P1, "SHOULD FIX"), (Priority::P2, "OPTIONAL")];

/// With this many items of P0 and P1 there is no time for those of P2.
const BUSY: usize = 5;

/// One thing to repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The finding it belongs to.
    pub finding: FindingId,
    /// The code of the violation, `LOG-001`.
    pub code: String,
    /// What is wrong, on one line.
    pub message: String,
    /// How urgent it is.
    pub priority: Priority,
    /// The service or module.
    pub component: String,
    /// The file below the service; empty for none.
    pub file: String,
    /// The line, from 1; 0 for none.
    pub line: u64,
    /// What the scan said.
    pub severity: Severity,
    /// How to see it.
    pub evidence: String,
    /// The change that is asked for.
    pub action: String,
}

impl Item {
    /// The item for a violation that nobody has classified: its severity gives the priority.
    pub fn unclassified(finding: FindingId, component: &str, violation: &Violation, action: &str) -> Self {
        Self {
            finding,
            code: violation.code.clone(),
            message: violation.message.clone(),
            priority: violation.severity.default_priority(),
            component: component.to_owned(),
            file: violation.file.clone(),
            line: violation.line,
            severity: violation.severity,
            evidence: "scan of the service's tree".to_owned(),
            action: action.to_owned(),
        }
    }
}

/// Those of `items` that a file lists: never P3, and P2 only while there is little else to do.
pub fn listed(items: &[Item]) -> Vec<&Item> {
    let urgent = items.iter().filter(|item| item.priority <= Priority::P1).count();
    let last = if urgent < BUSY { Priority::P2 } else { Priority::P1 };
    items.iter().filter(|item| item.priority <= last).collect()
}

/// The text of the file for `service` in pass number `pass` of the run `run`.
pub fn render(run: &str, pass: u32, service: &str, items: &[Item]) -> String {
    let listed = listed(items);
    let mut text = format!("# Fix Instructions\nRun: {run}   Pass: {pass}   Service: {service}\n");
    for (priority, title) in SECTIONS {
        let mut chosen = listed.iter().filter(|item| item.priority == priority).peekable();
        if chosen.peek().is_none() {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "## {priority} ({title})");
        for item in chosen {
            let place = match (item.file.as_str(), item.line) {
                ("", _) => "-".to_owned(),
                (file, 0) => file.to_owned(),
                (file, line) => format!("{file}:{line}"),
            };
            let _ = writeln!(text, "### {} {} {}", item.finding, item.code, one_line(&item.message));
            let _ = writeln!(text, "- Component: {}\n- File: {place}", item.component);
            let _ = writeln!(text, "- Severity: {}", item.severity.word());
            let _ = writeln!(text, "- Evidence: {}\n- Action: {}", one_line(&item.evidence), one_line(&item.action));
        }
    }
    text
}

/// A text as one line: the form of the file gives each part a line of its own.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    fn item(number: u16, code: &str, severity: Severity, file: &str, line: u64) -> Item {
        let violation =
            Violation { code: code.into(), severity, file: file.into(), line, message: "what is\nwrong".into() };
        let finding = format!("FINDING-{number:03}").parse().expect("an id");
        Item::unclassified(finding, "auth-service", &violation, "repair it")
    }

    #[test]
    fn items_stand_by_priority() {
        let items = [
            item(1, "LOG-001", Severity::Warning, "src/main.py", 12),
            item(2, "DOCKER-002", Severity::Critical, "Dockerfile", 3),
            item(3, "HEALTH-001", Severity::Error, "", 0),
        ];
        insta::assert_snapshot!(render("7d3f", 2, "auth-service", &items), @r"
        # Fix Instructions
        Run: 7d3f   Pass: 2   Service: auth-service
        ## P0 (MUST FIX)
        ### FINDING-002 DOCKER-002 what is wrong
        - Component: auth-service
        - File: Dockerfile:3
        - Severity: critical
        - Evidence: scan of the service's tree
        - Action: repair it
        ## P1 (SHOULD FIX)
        ### FINDING-003 HEALTH-001 what is wrong
        - Component: auth-service
        - File: -
        - Severity: error
        - Evidence: scan of the service's tree
        - Action: repair it
        ## P2 (OPTIONAL)
        ### FINDING-001 LOG-001 what is wrong
        - Component: auth-service
        - File: src/main.py:12
        - Severity: warning
        - Evidence: scan of the service's tree
        - Action: repair it
        ");
    }

    #[rstest]
    #[case::few(4, true)]
    #[case::many(5, false)]
    fn optional_items_wait_while_there_is_much_to_do(#[case] urgent: u16, #[case] shown: bool) {
        let mut items: Vec<_> =
            (1..=urgent).map(|number| item(number, "SEC-001", Severity::Error, "src/main.py", 1)).collect();
        items.push(item(9, "LOG-001", Severity::Warning, "src/main.py", 2));
        assert_eq!(render("r", 1, "s", &items).contains("## P2 (OPTIONAL)"), shown);
    }

    #[test]
    fn what_is_only_documented_is_never_listed() {
        let mut only = item(1, "ADV-004", Severity::Info, "src/main.py", 1);
        only.priority = Priority::P3;
        assert_eq!(render("r", 1, "s", &[only]), "# Fix Instructions\nRun: r   Pass: 1   Service: s\n");
    }
}
