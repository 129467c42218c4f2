//! One thing that was seen to be wrong, whoever saw it: a test, a scan, a contract check
//! (R4-M5-001).

use serde::{Deserialize, Serialize};

use super::{
    priority::Effect,
    violation::{Severity, Violation},
};
use crate::state::System;

/// Something wrong, as one look at the system shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symptom {
    /// What tells it from every other symptom, in this look and in the next.
    pub key: String,
    /// Symptoms of one cause are one finding.
    pub cause: String,
    /// The id of the matrix or the code of the scan: `B1-07`, `LOG-001`.
    pub code: String,
    /// What is wrong, on one line.
    pub title: String,
    /// Who has to repair it.
    pub system: System,
    /// The service, server or module.
    pub component: String,
    /// Who is told to repair it: a component of the ground; empty when nobody can be.
    pub target: String,
    /// The file below the component; empty for none.
    #[serde(default)]
    pub file: String,
    /// The line, from 1; 0 for none.
    #[serde(default)]
    pub line: u64,
    /// What the scan said.
    pub severity: Severity,
    /// What it does to those who use the system.
    pub effect: Effect,
    /// What can be done until it is repaired; empty for nothing.
    #[serde(default)]
    pub workaround: String,
    /// What was seen, and where that is written down.
    pub evidence: String,
    /// A command that shows it.
    pub reproduction: String,
    /// What to do.
    pub recommendation: String,
}

/// The codes of something that is not there: a service has each once, whichever file is named.
const ABSENCES: [&str; 5] = ["HEALTH-001", "DOCKER-001", "DOCKER-005", "ADV-003", "DEPLOY-002"];

/// What looked at a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A scan of its tree: it can be repeated on the tree.
    Scan,
    /// The integration of the running system: it takes another run of the pipeline.
    Integration,
}

impl std::fmt::Display for By {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::Scan => "scan",
            Self::Integration => "contract",
        })
    }
}

/// Where violations were found, and who is told of them.
#[derive(Debug, Clone, Copy)]
pub struct Scanned<'a> {
    /// What looked: the first word of the keys.
    pub by: By,
    /// The service or part that was scanned.
    pub component: &'a str,
    /// Who has to repair it.
    pub system: System,
    /// Who is told.
    pub target: &'a str,
    /// What was scanned with what.
    pub evidence: &'a str,
    /// A command that shows it again.
    pub reproduction: &'a str,
}

impl Scanned<'_> {
    /// The symptom that a violation is. Two scans that find the same at one place have one cause.
    pub fn symptom(&self, violation: &Violation) -> Symptom {
        let Violation { code, severity, file, line, message } = violation;
        let component = self.component;
        let place = match (ABSENCES.contains(&code.as_str()), line) {
            (true, _) => String::new(),
            (false, 0) => format!(" {file} {}", without_numbers(message)),
            (false, _) => format!(" {file}"),
        };
        Symptom {
            key: format!("{} {component} {code} {file} {message}", self.by),
            cause: format!("{} {component} {code}{place}", self.by),
            code: code.clone(),
            title: message.clone(),
            system: self.system,
            component: component.to_owned(),
            target: self.target.to_owned(),
            file: file.clone(),
            line: *line,
            severity: *severity,
            effect: Effect::of_code(code, *severity),
            workaround: String::new(),
            evidence: self.evidence.to_owned(),
            reproduction: self.reproduction.to_owned(),
            recommendation: format!("remove the violation of {code}, change nothing else"),
        }
    }
}

/// `text` without what differs from run to run: every word with a digit in it is a `#`.
pub fn without_numbers(text: &str) -> String {
    let mut steady = String::with_capacity(text.len());
    let mut word = String::new();
    for letter in text.chars().chain([' ']) {
        if letter.is_alphanumeric() {
            word.push(letter);
            continue;
        }
        match word.contains(|letter: char| letter.is_ascii_digit()) {
            true => steady.push('#'),
            false => steady.push_str(&word),
        }
        word.clear();
        steady.push(letter);
    }
    steady.pop();
    steady
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    #[rstest]
    #[case("took 1532 ms", "took # ms")]
    #[case("/tmp/run-8f3a/x: no such file", "/tmp/run-#/x: no such file")]
    #[case("größe 3", "größe #")]
    #[case("", "")]
    fn numbers_make_no_difference(#[case] text: &str, #[case] steady: &str) {
        assert_eq!(without_numbers(text), steady);
    }
}
