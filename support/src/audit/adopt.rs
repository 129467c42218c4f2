//! A later run of the milestones before the fix passes in the place of the first: what the report
//! says must hold for the system as it is after its repair.

use std::{fs, io, path::Path};

use super::{AuditError, Manifest, Run};

/// What a run of M1 to M4 leaves beside records and results.
const OUTPUTS: [&str; 3] = ["m4_builder_outputs", "pipeline", "m2_mcp_results.json"];

/// Moves records, results and outputs of the sealed bundle `fresh` into `bundle` with their seals,
/// each binary and milestone in the place of what is there; `fresh` is gone then.
///
/// # Errors
/// When a manifest cannot be used, or the file system's own; begin again with another `fresh`.
pub fn adopt(bundle: &Path, fresh: &Path) -> Result<(), AuditError> {
    let (mut own, theirs) = (Manifest::load(bundle)?, Manifest::load(fresh)?);
    let missing: Vec<_> = own.runs.iter().filter(|run| is_before_fixes(run) && !has(&theirs, run)).collect();
    if let Some(run) = missing.first() {
        let reason = format!("the later run has no results of milestone {:?}", run.milestone);
        return Err(io::Error::other(reason).into());
    }
    for entry in fs::read_dir(fresh.join("evidence"))? {
        let entry = entry?.path();
        let binary = format!("evidence/{}/", entry.file_name().unwrap_or_default().to_string_lossy());
        own.unseal(|path| path.starts_with(&binary));
        replace(&entry, &bundle.join("evidence"))?;
    }
    for run in &theirs.runs {
        own.unseal(|path| path == run.junit);
        replace(&fresh.join(&run.junit), &bundle.join("junit"))?;
        own.add_run(run.clone());
    }
    own.runs.sort_by_key(|run| run.milestone);
    for output in OUTPUTS.iter().filter(|name| fresh.join(name).exists()) {
        replace(&fresh.join(output), bundle)?;
    }
    if !own.merged.contains(&theirs.session) {
        own.merged.push(theirs.session);
    }
    // With their seals: what changed since must not pass for what their tests have seen.
    let sealed = theirs.evidence.into_iter().filter(|(path, _)| path != super::bundle::LISTING);
    own.evidence.extend(sealed);
    // Nothing else is sealed here: the ledger of the fix passes is still being written.
    own.save(bundle)?;
    Ok(fs::remove_dir_all(fresh)?)
}

/// Whether a run is of a milestone before the fix passes.
fn is_before_fixes(run: &Run) -> bool {
    run.milestone.is_some_and(|milestone| milestone < 5)
}

fn has(manifest: &Manifest, wanted: &Run) -> bool {
    manifest.runs.iter().any(|run| run.milestone == wanted.milestone)
}

/// Moves the file or folder `from` into `folder`, in the place of what is there.
fn replace(from: &Path, folder: &Path) -> io::Result<()> {
    let to = folder.join(from.file_name().unwrap_or_default());
    fs::create_dir_all(folder)?;
    if to.is_dir() {
        fs::remove_dir_all(&to)?;
    }
    fs::rename(from, &to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::{
            Counts, judge,
            sample::{Bundle, promises},
        },
        fix_pass::ledger::Ledger,
        verdict::Status,
    };
    use pretty_assertions::assert_eq;

    const TEST: &str = "b1_19_architect_cross_ref";

    #[test]
    fn a_run_that_lacks_a_milestone_is_refused() {
        let (first, mut later) = (Bundle::new().passed(TEST).seal(), Bundle::new());
        later.manifest.runs.clear();
        let later = later.record(TEST, Some(Status::Pass), |_| ()).seal();
        let error = adopt(&first.path(""), &later.path("")).expect_err("no results").to_string();
        assert!(error.contains("no results of milestone Some(2)"), "{error}");
        assert_eq!(first.audit().problems, [], "nothing was replaced");
    }

    #[test]
    fn what_is_judged_is_the_later_run() {
        let first = Bundle::new().passed("b1_07_mcp_tool_responses::gone_since");
        let first = first.result(TEST, "<failure/>").record(TEST, Some(Status::Fail("no".into())), |_| ()).seal();
        assert_eq!(
            first.audit().counts(),
            Counts { pass: 1, fail: 1, untestable: 1, untested: 1, ..Counts::default() }
        );
        let mut later = Bundle::new();
        later.manifest.session = "session-2".into();
        let later =
            later.result(TEST, "").record(TEST, Some(Status::Pass), |record| record.session = "session-2".into());
        let later = later.seal();
        let place = later.path("").join("bundle");
        fs::create_dir(&place).expect("made");
        for name in ["manifest.json", "evidence", "junit"] {
            fs::rename(later.path(name), place.join(name)).expect("moved");
        }
        let mut ledger = Ledger::new("session-1");
        ledger.save(&first.path("")).expect("written");
        adopt(&first.path(""), &place).expect("adopted");
        assert!(!place.exists());
        ledger.notes.push("written while the fix passes go on".into());
        ledger.save(&first.path("")).expect("written");
        Manifest::load(&first.path("")).expect("usable").finish(&first.path("")).expect("sealed");
        let audit = judge(&first.path(""), Manifest::load(&first.path("")).expect("readable"), &promises());
        let audit = audit.expect("audited");
        assert_eq!(audit.problems, []);
        assert_eq!(audit.counts(), Counts { pass: 1, untestable: 1, untested: 2, ..Counts::default() });
    }
}
