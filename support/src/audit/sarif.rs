//! Open findings, and what speaks against trusting the bundle, as SARIF 2.1.0 for code hosts and
//! editors.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Audit, Problem};
use crate::{fix_pass::catalogue::Entry, matrix::digest, state::Priority};

/// The rule of all that speaks against trusting the bundle.
const BUNDLE_RULE: &str = "bundle";

/// Where every promise stands that has no test.
const PROMISES: &str = "fixtures/matrix.toml";

/// The log; its paths are those of the bundle and of the system.
pub(super) fn sarif(audit: &Audit) -> Value {
    let records: BTreeMap<_, _> = audit
        .tests
        .iter()
        .filter_map(|test| Some((format!("test {}", test.name), test.evidence.as_deref()?)))
        .collect();
    let open: Vec<_> = audit.findings.entries.iter().filter(|entry| entry.is_open()).collect();
    let mut rules: BTreeSet<_> = open.iter().map(|entry| entry.code.as_str()).collect();
    rules.extend((!audit.problems.is_empty()).then_some(BUNDLE_RULE));
    let rules: Vec<_> = rules.into_iter().collect();
    let findings = open.iter().map(|entry| finding(entry, &records, &rules));
    let results: Vec<_> = findings.chain(audit.problems.iter().map(|it| problem(it, &rules))).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "run4",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|id| rule(id, audit)).collect::<Vec<_>>(),
            } },
            "automationDetails": { "id": format!("run4/{}/{}", audit.manifest.system.name, audit.manifest.session) },
            "originalUriBaseIds": {
                "BUNDLE": { "description": { "text": "the folder of this file" } },
                "SUITE": { "description": { "text": "the checkout of the suite" } },
                "SYSTEM": { "description": { "text": "the system under test, or what it generated" } },
            },
            "results": results,
        }],
    })
}

/// A rule is what was promised: an id, a requirement, or the code of a scan.
fn rule(id: &str, audit: &Audit) -> Value {
    let promise = audit.rows.iter().find(|row| row.row.id.to_string() == id).map(|row| row.row.promise.as_str());
    let requirement = || audit.requirements.iter().find(|row| row.key == id).map(|row| row.title.as_str());
    let text = match id {
        BUNDLE_RULE => "a bundle is as it was sealed",
        _ => promise.or_else(requirement).unwrap_or(id),
    };
    json!({ "id": id, "shortDescription": { "text": text } })
}

fn finding(entry: &Entry, records: &BTreeMap<String, &str>, rules: &[&str]) -> Value {
    let level = match entry.finding.priority {
        Priority::P0 | Priority::P1 => "error",
        Priority::P2 => "warning",
        Priority::P3 => "note",
    };
    let record = entry.symptoms.iter().find_map(|symptom| records.get(symptom));
    let place = match (entry.file.as_str(), record) {
        ("", None) => location("SUITE", PROMISES, 0),
        ("", Some(record)) => location("BUNDLE", record, 0),
        (file, _) => location("SYSTEM", file, entry.line),
    };
    json!({
        "ruleId": entry.code,
        "ruleIndex": rules.iter().position(|rule| *rule == entry.code),
        "level": level,
        "message": { "text": entry.title },
        "locations": [place],
        // Ids are given anew in each run; a cause stays.
        "partialFingerprints": { "cause/v1": digest(entry.cause.as_bytes()) },
        "properties": {
            "finding": entry.finding.finding_id,
            "priority": entry.finding.priority,
            "system": entry.finding.system,
            "component": entry.finding.component,
            "reproduction": entry.reproduction,
        },
    })
}

fn problem(problem: &Problem, rules: &[&str]) -> Value {
    let path = match problem {
        Problem::Altered { path }
        | Problem::Missing { path }
        | Problem::Unlisted { path }
        | Problem::Unreadable { path, .. }
        | Problem::Stale { path, .. } => path,
        _ => "manifest.json",
    };
    let text = problem.to_string();
    json!({
        "ruleId": BUNDLE_RULE,
        "ruleIndex": rules.iter().position(|rule| *rule == BUNDLE_RULE),
        "level": "error",
        "message": { "text": text },
        "locations": [location("BUNDLE", path, 0)],
        "partialFingerprints": { "cause/v1": digest(text.as_bytes()) },
    })
}

/// A place in a file; a line of 0 is none.
fn location(base: &str, path: &str, line: u64) -> Value {
    let mut place = json!({ "artifactLocation": { "uri": relative(path), "uriBaseId": base } });
    if line > 0 {
        place["region"] = json!({ "startLine": line });
    }
    json!({ "physicalLocation": place })
}

/// A path as a relative reference (RFC 3986).
fn relative(path: &str) -> String {
    let encoded = path.trim_start_matches('/').bytes().map(|byte| match byte {
        b'/' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

#[cfg(test)]
#[path = "sarif_tests.rs"]
mod tests;
