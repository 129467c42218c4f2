//! A later run of the milestones before the fix passes in the place of the first: what the report
//! says must hold for the system as it is after its repair.

use std::{fs, io, path::Path};

use super::{AuditError, Manifest};

/// What a run of M1 to M4 leaves beside records and results.
const OUTPUTS: [&str; 3] = ["m4_builder_outputs", "pipeline", "m2_mcp_results.json"];

/// Moves records, results and outputs of the sealed bundle `fresh` into `bundle`, each binary and
/// milestone in the place of what is there, and seals it; `fresh` is gone then.
///
/// # Errors
/// When a manifest cannot be used, or the file system's own; begin again with another `fresh`.
pub fn adopt(bundle: &Path, fresh: &Path) -> Result<(), AuditError> {
    let (mut own, theirs) = (Manifest::load(bundle)?, Manifest::load(fresh)?);
    for entry in fs::read_dir(fresh.join("evidence"))? {
        replace(&entry?.path(), &bundle.join("evidence"))?;
    }
    for run in &theirs.runs {
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
    own.seal(bundle)?;
    Ok(fs::remove_dir_all(fresh)?)
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
        verdict::Status,
    };
    use pretty_assertions::assert_eq;

    const TEST: &str = "b1_19_architect_cross_ref";

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
        adopt(&first.path(""), &place).expect("adopted");
        assert!(!place.exists());
        let audit = judge(&first.path(""), Manifest::load(&first.path("")).expect("readable"), &promises());
        let audit = audit.expect("audited");
        assert_eq!(audit.problems, []);
        assert_eq!(audit.counts(), Counts { pass: 1, untestable: 1, untested: 2, ..Counts::default() });
    }
}
