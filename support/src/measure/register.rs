//! The register of a Build: the rows of its PRD where there is one, else those of the table that
//! the profile names (spec scoring.md §9).

use std::path::Path;

use super::{
    prd::{self, PrdLine},
    requirements::{Entry, RequirementError, RequirementTable},
};
use crate::{
    audit::{Link, Register, Traced},
    sut::{Build, Profile},
    verdict::Failure,
};

/// How many requirements the plan's PRDs have, by Build: 231 together.
const PLANNED: [usize; 3] = [73, 88, 70];

/// The requirements of `build`, each with what was found of its implementation, and the table
/// that links them; none where the profile has a PRD only.
///
/// # Errors
/// UNTESTABLE when the profile names neither a table nor a PRD, FAIL when one cannot be used.
pub fn register(profile: &Profile, build: Build) -> Result<(Register, Option<RequirementTable>), Failure> {
    let (entry, root) = (profile.build(build), profile.build_root(build));
    let key = format!("builds.build{}", build.index() + 1);
    let source_available = !entry.sources.is_empty() && entry.sources.iter().all(|folder| root.join(folder).is_dir());
    let table = entry.requirements.as_ref().map(|path| RequirementTable::read(&root.join(path)));
    let table = table.transpose().map_err(Failure::fail)?;
    let entries = table.iter().flat_map(|table| &table.entries);
    let (path, requirements) = match (&entry.prd, &entry.requirements) {
        (Some(prd), _) => {
            let lines = read_prd(&root.join(prd)).map_err(Failure::fail)?;
            (prd, of_prd(build, &lines, table.as_ref(), root, source_available))
        }
        (None, Some(path)) => (path, entries.map(|entry| entry.traced(root, source_available)).collect()),
        (None, None) => {
            return Err(Failure::untestable(format!("the profile has no {key}.requirements and no {key}.prd")));
        }
    };
    let is_prd = entry.prd.is_some();
    let expected = is_prd.then(|| PLANNED[build.index()]);
    let register = Register { build, path: path.display().to_string(), is_prd, expected, requirements };
    Ok((register, table))
}

fn read_prd(path: &Path) -> Result<Vec<PrdLine>, RequirementError> {
    let text = std::fs::read_to_string(path).map_err(|error| RequirementError::new(path, error))?;
    Ok(prd::requirements(&text))
}

/// The rows of a PRD; a row of the table with the same id says where it is implemented and what
/// shows it.
fn of_prd(
    build: Build,
    lines: &[PrdLine],
    table: Option<&RequirementTable>,
    root: &Path,
    source_available: bool,
) -> Vec<Traced> {
    let linked = |line: &PrdLine| {
        let entry = table.and_then(|table| table.entries.iter().find(|entry| entry.id == line.id));
        let traced = entry.map(|entry: &Entry| entry.traced(root, source_available));
        let nothing = || Traced {
            id: String::new(),
            description: String::new(),
            milestone: String::new(),
            implementation: Vec::new(),
            source_available,
            lost: Vec::new(),
            tests: Vec::new(),
            link: Link::Derived,
        };
        Traced {
            // Ids repeat across the Builds.
            id: format!("{build:?}:{}", line.id),
            description: line.description.clone(),
            milestone: line.heading.clone(),
            ..traced.unwrap_or_else(nothing)
        }
    };
    lines.iter().map(linked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;
    use tempfile::TempDir;

    /// A profile whose first Build is described by `facts`, beside a table, a PRD and a source.
    fn profile(facts: &str) -> (TempDir, Profile) {
        let folder = tempfile::tempdir().expect("a folder");
        let table = "[[requirement]]\nid = 'REQ-001'\ndescription = 'd'\n\
                     implementation = [{ file = 'src/a.rs' }]\ntests = ['B1-07']\nlink = 'stated'\n";
        for (path, text) in [
            ("src/a.rs", ""),
            ("table.toml", table),
            ("prd.md", "# One\n- [x] REQ-001: a\n- [x] REQ-002: b\n"),
            ("sut.toml", &format!("name = 'x'\n[builds.build1]\n{facts}\n")),
        ] {
            crate::atomic::write(&folder.path().join(path), text).expect("written");
        }
        let roots = [(); 3].map(|()| folder.path().to_path_buf());
        let profile = Profile::read(&folder.path().join("sut.toml"), roots).expect("a good profile");
        (folder, profile)
    }

    #[test]
    fn a_prd_gives_the_rows_and_the_table_links_them() {
        let (_folder, profile) = profile("sources = ['src']\nrequirements = 'table.toml'\nprd = 'prd.md'");
        let (register, _) = register(&profile, Build::B1).expect("readable");
        let rows: Vec<_> =
            register.requirements.iter().map(|row| (row.id.as_str(), row.implementation.len())).collect();
        assert_eq!(rows, [("B1:REQ-001", 1), ("B1:REQ-002", 0)]);
        assert_eq!((register.is_prd, register.expected), (true, Some(73)));
        assert_eq!(register.requirements[0].milestone, "One");
    }

    #[rstest]
    #[case::there("sources = ['src']\nrequirements = 'table.toml'", true)]
    #[case::gone("sources = ['src', 'lib']\nrequirements = 'table.toml'", false)]
    #[case::not_said("requirements = 'table.toml'", false)]
    fn a_table_is_the_register_without_a_prd(#[case] facts: &str, #[case] source_available: bool) {
        let (_folder, profile) = profile(facts);
        let (register, _) = register(&profile, Build::B1).expect("readable");
        assert_eq!(register.requirements.len(), 1);
        assert_eq!(register.requirements[0].source_available, source_available);
        assert_eq!(register.expected, None);
    }

    #[test]
    fn the_missing_key_is_named() {
        let (_folder, profile) = profile("sources = ['src']");
        let error = format!("{:?}", register(&profile, Build::B1).expect_err("nothing to read"));
        assert!(error.contains("builds.build1.requirements"), "{error}");
    }
}
