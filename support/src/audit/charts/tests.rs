use rstest::rstest;

use super::*;
use crate::audit::sample::Bundle;

fn of_audit() -> Vec<Chart> {
    let points = [Point { pass: 0, value: 0.0 }, Point { pass: 1, value: 0.76 }];
    all(&Bundle::green().seal().audit(), &points).expect("drawn")
}

fn of_nothing() -> Vec<Chart> {
    all(&Bundle::new().seal().audit(), &[]).expect("drawn")
}

#[test]
fn every_chart_is_named_and_described_for_those_who_do_not_see_it() {
    for chart in of_audit().iter().chain(&of_nothing()) {
        for part in ["role=\"img\"", "<title id=\"chart-", "<desc id=\"chart-", "aria-labelledby=\"chart-"] {
            assert!(chart.svg.contains(part), "{part} is missing in {}", chart.svg);
        }
    }
}

#[test]
fn a_chart_has_no_colour_of_its_own() {
    for chart in of_audit() {
        assert!(!chart.svg.contains("\"#"), "{}", chart.svg);
    }
}

#[test]
fn no_empty_line_splits_a_chart() {
    for chart in of_audit().iter().chain(&of_nothing()) {
        assert!(!chart.svg.contains("\n\n") && chart.svg.trim_end().ends_with("</svg>"), "{}", chart.svg);
    }
}

#[test]
fn a_chart_of_nothing_says_so() {
    for chart in of_nothing() {
        assert!(chart.svg.contains("\nnot measured"), "{}: {}", chart.section, chart.svg);
    }
}

#[rstest]
#[case::scores("3. Per-System Assessment", &["Build 1: 25.93", "Test Health", "\n13.33 of 20\n", "N/A"])]
#[case::latency("Latency of tools", &["decompose", "median", "p95", "p99", "\nlongest\n", "<circle"])]
#[case::timeline("Runs", &["M2, 90.0 s", "seconds since the session began"])]
#[case::convergence("5. Fix Pass History", &["<circle", "converged", "0.76 after pass 1"])]
fn a_chart_shows_what_was_measured(#[case] section: &str, #[case] shown: &[&str]) {
    let charts = of_audit();
    let chart = charts.iter().find(|chart| chart.section == section).expect("there is one");
    for part in shown {
        assert!(chart.svg.contains(part), "{part} is missing in {}", chart.svg);
    }
}

#[rstest]
#[case::passed(None, 0)]
#[case::failed(Some("no"), 1)]
fn a_test_that_did_not_pass_stands_in_a_box(#[case] failure: Option<&str>, #[case] boxes: usize) {
    let bundle = match failure {
        None => Bundle::green(),
        Some(reason) => Bundle::green().result("x_01_y", "<failure/>").record(
            "x_01_y",
            Some(crate::verdict::Status::Fail(reason.into())),
            |_| (),
        ),
    };
    let charts = all(&bundle.seal().audit(), &[]).expect("drawn");
    let timeline = charts.iter().find(|chart| chart.section == "Runs").expect("there is one");
    assert_eq!(timeline.svg.matches("fill=\"var(--bad)\"").count(), boxes, "{}", timeline.svg);
}
