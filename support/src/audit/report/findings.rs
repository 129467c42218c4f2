//! Findings, in a table for each system and one by one (appendix B).

use serde::Serialize;

use super::table::{code, table, text};
use crate::{
    audit::{Audit, findings::of_system},
    fix_pass::catalogue::Entry,
    state::{Priority, Resolution, System},
};

/// One finding by the layout of the spec (scoring.md §11).
#[derive(Serialize)]
pub(super) struct Layout {
    heading: String,
    facts: Vec<[String; 2]>,
}

/// Defects in all, resolved and remaining; P3 are told apart.
pub(super) fn totals(audit: &Audit) -> String {
    let count = |wanted: fn(&Entry) -> bool| audit.findings.entries.iter().filter(|entry| wanted(entry)).count();
    let is_defect = |entry: &Entry| entry.finding.priority != Priority::P3;
    let [all, fixed, documented] = [
        count(|entry| entry.finding.priority != Priority::P3),
        count(|entry| entry.finding.priority != Priority::P3 && !entry.is_open()),
        count(|entry| entry.finding.priority == Priority::P3),
    ];
    let open = audit.findings.open().filter(|entry| is_defect(entry)).count();
    format!("{all}, {fixed} resolved, {open} remaining (appendix B); beside them {documented} of P3, documented only")
}

/// The findings of a system, worst first.
pub(super) fn of(audit: &Audit, system: System) -> String {
    table(
        ["Finding", "Priority", "What is wrong", "Component", "Recommendation", "Resolution"],
        of_system(&audit.findings, system).into_iter().map(|entry| {
            [
                entry.finding.finding_id.to_string(),
                entry.finding.priority.to_string(),
                text(&format!("{}: {}", entry.code, entry.title)),
                text(&entry.finding.component),
                text(&entry.finding.recommendation),
                resolution(entry),
            ]
        }),
    )
}

/// Every finding, by id.
pub(super) fn layouts(audit: &Audit) -> Vec<Layout> {
    audit.findings.entries.iter().map(layout).collect()
}

fn layout(entry: &Entry) -> Layout {
    let finding = &entry.finding;
    let place = match (entry.file.as_str(), entry.line) {
        ("", _) => String::new(),
        (file, 0) => code(file),
        (file, line) => code(&format!("{file}:{line}")),
    };
    let facts = [
        ("Priority", format!("{} ({})", finding.priority, text(&entry.branch))),
        ("System", finding.system.to_string()),
        ("Component", text(&finding.component)),
        ("Place", place),
        ("Evidence", text(&finding.evidence)),
        ("Reproduction", code(&entry.reproduction)),
        ("Recommendation", text(&finding.recommendation)),
        ("Workaround", text(&entry.workaround)),
        ("Symptoms", many(entry.symptoms.len())),
        ("Resolution", resolution(entry)),
        ("Fix verification", text(&finding.fix_verification)),
    ];
    let said = facts.into_iter().filter(|(_, value)| !value.is_empty());
    Layout {
        heading: format!("{}: {}, {}", finding.finding_id, text(&entry.code), text(&entry.title)),
        facts: said.map(|(name, value)| [name.to_owned(), value]).collect(),
    }
}

/// Nothing for one: a finding has at least that.
fn many(symptoms: usize) -> String {
    if symptoms > 1 { format!("{symptoms} of one cause") } else { String::new() }
}

fn resolution(entry: &Entry) -> String {
    let reason = || text(&entry.reason);
    match (entry.finding.resolution, entry.reason.is_empty()) {
        (Resolution::Fixed, _) => format!("FIXED in pass {}", entry.finding.fix_pass_number),
        (Resolution::WontFix, _) => format!("WONTFIX: {}", reason()),
        (Resolution::Open | Resolution::Undecided, true) => "OPEN".to_owned(),
        (Resolution::Open | Resolution::Undecided, false) => format!("OPEN: {}", reason()),
    }
}
