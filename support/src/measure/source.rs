//! The source of a Build as scores count it: without tests, vendored and build folders (spec
//! scoring.md §1).

use std::{collections::BTreeSet, io, path::Path};

use crate::{
    audit::Scanned,
    fixtures::Orchestrator,
    pipeline::gate::{GateInput, GateReport, LAYERS},
    sut::Build,
    verdict::Failure,
};

/// The ends of source files.
const SUFFIXES: [&str; 6] = ["py", "rs", "ts", "js", "go", "cs"];

/// Folders that are no source of the Build's own, or hold its tests.
const LEFT_OUT: [&str; 16] = [
    ".git",
    ".venv",
    "venv",
    "node_modules",
    "__pycache__",
    "vendor",
    "third_party",
    "target",
    "build",
    "dist",
    ".tox",
    "tests",
    "test",
    "__tests__",
    "testdata",
    "snapshots",
];

/// Copies the source below `from` to `to`; gives how many lines of it are not blank. A module of
/// Rust inside of a file, `#[cfg(test)]`, counts as source.
///
/// # Errors
/// The file system's own, with the path.
pub fn copy_source(from: &Path, to: &Path) -> io::Result<usize> {
    std::fs::create_dir_all(to)?;
    visit(from, Path::new(""), &mut |below, bytes| {
        let path = to.join(below);
        std::fs::create_dir_all(path.parent().unwrap_or(to))?;
        std::fs::write(path, bytes)
    })
}

/// How many lines of the source below `root` are not blank, as [`copy_source`] counts them.
///
/// # Errors
/// As [`copy_source`].
pub fn source_lines(root: &Path) -> io::Result<usize> {
    visit(root, Path::new(""), &mut |_, _| Ok(()))
}

/// Shows each file below `root` that is no test's; gives the lines of source.
fn visit(root: &Path, below: &Path, show: &mut dyn FnMut(&Path, &[u8]) -> io::Result<()>) -> io::Result<usize> {
    let folder = root.join(below);
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", folder.display()));
    let mut lines = 0;
    for entry in std::fs::read_dir(&folder).map_err(named)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let (below, kind) = (below.join(&name), entry.file_type()?);
        if kind.is_dir() {
            if !LEFT_OUT.contains(&name.as_str()) && !name.ends_with(".egg-info") {
                lines += visit(root, &below, show)?;
            }
        } else if kind.is_file() && !is_test(&name) {
            let bytes = std::fs::read(entry.path()).map_err(named)?;
            if below.extension().is_some_and(|end| SUFFIXES.iter().any(|suffix| end == *suffix)) {
                lines += String::from_utf8_lossy(&bytes).lines().filter(|line| !line.trim().is_empty()).count();
            }
            show(&below, &bytes).map_err(named)?;
        }
    }
    Ok(lines)
}

/// Whether a file of this name holds tests.
fn is_test(name: &str) -> bool {
    let (stem, _) = name.split_once('.').unwrap_or((name, ""));
    let marked = [".test.", ".spec."].iter().any(|mark| name.contains(mark));
    marked
        || stem == "tests"
        || stem == "conftest"
        || stem.starts_with("test_")
        || stem.ends_with("_tests")
        || stem.ends_with("_test")
}

/// What the system's own gate finds in the folders `sources`, each a tree of its own, by layer 3.
///
/// # Errors
/// UNTESTABLE when there is no orchestrator, FAIL when `verify` ends without a report.
pub async fn scan(orchestrator: &Orchestrator, build: Build, sources: &[impl AsRef<Path>]) -> Result<Scanned, Failure> {
    let mut input = GateInput::new().contract_tests(10, 10);
    let mut scanned = Scanned { build, completed: false, lines: 0, sources: Vec::new(), violations: Vec::new() };
    for (name, source) in names(sources).into_iter().zip(sources) {
        scanned.lines += copy_source(source.as_ref(), &orchestrator.workspace().build(&name))?;
        input = input.service(&name, &serde_json::json!({}));
        scanned.sources.push(name);
    }
    input.write(orchestrator.workspace())?;
    let outcome = orchestrator.run(&["verify"]).await?;
    if !matches!(outcome.code, Some(0 | 1)) {
        return Err(Failure::fail(format!("verify ended with {:?}: {}", outcome.code, outcome.stderr)));
    }
    let report = GateReport::read(orchestrator.workspace())?;
    scanned.completed = report.layer(LAYERS[2])["total_checks"].as_u64() > Some(0);
    let found = report.violations_of(LAYERS[2]);
    scanned.violations =
        found.iter().map(|it| format!("{} {} {}:{}", it.code, it.service, it.place, it.line)).collect();
    Ok(scanned)
}

/// A name for each source, that of its folder; a number tells folders of one name apart.
fn names(sources: &[impl AsRef<Path>]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let name = |source: &Path| {
        let folder = source.file_name().unwrap_or_default().to_string_lossy();
        let (mut name, mut number) = (folder.to_string(), 1);
        while !taken.insert(name.clone()) {
            number += 1;
            name = format!("{folder}-{number}");
        }
        name
    };
    sources.iter().map(AsRef::as_ref).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    #[rstest]
    #[case::different(&["x/a", "x/b"], &["a", "b"])]
    #[case::one_name(&["x/src", "y/src", "z/src"], &["src", "src-2", "src-3"])]
    #[case::a_number_that_is_taken(&["x/a-2", "x/a", "y/a"], &["a-2", "a", "a-3"])]
    #[case::a_name_with_a_number(&["x/a", "y/a", "x/a-2"], &["a", "a-2", "a-2-2"])]
    fn no_source_has_the_name_of_another(#[case] sources: &[&str], #[case] expected: &[&str]) {
        assert_eq!(names(sources), expected);
    }

    #[test]
    fn source_is_counted_without_what_is_not_the_build_s_own() {
        let (from, to) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        for (path, text) in [
            ("src/a.rs", "fn a() {}\n\n  \nfn b() {}\n"),
            ("src/b.py", "x = 1\n"),
            ("Dockerfile", "FROM x\n"),
            ("src/a_tests.rs", "x\n"),
            ("src/parse/tests.rs", "x\n"),
            ("tests/all.py", "x\n"),
            ("src/test_b.py", "x\n"),
            ("web/app.spec.ts", "x\n"),
            ("node_modules/x/i.js", "x\n"),
            ("target/debug/a.rs", "x\n"),
            ("x.egg-info/a.py", "x\n"),
            ("testdata/planted.py", "x\n"),
        ] {
            crate::atomic::write(&from.path().join(path), text).expect("written");
        }
        assert_eq!(copy_source(from.path(), to.path()).expect("copied"), 3);
        assert_eq!(source_lines(from.path()).expect("counted"), 3);
        let found = crate::tree::digests(to.path(), &[]).expect("readable");
        let found: Vec<_> = found.keys().map(|path| path.to_string_lossy().into_owned()).collect();
        assert_eq!(found, ["Dockerfile", "src/a.rs", "src/b.py"]);
    }
}
