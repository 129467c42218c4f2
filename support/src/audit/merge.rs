//! Several bundles of one revision as one: the jobs of a CI matrix, each with its part of the list
//! (DESIGN "Report").
//!
//! Nothing is sealed anew: a file that was altered after its job had ended is altered here, too.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    AuditError, Manifest,
    bundle::{LISTING, Run},
    listing::Listing,
};
use crate::tree;

/// What of a bundle tells of one run of the pipeline, and is taken whole from the part that has it.
const WHOLE: [&str; 5] =
    ["pipeline", "m4_builder_outputs", "m5_fix_snapshots", "m5_fix_instructions", "m2_mcp_results.json"];

/// Why bundles cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// One of them cannot be used.
    #[error(transparent)]
    Bundle(#[from] AuditError),
    /// They are not of one thing.
    #[error(
        "{} and {} are of different {what}: {of_one} and {of_other}; merge bundles of one revision, system and substrate",
        one.display(), other.display()
    )]
    Mixture {
        /// What differs.
        what: &'static str,
        /// The first bundle.
        one: PathBuf,
        /// The other.
        other: PathBuf,
        /// What the first says.
        of_one: String,
        /// What the other says.
        of_other: String,
    },
    /// A test ran in both, so that there are two words on one promise.
    #[error("{} and {} both have {path}; give each job a part of its own", one.display(), other.display())]
    Twice {
        /// The file of both.
        path: String,
        /// The first bundle.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// A file cannot be copied.
    #[error("merging bundles: {0}")]
    Io(#[from] io::Error),
}

/// Merges the bundles `parts` into the folder `into`, in the place of what it had.
///
/// # Errors
/// When they are not of one matrix, revision, system and substrate, have a test twice, or cannot
/// be copied; then `into` is as before.
pub fn merge(parts: &[PathBuf], into: &Path) -> Result<(), MergeError> {
    let mut loaded = Vec::new();
    for part in parts {
        loaded.push((part, Manifest::load(part)?));
    }
    let Some(((first, manifest), others)) = loaded.split_first() else { return Ok(()) };
    for (other, of_other) in others {
        is_of_one(first, manifest, other, of_other)?;
    }
    if let Some(parent) = into.parent() {
        fs::create_dir_all(parent)?;
    }
    let unready = tempfile::Builder::new().prefix(".merge-").tempdir_in(into.parent().unwrap_or(Path::new(".")))?;
    let mut merged = manifest.clone();
    (merged.runs, merged.evidence) = Default::default();
    let mut sources: BTreeMap<String, &PathBuf> = BTreeMap::new();
    for (number, (part, of_part)) in (1..).zip(&loaded) {
        copy_part(number, part, of_part, unready.path(), &mut merged, &mut sources)?;
    }
    if into.exists() {
        fs::remove_dir_all(into)?;
    }
    merged.save(unready.path())?;
    fs::rename(unready.keep(), into)?;
    Ok(())
}

/// Copies one bundle, its results and logs under its number.
fn copy_part<'p>(
    number: usize,
    part: &'p PathBuf,
    manifest: &Manifest,
    to: &Path,
    merged: &mut Manifest,
    sources: &mut BTreeMap<String, &'p PathBuf>,
) -> Result<(), MergeError> {
    for path in manifest.known_files(part)? {
        let is_result = manifest.runs.iter().any(|run| run.junit == path);
        let place = if is_result { numbered(number, &path) } else { path.clone() };
        if path == LISTING && sources.contains_key(LISTING) {
            continue;
        }
        if let Some(one) = sources.insert(place.clone(), part) {
            return Err(MergeError::Twice { path, one: one.clone(), other: part.clone() });
        }
        // What is missing now was sealed once, and the audit says so.
        if part.join(&path).is_file() {
            let target = to.join(&place);
            fs::create_dir_all(target.parent().unwrap_or(to))?;
            tree::copy(&part.join(&path), &target)?;
        }
        merged.evidence.extend(manifest.evidence.get(&path).map(|hash| (place, hash.clone())));
    }
    let renamed = |run: &Run| Run { junit: numbered(number, &run.junit), ..run.clone() };
    merged.runs.extend(manifest.runs.iter().map(renamed));
    if manifest.session != merged.session {
        merged.merged.push(manifest.session.clone());
    }
    merged.started_at = merged.started_at.min(manifest.started_at);
    merged.finished_at = merged.finished_at.zip(manifest.finished_at).map(|(one, other)| one.max(other));
    for name in WHOLE.iter().filter(|name| part.join(name).exists() && !to.join(name).exists()) {
        tree::copy(&part.join(name), &to.join(name))?;
    }
    if part.join("logs").exists() {
        fs::create_dir_all(to.join("logs"))?;
        tree::copy(&part.join("logs"), &to.join(format!("logs/{number}")))?;
    }
    Ok(())
}

/// `junit/m2.xml` of the third bundle: `junit/3-m2.xml`.
fn numbered(number: usize, path: &str) -> String {
    match path.rsplit_once('/') {
        Some((folder, name)) => format!("{folder}/{number}-{name}"),
        None => format!("{number}-{path}"),
    }
}

fn is_of_one(one: &Path, of_one: &Manifest, other: &Path, of_other: &Manifest) -> Result<(), MergeError> {
    let unknown = || "an unknown one".to_owned();
    let tests = |bundle: &Path| {
        let listing = fs::read(bundle.join(LISTING)).ok().and_then(|text| Listing::parse(&text).ok());
        listing.map_or_else(unknown, |listing| format!("{} tests", listing.tests().count()))
    };
    let facts = [
        ("matrices", of_one.matrix_digest.clone(), of_other.matrix_digest.clone()),
        (
            "revisions",
            of_one.revision.clone().unwrap_or_else(unknown),
            of_other.revision.clone().unwrap_or_else(unknown),
        ),
        ("systems", of_one.system.name.clone(), of_other.system.name.clone()),
        ("substrates", of_one.substrate.to_string(), of_other.substrate.to_string()),
        ("lists of tests", tests(one), tests(other)),
    ];
    match facts.into_iter().find(|(_, of_one, of_other)| of_one != of_other) {
        None => Ok(()),
        Some((what, of_one, of_other)) => {
            Err(MergeError::Mixture { what, one: one.to_owned(), other: other.to_owned(), of_one, of_other })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::{
            Audit, judge,
            sample::{Bundle, promises},
        },
        config::Substrate,
        verdict::Status,
    };
    use pretty_assertions::assert_eq;
    use rstest::rstest;
    use tempfile::TempDir;

    const TESTS: [&str; 2] = ["b1_19_architect_cross_ref", "r4_m2_004_ten_calls"];

    /// A job that ran one of the two tests, in a session of its own.
    fn job(session: &str, ran: &str) -> Bundle {
        let mut bundle = Bundle::new().listing(&TESTS.map(|test| (test, true)));
        bundle.manifest.session = session.to_owned();
        let bundle = TESTS.iter().fold(bundle, |bundle, test| match *test == ran {
            true => bundle.result(test, "").record(test, Some(Status::Pass), |record| record.session = session.into()),
            false => bundle.result(test, "<skipped/>"),
        });
        bundle.seal()
    }

    fn jobs() -> [Bundle; 2] {
        [job("s1", TESTS[0]), job("s2", TESTS[1])]
    }

    fn merged(jobs: &[Bundle]) -> Result<Audit, MergeError> {
        let folder = TempDir::new().expect("a folder");
        let into = folder.path().join("merged");
        let parts: Vec<_> = jobs.iter().map(|job| job.path("")).collect();
        merge(&parts, &into)?;
        Ok(judge(&into, Manifest::load(&into)?, &promises())?)
    }

    #[test]
    fn two_jobs_are_one_run() {
        let result = merged(&jobs()).expect("merged");
        let passed: Vec<_> =
            result.tests.iter().map(|test| (test.name.test.as_str(), test.status.to_string())).collect();
        assert_eq!(passed, TESTS.map(|test| (test, "PASS".to_owned())));
        let problems: Vec<_> = result.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn what_was_altered_in_a_part_is_altered_in_the_whole() {
        let jobs = jobs();
        let record = Manifest::load(&jobs[1].path("")).expect("a manifest");
        let record = record.evidence.keys().find(|path| path.starts_with("evidence/")).expect("a record").clone();
        fs::write(jobs[1].path(&record), "{}").expect("written");
        let result = merged(&jobs).expect("merged");
        let problems: Vec<_> = result.problems.iter().map(ToString::to_string).collect();
        assert!(problems.contains(&format!("altered: {record}")), "{problems:?}");
    }

    type Change = fn(&mut Manifest);

    #[rstest]
    #[case::matrix(|manifest: &mut Manifest| manifest.matrix_digest = "other".into(), "different matrices")]
    #[case::revision(|manifest: &mut Manifest| manifest.revision = Some("other".into()), "different revisions")]
    #[case::system(|manifest: &mut Manifest| manifest.system.name = "other".into(), "different systems")]
    #[case::substrate(|manifest: &mut Manifest| manifest.substrate = Substrate::Docker, "different substrates")]
    fn a_mixture_is_refused(#[case] change: Change, #[case] reason: &str) {
        let jobs = jobs();
        let mut manifest = Manifest::load(&jobs[1].path("")).expect("a manifest");
        change(&mut manifest);
        manifest.save(&jobs[1].path("")).expect("saved");
        let error = merged(&jobs).expect_err("a mixture").to_string();
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn a_test_that_ran_twice_is_refused() {
        let error = merged(&[job("s1", TESTS[0]), job("s2", TESTS[0])]).expect_err("twice").to_string();
        assert!(error.contains("both have evidence/"), "{error}");
    }
}
