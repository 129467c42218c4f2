//! What the tests themselves wrote, as far as it is what was sealed.

use std::{collections::BTreeMap, io, path::Path};

use super::{bundle::Manifest, name::TestName, problem::Problem};
use crate::evidence::Record;

/// The record of one test.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Testimony {
    /// Exactly as it was sealed.
    Intact(Box<Record>),
    /// Not to be trusted, and why.
    Spoilt(String),
}

/// Reads every record of the bundle.
pub(super) fn read_all(
    manifest: &Manifest,
    bundle: &Path,
) -> io::Result<(BTreeMap<TestName, Testimony>, Vec<Problem>)> {
    let mut testimonies = BTreeMap::new();
    let mut problems = Vec::new();
    for path in manifest.known_files(bundle)? {
        let Some(name) = TestName::of_evidence(&path) else { continue };
        let testimony = match manifest.read(bundle, &path).and_then(|bytes| parse(&path, &name, &bytes)) {
            Ok(record) => Testimony::Intact(Box::new(record)),
            Err(problem) => {
                let spoilt = Testimony::Spoilt(format!("evidence {problem}"));
                problems.push(problem);
                spoilt
            }
        };
        testimonies.insert(name, testimony);
    }
    Ok((testimonies, problems))
}

fn parse(path: &str, name: &TestName, bytes: &[u8]) -> Result<Record, Problem> {
    let unreadable = |reason: String| Problem::Unreadable { path: path.to_owned(), reason };
    let record: Record = serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
    if record.binary == name.binary && record.test == name.test {
        Ok(record)
    } else {
        Err(unreadable(format!("it is the record of {} {}", record.binary, record.test)))
    }
}
