//! Markdown tables and what stands in their cells.

use crate::{config::Substrate, verdict::Status};

/// What the report prints where nothing was measured.
pub(super) const NOT_MEASURED: &str = "not measured";

/// How much of a text a cell shows; the record that is linked has all of it.
const LIMIT: usize = 240;

/// A Markdown table; one without rows says `none`.
pub(super) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut rows = rows.into_iter().map(|row| format!("| {} |", row.join(" | "))).peekable();
    if rows.peek().is_none() {
        return "none".to_owned();
    }
    let ruler = format!("|{}", "---|".repeat(N));
    let lines: Vec<_> = [format!("| {} |", header.join(" | ")), ruler].into_iter().chain(rows).collect();
    lines.join("\n")
}

/// Free text, made harmless and short enough for a cell.
pub(super) fn text(text: &str) -> String {
    line(&shortened(text))
}

/// Free text of any length, made harmless, on one line.
pub(super) fn line(text: &str) -> String {
    // An entity first, so that no backslash of the text takes away one of those below.
    let harmless = own_line(&text.replace('&', "&amp;").replace('\\', "&#92;"));
    harmless.replace('[', "\\[").replace('`', "\\`")
}

/// What the suite itself says, short enough for a cell; its code font stays.
pub(super) fn own_words(text: &str) -> String {
    own_line(&shortened(text).replace('&', "&amp;"))
}

fn own_line(text: &str) -> String {
    one_line(text).replace('<', "&lt;").replace('|', "\\|")
}

fn shortened(text: &str) -> String {
    let whole = one_line(text);
    match whole.char_indices().nth(LIMIT) {
        None => whole,
        Some((end, _)) => format!("{}…", &whole[..end]),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A name in code font.
pub(super) fn code(name: &str) -> String {
    format!("`{}`", one_line(name).replace('`', "'").replace('|', "\\|"))
}

/// The word of a verdict; a pass says where it was seen.
pub(super) fn word(status: &Status, substrate: Substrate) -> String {
    match status {
        Status::Pass => format!("PASS ({substrate})"),
        other => other.word().to_owned(),
    }
}

/// Seconds, or a dash for what did not run.
pub(super) fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "—".to_owned(), |seconds| format!("{seconds:.2} s"))
}

/// A span of time for people.
pub(super) fn span(seconds: f64) -> String {
    let minutes = seconds / 60.0;
    if minutes < 1.0 { format!("{seconds:.1} s") } else { format!("{minutes:.1} min") }
}

/// YES or NO.
pub(super) fn yes(holds: bool) -> String {
    if holds { "YES" } else { "NO" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use proptest::prelude::*;
    use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
    use rstest::rstest;

    #[test]
    fn a_table_has_a_header_and_rows() {
        let made = table(["a", "b"], [["1".to_owned(), text("x|y\n<z>")]]);
        assert_eq!(made, "| a | b |\n|---|---|\n| 1 | x\\|y &lt;z> |");
        assert_eq!(table::<1>(["a"], []), "none");
    }

    /// What a reader sees of a cell, and whether there is anything but text in it.
    fn read(cell: &str) -> (String, bool) {
        let made = table(["a", "b"], [[cell.to_owned(), "end".to_owned()]]);
        let events: Vec<_> = Parser::new_ext(&made, Options::ENABLE_TABLES).collect();
        let is_plain = |event: &Event| match event {
            Event::Text(_) => true,
            Event::Start(tag) => matches!(tag, Tag::Table(_) | Tag::TableHead | Tag::TableRow | Tag::TableCell),
            Event::End(tag) => {
                matches!(tag, TagEnd::Table | TagEnd::TableHead | TagEnd::TableRow | TagEnd::TableCell)
            }
            _ => false,
        };
        let seen = events.iter().filter_map(|event| match event {
            Event::Text(text) => Some(text.as_ref()),
            _ => None,
        });
        (seen.collect(), events.iter().all(is_plain))
    }

    #[rstest]
    #[case::picture("![](http://elsewhere/x.png)")]
    #[case::link("see [here](http://elsewhere/)")]
    #[case::behind_a_backslash("\\[here](http://elsewhere/)")]
    #[case::code("`a` and `")]
    #[case::code_behind_a_backslash("\\`a`")]
    #[case::cell("a | b \\| c \\\\| d")]
    #[case::entity("&lt;b> &#91;")]
    #[case::markup("<b>")]
    fn free_text_is_only_text(#[case] said: &str) {
        assert_eq!(read(&text(said)), (format!("ab{said}end"), true));
    }

    #[test]
    fn the_suite_s_own_words_keep_their_code_font() {
        assert_eq!(own_words("healthy in `docker\n ps` | <b>"), "healthy in `docker ps` \\| &lt;b>");
    }

    #[test]
    fn a_name_stays_on_its_line() {
        assert_eq!(code("a`|\n\n**Verdict: PASS.**"), "`a'\\| **Verdict: PASS.**`");
    }

    proptest! {
        #[test]
        fn no_text_breaks_a_cell(input in any::<String>()) {
            let cell = text(&input);
            prop_assert!(!cell.contains('\n') && !cell.contains('<'));
            prop_assert!(!cell.replace("\\|", "").contains('|'));
        }

        #[test]
        fn no_text_makes_a_link_or_code(input in r"[\[\]()!`\\|<>& a]{0,40}") {
            let (seen, is_plain) = read(&text(&input));
            prop_assert!(is_plain, "{:?} in {}", seen, text(&input));
        }
    }
}
