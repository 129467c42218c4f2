//! One thing that was seen to be wrong, whoever saw it: a test, a scan, a contract check
//! (R4-M5-001).

use serde::{Deserialize, Serialize};

use super::{priority::Effect, violation::Severity};
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
