use rstest::rstest;

use super::*;
use crate::audit::{
    report::{page as page_of, render},
    sample::Bundle,
};
use crate::verdict::Status;

const REPORT: &str = "# R\n\n## 1. A\n\n";

fn made(markdown: &str) -> String {
    page(&format!("{REPORT}{markdown}"), Vec::new()).expect("a page")
}

#[rstest]
#[case::markup("<script>alert(1)</script>", "&lt;script&gt;")]
#[case::markup_in_a_line("x <img src=x onerror=alert(1)>", "x &lt;img")]
#[case::picture("![seen](http://elsewhere/x.png)", "<p>seen</p>")]
#[case::script_address("[a](javascript:alert(1))", "<p>a</p>")]
#[case::other_machine("[a](https://elsewhere/)", "<p>a</p>")]
#[case::no_scheme("[a](//elsewhere/)", "<p>a</p>")]
#[case::automatic("<http://elsewhere/>", "<p>http://elsewhere/</p>")]
#[case::evidence("[record](<evidence/m2/x y.json>)", "<a href=\"evidence/m2/x%20y.json\">record</a>")]
#[case::code("`<b>`", "<code>&lt;b&gt;</code>")]
fn nothing_a_system_says_becomes_markup(#[case] said: &str, #[case] shown: &str) {
    let page = made(said);
    assert!(page.contains(shown), "{page}");
}

#[rstest]
#[case::cell("| S |\n|---|\n| PASS (process) |", "<td><span class=\"badge good\">PASS</span> (process)</td>")]
#[case::sentence("**Verdict: FAIL.**", "Verdict: <span class=\"badge bad\">FAIL</span>.")]
#[case::several(
    "B1-07 PASS, X-01 UNTESTED",
    "B1-07 <span class=\"badge good\">PASS</span>, X-01 <span class=\"badge open\">UNTESTED</span>"
)]
#[case::part_of_a_word("R4-P0 PASSED", "<p>R4-P0 PASSED</p>")]
#[case::header("| P0 |\n|---|\n| 1 |", "<th>P0</th>")]
#[case::code("`PASS`", "<code>PASS</code>")]
#[case::beyond_ascii("größer → RED…", "größer → <span class=\"badge bad\">RED</span>…")]
fn status_words_get_badges(#[case] markdown: &str, #[case] shown: &str) {
    let page = made(markdown);
    assert!(page.contains(shown), "{page}");
}

#[test]
fn every_heading_has_an_id_of_its_own() {
    let page = made("### Same\n\n### Same\n\n## 2. B: `c`");
    for part in ["<h3 id=\"same\">", "<h3 id=\"same-2\">", "<a href=\"#2-b-c\">2. B: c</a>", "<h2 id=\"2-b-c\">"] {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
}

#[test]
fn a_chart_without_its_section_is_an_error() {
    let lost = Chart { section: "Nowhere", svg: String::new() };
    let error = page(REPORT, vec![lost]).expect_err("no such section").to_string();
    assert!(error.contains("Nowhere"), "{error}");
}

#[test]
fn the_page_of_an_audit_is_whole_and_needs_nothing_else() {
    let hostile = "</td></script><script src='http://elsewhere/x.js'>";
    let audit = Bundle::green()
        .result("x_01_y", "<failure/>")
        .record("x_01_y", Some(Status::Fail(hostile.into())), |_| ())
        .seal()
        .audit();
    let page = page_of(&audit, &render(&audit, "").expect("renders")).expect("a page");
    assert_eq!(page.matches("<h2 ").count(), 7);
    assert_eq!(page.matches("<svg ").count(), 4);
    assert_eq!(page.matches("<script").count(), 1, "only the page's own script");
    for foreign in ["src=", "@import", "url("] {
        assert!(!page.contains(foreign) || page.contains("&lt;script src="), "{foreign} in the page");
    }
    for link in page.split("href=\"").skip(1) {
        assert!(["#", "evidence/", "data:,"].iter().any(|start| link.starts_with(start)), "{link}");
    }
}
