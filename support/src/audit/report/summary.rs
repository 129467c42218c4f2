//! Sections 1 and 2: what came out, and how it was looked at.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    findings, history,
    inputs::registers,
    table::{NOT_MEASURED, code, line, own_words, span, table, text, word},
};
use crate::{
    audit::{
        Audit, Colour, Counts, Manifest, RunKind,
        measures::{executed, system_of},
        scoring::Score,
    },
    state::Priority,
};

/// What is scored, as the report calls it.
pub(in crate::audit) const SYSTEMS: [&str; 4] = ["Build 1", "Build 2", "Build 3", "Integration"];

/// Section 1.
#[derive(Serialize)]
pub(super) struct Summary {
    verdict: String,
    sentence: String,
    scores: String,
    counts: Counts,
    total: usize,
    integrity: usize,
    corners: String,
    fix_passes: String,
    fix_verdict: String,
    defects: String,
    criteria: String,
    thresholds: String,
}

pub(super) fn section(audit: &Audit) -> Summary {
    let [fix_passes, fix_verdict] = history::line(audit);
    Summary {
        verdict: audit.conclusion.verdict.to_string(),
        sentence: line(&audit.conclusion.sentence),
        scores: scores(audit),
        counts: audit.counts(),
        total: audit.rows.len(),
        integrity: audit.problems.len(),
        corners: audit.scores.untested_corners.join(", "),
        fix_passes,
        fix_verdict,
        defects: findings::totals(audit),
        criteria: criteria(audit),
        thresholds: thresholds(audit),
    }
}

/// The scores of the systems and the aggregate.
pub(super) fn scores(audit: &Audit) -> String {
    let scores = &audit.scores;
    let values = scores.builds.iter().map(|score| (score, score.value));
    let values = values.chain([(&scores.integration, scores.integration_capped)]);
    let systems = SYSTEMS.into_iter().zip(values).map(|(system, (score, value))| {
        let shown = if score.is_measured() { shown_score(score, value) } else { NOT_MEASURED.to_owned() };
        score_row(system, shown, score.is_measured().then_some(value), audit, |name| name == system)
    });
    let measured = scores.builds.iter().chain([&scores.integration]).any(Score::is_measured);
    let aggregate =
        if measured { capped_score(scores.aggregate_raw, scores.aggregate_capped) } else { NOT_MEASURED.to_owned() };
    let aggregate = score_row("Aggregate", aggregate, measured.then_some(scores.aggregate_capped), audit, |_| true);
    table(["System", "Score", "Status", "P0", "P1", "P2", "P3"], systems.chain([aggregate]))
}

fn shown_score(score: &Score, value: f64) -> String {
    let (measured, terms) = score.measured();
    let value = capped_score(score.value, value);
    if measured == terms { value } else { format!("{value} ({measured} of {terms} terms measured)") }
}

/// A score after the cap, with the raw one where they differ.
pub(super) fn capped_score(raw: f64, capped: f64) -> String {
    if capped < raw { format!("{capped:.2} (raw {raw:.2})") } else { format!("{capped:.2}") }
}

fn score_row(
    name: &str,
    shown: String,
    value: Option<f64>,
    audit: &Audit,
    counts: impl Fn(&str) -> bool,
) -> [String; 7] {
    let colour = value.map_or_else(|| NOT_MEASURED.to_owned(), |value| Colour::of_score(value).to_string());
    let looked_at = audit.rows.iter().any(|row| counts(system_of(row)) && executed(row));
    let open = |priority| {
        let findings = audit.findings.open().filter(|entry| entry.finding.priority == priority);
        let own = findings.filter(|entry| counts(&entry.finding.system.to_string()));
        // A count of defects where nothing was executed would be no count.
        if looked_at { own.count().to_string() } else { NOT_MEASURED.to_owned() }
    };
    let [p0, p1, p2, p3] = [Priority::P0, Priority::P1, Priority::P2, Priority::P3].map(open);
    [name.to_owned(), shown, colour, p0, p1, p2, p3]
}

fn criteria(audit: &Audit) -> String {
    let rows = audit.rows.iter().filter(|row| row.row.id.to_string().starts_with("SC-"));
    table(
        ["Criterion", "Promise", "Status", "Reason"],
        rows.map(|row| {
            [
                row.row.id.to_string(),
                own_words(&row.row.promise),
                word(&row.status, audit.manifest.substrate),
                text(row.status.reason().unwrap_or_default()),
            ]
        }),
    )
}

fn thresholds(audit: &Audit) -> String {
    table(
        ["Criterion", "Minimum", "Target", "Stretch", "Measured", "Level", "Source"],
        audit.thresholds.iter().map(|row| {
            let [minimum, target, stretch] = row.bounds.map(str::to_owned);
            let figure = row.figure.clone().unwrap_or_else(|| NOT_MEASURED.to_owned());
            [row.criterion.to_owned(), minimum, target, stretch, figure, row.level.to_string(), text(&row.source)]
        }),
    )
}

/// Section 2.
#[derive(Serialize)]
pub(super) struct Method {
    facts: String,
    versions: String,
    runs: String,
    expected: String,
    no_containers: bool,
}

pub(super) fn method(audit: &Audit) -> Method {
    let manifest = &audit.manifest;
    let suite: BTreeSet<_> = audit.tests.iter().map(|test| test.name.binary.as_str()).collect();
    let origin = if audit.listed {
        "what the test runner listed before the run (`listing.json`)"
    } else {
        "what the result files list, since the bundle has no usable `listing.json`: a test that was never listed is not seen to be missing"
    };
    Method {
        facts: facts(audit),
        versions: table(
            ["What", "Version"],
            manifest.versions.iter().map(|(name, version)| [text(name), text(version)]),
        ),
        runs: runs(manifest),
        expected: format!("{} tests of {} binaries; expected is {origin}", audit.tests.len(), suite.len()),
        no_containers: manifest.substrate == crate::config::Substrate::Process,
    }
}

fn facts(audit: &Audit) -> String {
    let manifest = &audit.manifest;
    let finished = manifest.finished_at.map_or_else(
        || "not recorded".to_owned(),
        |end| {
            let elapsed = (end - manifest.started_at).as_seconds_f64();
            format!("{} ({} after it began)", end.to_rfc3339(), span(elapsed))
        },
    );
    let keys: Vec<_> = manifest.system.keys.iter().map(|key| code(key)).collect();
    let kind = match manifest.kind {
        RunKind::Full => "full (`cargo run4`)",
        RunKind::Local => "local (the test runner by itself)",
    };
    let sessions: Vec<_> = [&manifest.session].into_iter().chain(&manifest.merged).map(|it| code(it)).collect();
    let rows = [
        ("System under test", format!("{}: {}", text(&manifest.system.name), text(&manifest.system.description))),
        ("Its commands", keys.join(", ")),
        ("Substrate", manifest.substrate.to_string()),
        ("Session", format!("{}, {kind}", sessions.join(", "))),
        ("Began", manifest.started_at.to_rfc3339()),
        ("Ended", finished),
        ("Revision of the suite", manifest.revision.as_deref().map_or_else(|| "not recorded".to_owned(), code)),
        ("Required list", format!("`fixtures/matrix.toml`, SHA-256 {}", code(&manifest.matrix_digest))),
        ("Requirements", format!("`fixtures/requirements.toml`: R4-M1 to R4-M6; of the Builds: {}", registers(audit))),
        ("Sealed files", format!("{} (`manifest.json`)", manifest.evidence.len())),
        ("Seal", format!("SHA-256 of `manifest.json`: {}", code(&audit.seal))),
    ];
    table(["Fact", "Value"], rows.map(|(name, value)| [name.to_owned(), value]))
}

fn runs(manifest: &Manifest) -> String {
    table(
        ["Milestone", "Run", "Results", "Exit code", "Duration"],
        manifest.runs.iter().map(|run| {
            [
                run.milestone.map_or_else(|| "selection".to_owned(), |milestone| format!("M{milestone}")),
                code(&run.run_id),
                code(&run.junit),
                run.exit_code.map_or_else(|| "none: killed or not recorded".to_owned(), |code| code.to_string()),
                span(run.seconds),
            ]
        }),
    )
}
