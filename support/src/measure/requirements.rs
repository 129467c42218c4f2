//! The table of a Build's requirements: what is asked, where it is implemented, what shows it
//! (spec scoring.md §9).

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    audit::{Link, Traced},
    matrix::Matrix,
};

/// The requirements of one Build, in their order.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequirementTable {
    #[serde(rename = "requirement")]
    pub(super) entries: Vec<Entry>,
}

/// One row.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) description: String,
    #[serde(default)]
    pub(super) milestone: Option<u8>,
    #[serde(default)]
    pub(super) implementation: Vec<Place>,
    #[serde(default)]
    pub(super) tests: Vec<String>,
    pub(super) link: Link,
}

/// Where a requirement is implemented.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// The file, relative to the project root of the Build.
    file: PathBuf,
    /// A name that must occur in it.
    #[serde(default)]
    item: Option<String>,
}

/// A table that cannot be used; the message names it.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {path}: {reason}")]
pub struct RequirementError {
    path: String,
    reason: String,
}

impl RequirementError {
    pub(super) fn new(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self { path: path.display().to_string(), reason: reason.to_string() }
    }
}

impl RequirementTable {
    /// Reads the table at `path`.
    ///
    /// # Errors
    /// When it is missing, breaks its shape, or has an id twice.
    pub fn read(path: &Path) -> Result<Self, RequirementError> {
        let failed = |reason: &dyn std::fmt::Display| RequirementError::new(path, reason);
        let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
        let table: Self = toml::from_str(&text).map_err(|error| failed(&error))?;
        let mut seen = BTreeSet::new();
        match table.entries.iter().find(|entry| !seen.insert(&entry.id)) {
            Some(twice) => Err(failed(&format!("{} stands twice", twice.id))),
            None => Ok(table),
        }
    }

    /// The tests that are neither an id of `matrix` nor one of `functions`.
    pub fn unknown_tests(&self, matrix: &Matrix, functions: &BTreeSet<String>) -> Vec<String> {
        let is_id = |name: &str| matrix.rows().iter().any(|row| row.id.to_string() == name);
        let tests = self.entries.iter().flat_map(|entry| entry.tests.iter().map(move |test| (&entry.id, test)));
        let unknown = tests.filter(|(_, test)| !is_id(test) && !functions.contains(*test));
        unknown.map(|(id, test)| format!("{id}: {test}")).collect()
    }
}

impl Place {
    fn name(&self) -> String {
        let file = self.file.display();
        self.item.as_ref().map_or_else(|| file.to_string(), |item| format!("{file}: {item}"))
    }

    /// Whether the file is there, with the item in it.
    fn is_there(&self, root: &Path) -> bool {
        let text = std::fs::read_to_string(root.join(&self.file));
        text.is_ok_and(|text| self.item.as_ref().is_none_or(|item| text.contains(item.as_str())))
    }
}

impl Entry {
    /// What is found of the row in the source below `root`.
    pub(super) fn traced(&self, root: &Path, source_available: bool) -> Traced {
        let lost = self.implementation.iter().filter(|place| !place.is_there(root)).map(Place::name).collect();
        Traced {
            id: self.id.clone(),
            description: self.description.clone(),
            milestone: self.milestone.map_or_else(String::new, |milestone| format!("M{milestone}")),
            implementation: self.implementation.iter().map(Place::name).collect(),
            source_available,
            lost,
            tests: self.tests.clone(),
            link: self.link,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    const TABLE: &str = r#"
        [[requirement]]
        id = "S1-001"
        description = "it answers"
        milestone = 2
        implementation = [{ file = "src/a.rs", item = "fn answer" }]
        tests = ["B1-07", "no_such_test"]
        link = "derived"
    "#;

    fn folder(source: &str, table: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        crate::atomic::write(&folder.path().join("src/a.rs"), source).expect("written");
        crate::atomic::write(&folder.path().join("t.toml"), table).expect("written");
        folder
    }

    #[rstest]
    #[case::there("fn answer() {}", &[])]
    #[case::item_gone("fn other() {}", &["src/a.rs: fn answer"])]
    fn what_is_not_found_is_named(#[case] source: &str, #[case] lost: &[&str]) {
        let folder = folder(source, TABLE);
        let table = RequirementTable::read(&folder.path().join("t.toml")).expect("readable");
        let traced = table.entries[0].traced(folder.path(), true);
        assert_eq!(traced.lost, lost);
        assert_eq!((traced.milestone.as_str(), traced.link), ("M2", Link::Derived));
    }

    #[test]
    fn an_unknown_test_is_named() {
        let folder = folder("", TABLE);
        let table = RequirementTable::read(&folder.path().join("t.toml")).expect("readable");
        let matrix = Matrix::load().expect("readable");
        assert_eq!(table.unknown_tests(&matrix, &BTreeSet::new()), ["S1-001: no_such_test"]);
    }

    #[test]
    fn an_id_stands_once() {
        let folder = folder("", &TABLE.repeat(2));
        let error = RequirementTable::read(&folder.path().join("t.toml")).expect_err("twice").to_string();
        assert!(error.contains("S1-001 stands twice"), "{error}");
    }
}
