//! What a command line selects: ids, requirements, milestones.

use std::collections::BTreeSet;

use crate::matrix::{Matrix, Requirement};

/// The test binaries of each milestone, in its order (spec README §6).
const BINARIES: [(u8, &[&str]); 6] = [
    (1, &["m1_infrastructure"]),
    (2, &["m2_mcp_wiring", "m2_client_wrappers"]),
    (3, &["m3_builder_invocation", "m3_config_generation"]),
    (4, &["m4_pipeline_e2e", "m4_health_checks", "m4_contract_compliance"]),
    (5, &["m5_fix_pass"]),
    (6, &["m6_audit", "regression"]),
];

/// The milestones, 1 to 6.
pub(super) fn milestones() -> impl Iterator<Item = u8> {
    BINARIES.iter().map(|(milestone, _)| *milestone)
}

/// The test binaries of one milestone.
pub(super) fn binaries(milestone: u8) -> &'static [&'static str] {
    BINARIES.iter().find(|(number, _)| *number == milestone).map_or(&[], |(_, binaries)| binaries)
}

/// A selection of tests; empty selects everything.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    milestones: BTreeSet<u8>,
    prefixes: BTreeSet<String>,
}

/// A word that selects nothing.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{word:?} is no id, requirement or milestone; the nearest are {}", nearest.join(", "))]
#[diagnostic(
    code(run4::selection),
    help("ids and requirements stand in fixtures/matrix.toml and fixtures/requirements.toml; milestones are m1 to m6")
)]
pub(super) struct UnknownWord {
    word: String,
    nearest: Vec<String>,
}

impl Selection {
    /// Reads the words of a command line.
    pub(super) fn parse(words: &[String], matrix: &Matrix, requirements: &[Requirement]) -> Result<Self, UnknownWord> {
        let mut selection = Self::default();
        for word in words {
            let written = word.to_uppercase().replace('_', "-");
            let milestone = written.strip_prefix('M').and_then(|number| number.parse().ok());
            if let Some(number) = milestone.filter(|number| milestones().any(|known| known == *number)) {
                selection.milestones.insert(number);
            } else if let Ok(row) = matrix.named(word) {
                selection.prefixes.insert(row.id.test_prefix());
            } else if let Some(requirement) = requirements.iter().find(|requirement| requirement.id == written) {
                selection.prefixes.insert(format!("{}_", written.to_lowercase().replace('-', "_")));
                selection.prefixes.extend(requirement.ids.iter().map(crate::matrix::Id::test_prefix));
            } else {
                return Err(unknown(word, &written, matrix, requirements));
            }
        }
        Ok(selection)
    }

    /// Whether a test is selected.
    pub(super) fn covers(&self, binary: &str, test: &str) -> bool {
        let everything = self.milestones.is_empty() && self.prefixes.is_empty();
        everything
            || self.milestones.iter().any(|milestone| binaries(*milestone).contains(&binary))
            || self.prefixes.iter().any(|prefix| test.starts_with(prefix))
    }

    /// The nextest filter for one milestone; `None` when nothing of it is selected.
    /// `present` are the test binaries that exist.
    pub(super) fn filter(&self, milestone: u8, present: &BTreeSet<String>) -> Option<String> {
        let binaries: Vec<_> = binaries(milestone)
            .iter()
            .filter(|binary| present.contains(**binary))
            .map(|binary| format!("binary(={binary})"))
            .collect();
        let everything = self.milestones.is_empty() && self.prefixes.is_empty();
        if binaries.is_empty() {
            return None;
        }
        let binaries = binaries.join(" | ");
        if everything || self.milestones.contains(&milestone) {
            return Some(format!("package(=run4) & ({binaries})"));
        }
        let tests: Vec<_> = self.prefixes.iter().map(|prefix| format!("test(/^{prefix}/)")).collect();
        (!tests.is_empty()).then(|| format!("package(=run4) & ({binaries}) & ({})", tests.join(" | ")))
    }
}

fn unknown(word: &str, written: &str, matrix: &Matrix, requirements: &[Requirement]) -> UnknownWord {
    let ids = matrix.rows().iter().map(|row| row.id.to_string());
    let names = ids.chain(requirements.iter().map(|requirement| requirement.id.clone()));
    let mut near: Vec<_> = names
        .chain(milestones().map(|number| format!("M{number}")))
        .map(|name| (strsim::damerau_levenshtein(written, &name), name))
        .collect();
    near.sort();
    UnknownWord { word: word.to_owned(), nearest: near.into_iter().take(3).map(|(_, name)| name).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    fn parse(words: &[&str]) -> Result<Selection, UnknownWord> {
        let words: Vec<_> = words.iter().map(ToString::to_string).collect();
        let matrix = Matrix::load().expect("the matrix is readable");
        Selection::parse(&words, &matrix, &crate::matrix::requirements().expect("readable"))
    }

    #[rstest]
    #[case::everything(&[], Some("package(=run4) & (binary(=m2_mcp_wiring))"))]
    #[case::milestone(&["m2"], Some("package(=run4) & (binary(=m2_mcp_wiring))"))]
    #[case::other_milestone(&["M1"], None)]
    #[case::id(&["b1-07"], Some("package(=run4) & (binary(=m2_mcp_wiring)) & (test(/^b1_07_/))"))]
    #[case::ids(&["B1_07", "SC-07"], Some("package(=run4) & (binary(=m2_mcp_wiring)) & (test(/^b1_07_/) | test(/^sc_07_/))"))]
    fn words_become_a_filter(#[case] words: &[&str], #[case] filter: Option<&str>) {
        let present = BTreeSet::from(["m1_infrastructure".to_owned(), "m2_mcp_wiring".to_owned()]);
        assert_eq!(parse(words).expect("known words").filter(2, &present).as_deref(), filter);
    }

    #[rstest]
    #[case::id("B1-70", "B1-07")]
    #[case::requirement("R4-M2-04", "R4-M2-004")]
    #[case::milestone("m9", "M1")]
    fn an_unknown_word_is_refused_with_the_nearest(#[case] word: &str, #[case] near: &str) {
        let error = parse(&[word]).expect_err("unknown");
        assert!(error.nearest.contains(&near.to_owned()), "{error}");
    }
}
