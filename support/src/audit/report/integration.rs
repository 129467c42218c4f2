//! Section 4: how the Builds work together.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    findings,
    summary::capped_score,
    systems::breakdown,
    table::{NOT_MEASURED, code, seconds, table, text, yes},
};
use crate::audit::{Audit, Colour, Flow, Measured, PipelinePhase, Proof, Timing, ToolCoverage, coverage::Tried};
use crate::state::System;

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
    phases: String,
    figures: String,
    data_flows: String,
    error_paths: String,
    application_flows: String,
    dark_corners: String,
    findings: String,
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
        phases: phases(&audit.phases),
        figures: figures(&audit.figures),
        data_flows: flows(&audit.flows.data),
        error_paths: flows(&audit.flows.errors),
        application_flows: flows(&audit.flows.application),
        dark_corners: flows(&audit.flows.dark_corners),
        findings: findings::of(audit, System::Integration),
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

fn phases(phases: &[PipelinePhase]) -> String {
    if phases.is_empty() {
        return NOT_MEASURED.to_owned();
    }
    let gate = |phase: &PipelinePhase| match (phase.passed, phase.exceptions.len()) {
        (true, 0) => "passed".to_owned(),
        (true, 1) => "passed with 1 exception".to_owned(),
        (true, exceptions) => format!("passed with {exceptions} exceptions"),
        (false, _) => "did not hold".to_owned(),
    };
    table(
        ["Phase", "Gate", "Duration", "Exceptions and errors"],
        phases.iter().map(|phase| {
            let said: Vec<_> = phase.exceptions.iter().chain(&phase.errors).map(String::as_str).collect();
            [code(&phase.phase_name), gate(phase), seconds(phase.duration_seconds), text(&said.join("; "))]
        }),
    )
}

fn figures(figures: &[Measured]) -> String {
    if figures.is_empty() {
        return NOT_MEASURED.to_owned();
    }
    table(
        ["Figure", "Measured", "Promised", "Source"],
        figures.iter().map(|Measured { figure, source }| {
            let measured = format!("{:.2} {}", figure.value, figure.unit);
            [text(&figure.what), text(&measured), text(&figure.promised), code(source)]
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
    shown(&flow.proofs)
}

/// Proofs, each with its verdict.
pub(super) fn shown(proofs: &[Proof]) -> String {
    if proofs.is_empty() {
        return "no test".to_owned();
    }
    let one = |proof: &Proof| format!("{} {}", text(&proof.name), proof.status.word());
    proofs.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::held(true, &[], "| passed | 2.50 s |  |")]
    #[case::tolerant(true, &["one builder of 3 failed"], "| passed with 1 exception | 2.50 s | one builder of 3 failed |")]
    #[case::several(true, &["a", "b"], "| passed with 2 exceptions | 2.50 s | a; b |")]
    #[case::broken(false, &["no contract is valid"], "| did not hold | 2.50 s | no contract is valid |")]
    fn a_gate_never_says_plainly_passed_when_it_tolerated_something(
        #[case] passed: bool,
        #[case] errors: &[&str],
        #[case] expected: &str,
    ) {
        let said = errors.iter().map(|&error| error.to_owned()).collect();
        let (exceptions, errors) = if passed { (said, Vec::new()) } else { (Vec::new(), said) };
        let phase_name = "parallel_builders".into();
        let phase = PipelinePhase { phase_name, passed, exceptions, errors, duration_seconds: Some(2.5) };
        let table = phases(&[phase]);
        assert!(table.ends_with(&format!("| `parallel_builders` {expected}")), "{table}");
    }
}
