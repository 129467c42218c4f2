//! Whatever is done to a sealed bundle is named in the report, turns its integrity red, fails the
//! verdict and gives exit code 2; or the manifest is refused with what to do.

use std::{fs, path::Path};

use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    report::{render, write_below},
    sample::{Bundle, promises},
    *,
};
use crate::{fix_pass::regressions::Snapshot, tree};

const RECORD: &str = "evidence/m2_mcp_wiring/b1_19_architect_cross_ref.json";
const OTHER: &str = "evidence/m2_mcp_wiring/r4_m2_004_ten_calls.json";
const JUNIT: &str = "junit/m2.xml";

const SNAPSHOT: &str = "m5_fix_snapshots/fix_pass_1_before.json";

/// A bundle on which nothing is wrong: all that needs no containers has passed, and the fix passes
/// have looked.
fn whole() -> Bundle {
    let bundle = Bundle::green().listing(&[("b1_19_architect_cross_ref", true), ("r4_m2_004_ten_calls", true)]);
    Ledger::new("session-1").save(&bundle.path("")).expect("written");
    crate::atomic::write_json(&bundle.path(SNAPSHOT), &Snapshot::default()).expect("written");
    bundle.seal()
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).expect("readable");
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(path, text.replacen(from, to, 1)).expect("written");
}

fn change_manifest(bundle: &Path, change: impl FnOnce(&mut Value)) {
    let path = bundle.join("manifest.json");
    let mut manifest = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
    change(&mut manifest);
    fs::write(path, manifest.to_string()).expect("written");
}

fn remove(bundle: &Path, path: &str) {
    fs::remove_file(bundle.join(path)).expect("removed");
}

fn swap(bundle: &Path) {
    let (one, other) = (bundle.join(RECORD), bundle.join(OTHER));
    let between = bundle.join("between");
    for (from, to) in [(&one, &between), (&other, &one), (&between, &other)] {
        fs::rename(from, to).expect("renamed");
    }
}

fn add(bundle: &Path) {
    let text =
        fs::read_to_string(bundle.join(RECORD)).expect("readable").replace("b1_19_architect_cross_ref", "x_01_y");
    fs::write(bundle.join("evidence/m2_mcp_wiring/x_01_y.json"), text).expect("written");
}

/// Takes the result of the test away, as if it had never run.
fn drop_result(bundle: &Path) {
    let path = bundle.join(JUNIT);
    let text = fs::read_to_string(&path).expect("readable");
    let (before, rest) = text.split_once("<testcase name=\"b1_19").expect("it is there");
    let (_, after) = rest.split_once("</testcase>").expect("it ends");
    fs::write(path, format!("{before}{after}")).expect("written");
}

type Tamper = fn(&Path);

#[rstest]
#[case::record_removed(|bundle: &Path| remove(bundle, RECORD), "missing: evidence/m2_mcp_wiring/b1_19_architect_cross_ref.json")]
#[case::record_altered(|bundle: &Path| replace(&bundle.join(RECORD), "it answers", "it answers well"), "altered: evidence/m2_mcp_wiring/b1_19_architect_cross_ref.json")]
#[case::verdict_set(|bundle: &Path| replace(&bundle.join(RECORD), "\"PASS\"", "\"UNTESTED\""), "altered: evidence/m2_mcp_wiring/b1_19_architect_cross_ref.json")]
#[case::one_blank_added(|bundle: &Path| replace(&bundle.join(RECORD), "{", "{ "), "altered: evidence/m2_mcp_wiring/b1_19_architect_cross_ref.json")]
#[case::record_added(add, "not listed: evidence/m2_mcp_wiring/x_01_y.json")]
#[case::records_swapped(swap, "altered: evidence/m2_mcp_wiring/b1_19_architect_cross_ref.json")]
#[case::records_swapped_other(swap, "altered: evidence/m2_mcp_wiring/r4_m2_004_ten_calls.json")]
#[case::result_removed(drop_result, "altered: junit/m2.xml")]
#[case::result_renamed(|bundle: &Path| replace(&bundle.join(JUNIT), "b1_19_architect", "b1_19_architekt"), "altered: junit/m2.xml")]
#[case::result_made_red(|bundle: &Path| replace(&bundle.join(JUNIT), "></testcase>", "><failure/></testcase>"), "altered: junit/m2.xml")]
#[case::results_removed(|bundle: &Path| remove(bundle, JUNIT), "missing: junit/m2.xml")]
#[case::results_added(|bundle: &Path| fs::write(bundle.join("junit/m9.xml"), "<x/>").expect("written"), "not listed: junit/m9.xml")]
#[case::listing_removed(|bundle: &Path| remove(bundle, "listing.json"), "missing: listing.json")]
#[case::listing_altered(|bundle: &Path| replace(&bundle.join("listing.json"), "matches", "mismatch"), "altered: listing.json")]
#[case::ledger_removed(|bundle: &Path| remove(bundle, ledger::FILE_NAME), "missing: m5_fix_passes.json")]
#[case::ledger_altered(|bundle: &Path| replace(&bundle.join(ledger::FILE_NAME), "discover", "ended"), "altered: m5_fix_passes.json")]
#[case::snapshot_removed(|bundle: &Path| remove(bundle, SNAPSHOT), "missing: m5_fix_snapshots/fix_pass_1_before.json")]
#[case::snapshot_altered(|bundle: &Path| replace(&bundle.join(SNAPSHOT), "{", "{ "), "altered: m5_fix_snapshots/fix_pass_1_before.json")]
#[case::hash_altered(|bundle: &Path| change_manifest(bundle, |it| it["evidence"][RECORD] = json!("0".repeat(64))), "altered: evidence/m2_mcp_wiring/b1_19_architect_cross_ref.json")]
#[case::hash_removed(|bundle: &Path| change_manifest(bundle, |it| drop(it["evidence"].as_object_mut().and_then(|it| it.remove(RECORD)))), "not listed: evidence/m2_mcp_wiring/b1_19_architect_cross_ref.json")]
#[case::hashes_removed(|bundle: &Path| change_manifest(bundle, |it| it["evidence"] = json!({})), "not listed: junit/m2.xml")]
#[case::another_run(|bundle: &Path| change_manifest(bundle, |it| it["runs"][0]["run_id"] = json!("0")), "stale: junit/m2.xml is of run")]
#[case::no_run(|bundle: &Path| change_manifest(bundle, |it| it["runs"] = json!([])), "nothing ran")]
#[case::another_matrix(|bundle: &Path| change_manifest(bundle, |it| it["matrix_digest"] = json!("0".repeat(64))), "the matrix changed since the run")]
fn a_changed_bundle_is_red_and_says_what_changed(#[case] tamper: Tamper, #[case] named: &str) {
    let bundle = whole();
    assert_eq!(bundle.audit().problems, [], "the bundle is whole at first");
    tamper(&bundle.path(""));
    let audit = bundle.audit();
    assert!(audit.problems.iter().any(|problem| problem.to_string().starts_with(named)), "{:?}", audit.problems);
    assert_eq!((audit.conclusion.verdict, audit.exit_code()), (ReportVerdict::Fail, 2));
    let report = render(&audit, "").expect("renders");
    assert!(report.contains("**Integrity: RED.**") && report.contains(&format!("\n- {named}")), "{report}");
}

#[rstest]
#[case::removed(|bundle: &Path| remove(bundle, "manifest.json"), "run `cargo run4` first")]
#[case::truncated(|bundle: &Path| fs::write(bundle.join("manifest.json"), "{\"schema").expect("written"), "run `cargo run4` again")]
#[case::another_version(|bundle: &Path| change_manifest(bundle, |it| it["schema_version"] = json!(99)), "run `cargo run4` again")]
#[case::unknown_key(|bundle: &Path| change_manifest(bundle, |it| it["verdict"] = json!("PASS")), "run `cargo run4` again")]
#[case::place_outside(|bundle: &Path| change_manifest(bundle, |it| it["evidence"]["../x.json"] = json!("")), "../x.json does not lie below the bundle")]
fn an_unusable_manifest_is_refused_with_what_to_do(#[case] tamper: Tamper, #[case] said: &str) {
    let bundle = whole();
    tamper(&bundle.path(""));
    let error = Manifest::load(&bundle.path("")).expect_err("refused").to_string();
    assert!(error.contains(said), "{error}");
}

#[test]
fn a_manifest_that_was_written_anew_has_another_seal() {
    let bundle = whole();
    let before = bundle.audit();
    replace(&bundle.path(RECORD), "it answers", "it answers well");
    let mut manifest = Manifest::load(&bundle.path("")).expect("usable");
    manifest.unseal(|_| true);
    manifest.seal(&bundle.path("")).expect("sealed");
    let after = bundle.audit();
    assert_eq!(after.problems, [], "nothing in the bundle contradicts a whole new seal");
    assert_ne!(after.seal, before.seal);
    assert!(render(&after, "").expect("renders").contains(&after.seal), "the report names it");
}

#[test]
fn a_copy_of_a_bundle_has_the_same_outputs() {
    let bundle = whole();
    let copies = [TempDir::new().expect("a folder"), TempDir::new().expect("a folder")];
    let outputs = copies.each_ref().map(|folder| {
        let copy = folder.path().join("copy");
        tree::copy(&bundle.path(""), &copy).expect("copied");
        let audit = judge(&copy, Manifest::load(&copy).expect("usable"), &promises()).expect("audited");
        let written = write_below(&audit, &copy, folder.path()).expect("written");
        assert!(written.starts_with(&copy));
        let mut files = tree::digests(&copy, &[]).expect("read");
        files.retain(|path, _| !bundle.path("").join(path).exists());
        files
    });
    assert_eq!(outputs[0], outputs[1]);
    for name in ["SUPER_TEAM_AUDIT_REPORT.md", "SUPER_TEAM_AUDIT_REPORT.html", "audit.json", "audit.sarif"] {
        assert!(outputs[0].contains_key(Path::new(name)), "{name} is missing in {:?}", outputs[0].keys());
    }
}

#[rstest]
#[case::flaky(r#"<flakyFailure type="test failure" message="x"/>"#, "| 1 | BROKEN | passed |")]
#[case::retried(
    r#"<failure type="test failure" message="y"/><rerunFailure type="test failure" message="x"/>"#,
    "| 1 | BROKEN | did not pass |"
)]
fn a_test_that_needed_another_attempt_is_listed_apart(#[case] xml: &str, #[case] row: &str) {
    let audit = Bundle::green().result("x_01_y", xml).seal().audit();
    let report = render(&audit, "").expect("renders");
    let (_, rest) = report.split_once("### Flaky and retried tests").expect("a section");
    let section = rest.split("\n### ").next().unwrap_or_default();
    assert!(section.contains(row), "{section}");
    assert_eq!(audit.exit_code(), 2);
}

#[test]
fn what_was_not_tried_is_listed() {
    let audit =
        Bundle::green().listing(&[("b1_07_mcp_tool_responses::validate_spec", true), ("r4_m2_007_left", false)]);
    let report = render(&audit.seal().audit(), "").expect("renders");
    for row in
        ["| B1-07 | P0 | M2 | UNTESTED | not run |", "| `m2_mcp_wiring r4_m2_007_left` | UNTESTED | not selected |"]
    {
        assert!(report.contains(row), "{row} is missing in {report}");
    }
}
