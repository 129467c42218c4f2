//! Section 4: how the Builds work together.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    summary::capped_score,
    systems::{breakdown, failures},
    table::{NOT_MEASURED, code, table, text, yes},
};
use crate::audit::{Audit, Colour, Flow, Timing, ToolCoverage, coverage::Tried, measures::system_of};

/// Section 4.
#[derive(Serialize)]
pub(super) struct Integration {
    score: String,
    breakdown: String,
    corners: String,
    interface: String,
    interface_totals: String,
    latency: String,
    start_up: String,
    data_flows: String,
    error_paths: String,
    application_flows: String,
    dark_corners: String,
    failures: String,
}

pub(super) fn section(audit: &Audit) -> Integration {
    let scores = &audit.scores;
    Integration {
        score: if scores.integration.is_measured() {
            capped_score(scores.integration.value, scores.integration_capped)
        } else {
            NOT_MEASURED.to_owned()
        },
        breakdown: breakdown(&scores.integration),
        corners: scores.untested_corners.join(", "),
        interface: interface(&audit.coverage),
        interface_totals: interface_totals(&audit.coverage),
        latency: timings("Tool", &audit.latency),
        start_up: timings("Server", &audit.start_up),
        data_flows: flows(&audit.flows.data),
        error_paths: flows(&audit.flows.errors),
        application_flows: flows(&audit.flows.application),
        dark_corners: flows(&audit.flows.dark_corners),
        failures: failures(audit.rows.iter().filter(|row| system_of(row) == "Integration")),
    }
}

fn interface(coverage: &[ToolCoverage]) -> String {
    let error = |tool: &ToolCoverage, holds: fn(Tried) -> bool| {
        tool.error.map_or_else(|| "N/A".to_owned(), |error| yes(holds(error)))
    };
    table(
        [
            "Server",
            "Tool",
            "Build",
            "Valid tested",
            "Valid passed",
            "Error tested",
            "Error passed",
            "Parseable",
            "Status",
            "Source",
        ],
        coverage.iter().map(|tool| {
            [
                tool.server.clone(),
                code(&tool.tool),
                "Build 1".to_owned(),
                yes(tool.valid.tested()),
                yes(tool.valid.passed()),
                error(tool, Tried::tested),
                error(tool, Tried::passed),
                yes(tool.parseable.passed()),
                tool.colour.to_string(),
                sources(&tool.sources),
            ]
        }),
    )
}

/// The tests of a tool by function; their cases stand in appendix C.
fn sources(sources: &BTreeSet<String>) -> String {
    let functions: BTreeSet<_> = sources.iter().map(|source| source.split("::").next().unwrap_or(source)).collect();
    if functions.is_empty() {
        return "not tested".to_owned();
    }
    functions.into_iter().map(code).collect::<Vec<_>>().join(", ")
}

fn interface_totals(coverage: &[ToolCoverage]) -> String {
    let of = |colour| coverage.iter().filter(|tool| tool.colour == colour).count();
    format!(
        "{} GREEN, {} YELLOW, {} RED of {} tools",
        of(Colour::Green),
        of(Colour::Yellow),
        of(Colour::Red),
        coverage.len()
    )
}

fn timings(what: &str, timings: &[Timing]) -> String {
    if timings.is_empty() {
        return NOT_MEASURED.to_owned();
    }
    table(
        [what, "n", "median", "p95", "p99", "max", "Source"],
        timings.iter().map(|timing| {
            let figures = &timing.figures;
            let ms = |ms: f64| format!("{ms:.2} ms");
            let [median, p95, p99, max] = [figures.median_ms, figures.p95_ms, figures.p99_ms, figures.max_ms].map(ms);
            [code(&timing.name), figures.n.to_string(), median, p95, p99, max, code(&timing.source)]
        }),
    )
}

fn flows(flows: &[Flow]) -> String {
    let rows = flows.iter().flat_map(|flow| [flow].into_iter().chain(&flow.parts));
    table(
        ["#", "What", "How", "Expected", "Tested", "Status", "Evidence"],
        rows.map(|flow| {
            let colour = if flow.tested { flow.colour.to_string() } else { format!("{} (not tested)", flow.colour) };
            let colour = if flow.tested || flow.colour != Colour::Yellow { colour } else { "YELLOW (in part)".into() };
            [
                flow.key.clone(),
                text(&flow.title),
                text(&flow.situation),
                text(&flow.expected),
                yes(flow.tested),
                colour,
                proofs(flow),
            ]
        }),
    )
}

/// What proves a row, each with its verdict.
pub(super) fn proofs(flow: &Flow) -> String {
    if flow.proofs.is_empty() {
        return "no test".to_owned();
    }
    let shown = |proof: &crate::audit::Proof| format!("{} {}", text(&proof.name), proof.status.word());
    flow.proofs.iter().map(shown).collect::<Vec<_>>().join(", ")
}
