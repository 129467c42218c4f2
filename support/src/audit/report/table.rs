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
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = match one_line.char_indices().nth(LIMIT) {
        None => one_line.as_str(),
        Some((end, _)) => &format!("{}…", &one_line[..end]),
    };
    shown.replace('&', "&amp;").replace('<', "&lt;").replace('|', "\\|")
}

/// A name in code font.
pub(super) fn code(name: &str) -> String {
    format!("`{}`", name.replace('`', "'").replace('|', "\\|"))
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

    #[test]
    fn a_table_has_a_header_and_rows() {
        let made = table(["a", "b"], [["1".to_owned(), text("x|y\n<z>")]]);
        assert_eq!(made, "| a | b |\n|---|---|\n| 1 | x\\|y &lt;z> |");
        assert_eq!(table::<1>(["a"], []), "none");
    }

    proptest! {
        #[test]
        fn no_text_breaks_a_cell(input in any::<String>()) {
            let cell = text(&input);
            prop_assert!(!cell.contains('\n') && !cell.contains('<'));
            prop_assert!(!cell.replace("\\|", "").contains('|'));
        }
    }
}
