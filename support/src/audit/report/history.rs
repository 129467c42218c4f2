//! Section 5: what the fix passes did, and what they came to.

use serde::Serialize;

use super::table::{NOT_MEASURED, code, span, table, text};
use crate::{
    audit::{Audit, FixHistory},
    fix_pass::{
        convergence::Open,
        ground::Applied,
        ledger::{INSTRUCTIONS, Pass, SNAPSHOTS},
    },
    state::FindingId,
};

/// Section 5.
#[derive(Serialize)]
pub(super) struct History {
    outcome: String,
    passes: String,
    targets: String,
    broken: String,
    discovery: String,
    notes: Vec<String>,
}

pub(super) fn section(audit: &Audit) -> History {
    let Some(fix) = &audit.fix else {
        return History {
            outcome: absent(audit),
            passes: String::new(),
            targets: String::new(),
            broken: String::new(),
            discovery: String::new(),
            notes: Vec::new(),
        };
    };
    let told = !fix.passes.is_empty();
    let table = |made: fn(&FixHistory) -> String| if told { made(fix) } else { String::new() };
    History {
        outcome: outcome(fix),
        passes: table(passes),
        targets: table(targets),
        broken: table(broken),
        discovery: table(discovery),
        notes: fix.notes.iter().map(|note| text(note)).collect(),
    }
}

/// One line for the summary: passes, verdict, why they ended.
pub(super) fn line(audit: &Audit) -> [String; 2] {
    match &audit.fix {
        None => [absent(audit), absent(audit)],
        Some(fix) => [
            format!("{} ({})", fix.passes.len(), fix.stop.map_or("cut short", |stop| stop.words())),
            format!("{}, convergence {:.2} (section 5)", fix.verdict, fix.convergence),
        ],
    }
}

fn absent(audit: &Audit) -> String {
    let ran = audit.manifest.runs.iter().any(|run| run.milestone == Some(5));
    let reason = if ran {
        "there are defects, and no fix pass is in the bundle: fix passes belong to a whole `cargo run4`"
    } else {
        "milestone 5 has not run"
    };
    format!("{NOT_MEASURED} ({reason})")
}

fn outcome(fix: &FixHistory) -> String {
    let Open { p0, p1, p2, p3 } = fix.first;
    let stop = fix.stop.map_or("the run was cut short in the middle of a pass", |stop| stop.words());
    format!(
        "**{}**: {stop}. Passes: {}. First catalogue, frozen: {p0} P0, {p1} P1, {p2} P2, {p3} P3. Convergence: {:.2} \
         (P3 excluded, new defects count as remaining).",
        fix.verdict,
        fix.passes.len(),
        fix.convergence
    )
}

fn passes(fix: &FixHistory) -> String {
    let share = |rate: Option<f64>| rate.map_or_else(|| "no value".to_owned(), |rate| format!("{:.1} %", 100.0 * rate));
    let score = |score: Option<f64>| score.map_or_else(|| NOT_MEASURED.to_owned(), |score| format!("{score:.2}"));
    let delta = |pass: &Pass| match pass.figures.score_delta() {
        None => NOT_MEASURED.to_owned(),
        Some(delta) => format!("{delta:+.2}"),
    };
    table(
        [
            "Pass",
            "Date",
            "Duration",
            "Cost",
            "Targeted",
            "Applied",
            "Resolved",
            "Failed",
            "Regressions",
            "Effectiveness",
            "Net",
            "Regression rate",
            "Score before",
            "Score after",
            "Delta",
            "Convergence",
        ],
        fix.passes.iter().map(|pass| {
            let figures = &pass.figures;
            let number = |count: u32| count.to_string();
            [
                number(figures.pass_number),
                pass.started_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
                figures.seconds.map_or_else(|| NOT_MEASURED.to_owned(), span),
                cost(pass),
                number(figures.targeted),
                number(figures.applied),
                number(figures.resolved),
                number(figures.failed),
                number(figures.regressions),
                share(figures.effectiveness),
                share(figures.net_effectiveness()),
                share(figures.regression_rate()),
                score(figures.score_before),
                score(figures.score_after),
                delta(pass),
                format!("{:.2}", pass.convergence),
            ]
        }),
    )
}

/// What a pass cost; a sum that lacks something says so.
fn cost(pass: &Pass) -> String {
    let unknown = pass.applied_by.values().any(|applied| !matches!(applied, Applied::Done { cost: Some(_), .. }));
    match pass.figures.cost {
        None => NOT_MEASURED.to_owned(),
        Some(cost) if unknown => format!("at least {cost:.2} USD, metered"),
        Some(cost) => format!("{cost:.2} USD, metered"),
    }
}

/// Who was told what in each pass, and what they changed.
fn targets(fix: &FixHistory) -> String {
    let list = |ids: &[FindingId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let rows = fix.passes.iter().flat_map(|pass| {
        pass.items.iter().map(move |(target, ids)| {
            let number = pass.figures.pass_number;
            let became = match pass.applied_by.get(target) {
                None => "nobody was asked".to_owned(),
                Some(Applied::Awaiting) => "waited for somebody to follow them".to_owned(),
                Some(Applied::Done { changed, error, .. }) if error.is_empty() => {
                    format!("files changed: {}", changed.len())
                }
                Some(Applied::Done { changed, error, .. }) => {
                    text(&format!("files changed: {}; {error}", changed.len()))
                }
            };
            let fixed: Vec<_> = ids.iter().filter(|id| pass.fixed.contains(id)).copied().collect();
            let file = format!("{INSTRUCTIONS}/pass_{number}/{target}/FIX_INSTRUCTIONS.md");
            [number.to_string(), text(target), list(ids), list(&fixed), became, code(&file)]
        })
    });
    table(["Pass", "Told", "Attempted", "Fixed", "Outcome", "Instructions"], rows)
}

/// What each pass broke.
fn broken(fix: &FixHistory) -> String {
    let rows = fix.passes.iter().flat_map(|pass| {
        let number = pass.figures.pass_number.to_string();
        let snapshot = code(&format!("{SNAPSHOTS}/fix_pass_{number}_after.json"));
        let new = pass.broken.new.iter().map(|new| {
            let back = if pass.broken.reappeared.contains(&new.place) { ", was fixed before" } else { "" };
            format!("{}: {} before, {} after{back}", new.place, new.before, new.after)
        });
        let flipped = pass.broken.flipped_tests.iter().map(|test| format!("test that passed before: {test}"));
        new.chain(flipped).map(move |what| [number.clone(), text(&what), snapshot.clone()]).collect::<Vec<_>>()
    });
    table(["Pass", "What it broke", "Evidence"], rows)
}

fn discovery(fix: &FixHistory) -> String {
    let first = ("0 (first catalogue)".to_owned(), fix.first);
    let later = fix.passes.iter().map(|pass| (pass.figures.pass_number.to_string(), pass.discovered));
    let mut sum = 0;
    let rows = [first].into_iter().chain(later).map(|(pass, new)| {
        sum += new.total();
        let [p0, p1, p2, p3, total] = [new.p0, new.p1, new.p2, new.p3, new.total()].map(|count| count.to_string());
        [pass, p0, p1, p2, p3, total, sum.to_string()]
    });
    table(["Pass", "New P0", "New P1", "New P2", "New P3", "Total", "Cumulative"], rows)
}
