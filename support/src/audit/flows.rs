//! Flows, error paths, dark corners and requirements: each row's status follows from the ids
//! and tests that prove it (R4-M6-007, R4-M6-008, spec flows.md).

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    colour::Colour,
    join::{RowVerdict, TestVerdict},
    promises::{FlowPromise, FlowPromises},
};
use crate::{
    matrix::{Id, Need, Requirement},
    verdict::Status,
};

/// One row of a table.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Flow {
    /// Its key: `3`, `E4`, `DF-1`, `4a`, `R4-M2-004`.
    pub key: String,
    /// What it is.
    pub title: String,
    /// From where to where it leads, or how it comes about; empty for a requirement.
    pub situation: String,
    /// What is expected; empty for a requirement.
    pub expected: String,
    /// GREEN: all of its proofs passed. YELLOW: some passed, none failed. RED: one failed, or
    /// none was executed.
    pub colour: Colour,
    /// Whether every one of its proofs ran to PASS or FAIL.
    pub tested: bool,
    /// Whether only ids that need containers keep it from GREEN.
    pub only_docker_missing: bool,
    /// Its proofs, each an id or a test, with its verdict; those of its parts included.
    pub proofs: Vec<Proof>,
    /// What of it is proved apart.
    pub parts: Vec<Flow>,
}

/// One proof of a row.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Proof {
    /// The id or test.
    pub name: String,
    /// Its verdict.
    #[serde(flatten)]
    pub status: Status,
    /// Whether it needs containers.
    pub needs_docker: bool,
}

/// The tables of section 4 of the report.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Flows {
    /// The ten primary flows.
    pub data: Vec<Flow>,
    /// The error paths.
    pub errors: Vec<Flow>,
    /// The flows of the sample application.
    pub application: Vec<Flow>,
    /// The dark corners.
    pub dark_corners: Vec<Flow>,
}

impl Flows {
    /// The keys of the dark corners that were not tested; each caps the scores.
    pub fn untested_corners(&self) -> Vec<String> {
        self.dark_corners.iter().filter(|corner| !corner.tested).map(|corner| corner.key.clone()).collect()
    }
}

/// The verdicts by the names that tables use.
pub(super) struct Proofs<'a> {
    rows: BTreeMap<&'a Id, &'a RowVerdict>,
    /// By function, and those of several cases by their whole name, too.
    tests: BTreeMap<&'a str, Vec<&'a TestVerdict>>,
}

impl<'a> Proofs<'a> {
    pub(super) fn new(rows: &'a [RowVerdict], tests: &'a [TestVerdict]) -> Self {
        let mut by_name: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for test in tests {
            let names = BTreeSet::from([test.name.function(), test.name.test.as_str()]);
            names.into_iter().for_each(|name| by_name.entry(name).or_default().push(test));
        }
        Self { rows: rows.iter().map(|row| (&row.row.id, row)).collect(), tests: by_name }
    }

    pub(super) fn flows(&self, promises: &FlowPromises) -> Flows {
        let table = |rows: &[FlowPromise]| rows.iter().map(|promise| self.flow(promise)).collect();
        Flows {
            data: table(&promises.data_flow),
            errors: table(&promises.error_path),
            application: table(&promises.application_flow),
            dark_corners: table(&promises.dark_corner),
        }
    }

    pub(super) fn requirements(&self, requirements: &[Requirement]) -> Vec<Flow> {
        requirements
            .iter()
            .map(|requirement| {
                self.flow(&FlowPromise {
                    key: requirement.id.clone(),
                    title: requirement.title.clone(),
                    ids: requirement.ids.clone(),
                    tests: requirement.tests.clone(),
                    ..FlowPromise::default()
                })
            })
            .collect()
    }

    fn flow(&self, promise: &FlowPromise) -> Flow {
        let parts: Vec<_> = promise.parts.iter().map(|part| self.flow(part)).collect();
        let ids = promise.ids.iter().map(|id| self.id(id));
        let tests = promise.tests.iter().map(|test| self.test(test));
        let proofs: Vec<_> = ids.chain(tests).chain(parts.iter().flat_map(proofs_of_part)).collect();
        let judged = |proof: &Proof| matches!(proof.status, Status::Pass | Status::Fail(_));
        let missing: Vec<_> = proofs.iter().filter(|proof| proof.status != Status::Pass).collect();
        Flow {
            key: promise.key.clone(),
            title: promise.title.clone(),
            situation: situation(promise),
            expected: promise.expected.clone(),
            colour: colour(&proofs),
            tested: !proofs.is_empty() && proofs.iter().all(judged),
            only_docker_missing: !missing.is_empty()
                && missing.len() < proofs.len()
                && missing.iter().all(|proof| proof.needs_docker && matches!(proof.status, Status::Untestable(_))),
            proofs,
            parts,
        }
    }

    /// The verdict of a written id, `B1-07`, or else of a test function.
    pub(super) fn named(&self, name: &str) -> Proof {
        let row = self.rows.keys().find(|id| id.to_string() == name);
        row.map_or_else(|| self.test(name), |id| self.id(id))
    }

    fn id(&self, id: &Id) -> Proof {
        let row = self.rows.get(id);
        Proof {
            name: id.to_string(),
            status: row.map_or_else(|| Status::Untested("no such id".into()), |row| row.status.clone()),
            needs_docker: row.is_some_and(|row| row.row.need == Need::Docker),
        }
    }

    fn test(&self, function: &str) -> Proof {
        let cases = self.tests.get(function).into_iter().flatten();
        let status = Status::worst(cases.map(|test| test.status.clone()));
        Proof {
            name: function.to_owned(),
            status: status.unwrap_or_else(|| Status::Untested("no result of this test".into())),
            needs_docker: false,
        }
    }
}

fn situation(promise: &FlowPromise) -> String {
    if promise.from.is_empty() { promise.situation.clone() } else { format!("{} → {}", promise.from, promise.to) }
}

/// A part that nothing proves keeps the whole from being proved.
fn proofs_of_part(part: &Flow) -> Vec<Proof> {
    let unproved =
        || Proof { name: part.key.clone(), status: Status::Untested("no test yet".into()), needs_docker: false };
    if part.proofs.is_empty() { vec![unproved()] } else { part.proofs.clone() }
}

fn colour(proofs: &[Proof]) -> Colour {
    let passed = proofs.iter().filter(|proof| proof.status == Status::Pass).count();
    let failed = proofs.iter().any(|proof| matches!(proof.status, Status::Fail(_)));
    match passed {
        _ if failed => Colour::Red,
        0 => Colour::Red,
        all if all == proofs.len() => Colour::Green,
        _ => Colour::Yellow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn proof(word: &str) -> Proof {
        let reason = || "r".to_owned();
        let status = match word {
            "PASS" => Status::Pass,
            "FAIL" => Status::Fail(reason()),
            "BROKEN" => Status::Broken(reason()),
            "UNTESTABLE" => Status::Untestable(reason()),
            _ => Status::Untested(reason()),
        };
        Proof { name: "x".into(), status, needs_docker: false }
    }

    #[rstest]
    #[case::no_proof(&[], Colour::Red)]
    #[case::all_passed(&["PASS", "PASS"], Colour::Green)]
    #[case::one_failed(&["PASS", "FAIL"], Colour::Red)]
    #[case::partly(&["PASS", "UNTESTED"], Colour::Yellow)]
    #[case::substrate(&["PASS", "UNTESTABLE"], Colour::Yellow)]
    #[case::suite_broke(&["PASS", "BROKEN"], Colour::Yellow)]
    #[case::nothing_ran(&["UNTESTED", "UNTESTABLE"], Colour::Red)]
    #[case::only_broken(&["BROKEN"], Colour::Red)]
    fn a_row_has_a_colour(#[case] words: &[&str], #[case] expected: Colour) {
        let proofs: Vec<_> = words.iter().map(|word| proof(word)).collect();
        assert_eq!(colour(&proofs), expected);
    }
}
