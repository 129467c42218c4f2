//! What all charts share: inks that take their colours from the page, and a frame that says in
//! words what is drawn.

use std::io;

use plotters::{coord::Shift, prelude::*};

/// Where a chart is drawn.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Why it cannot be drawn.
pub(super) type DrawError = DrawingAreaErrorKind<io::Error>;

/// How wide every chart is, in pixels.
pub(super) const WIDTH: u32 = 760;

/// The size of all letters.
pub(super) const LETTERS: i32 = 15;

// Plotters knows colours as numbers only; each of these stands for a colour of the page, so that
// light, dark and print need one drawing.
/// Letters and lines that matter.
pub(super) const TEXT: RGBColor = RGBColor(0, 0, 1);
/// What is beside the point.
pub(super) const MUTED: RGBColor = RGBColor(0, 0, 2);
/// Frames and rulers.
pub(super) const FAINT: RGBColor = RGBColor(0, 0, 3);
/// What was measured.
pub(super) const MARK: RGBColor = RGBColor(0, 0, 4);
/// What did not pass.
pub(super) const BAD: RGBColor = RGBColor(0, 0, 5);

const COLOURS: [(&str, &str); 5] = [
    ("\"#000001\"", "\"currentColor\""),
    ("\"#000002\"", "\"var(--muted)\""),
    ("\"#000003\"", "\"var(--faint)\""),
    ("\"#000004\"", "\"var(--mark)\""),
    ("\"#000005\"", "\"var(--bad)\""),
];

/// A chart in words.
pub(super) struct Frame<'a> {
    /// Its id in the page.
    pub(super) key: &'a str,
    pub(super) title: &'a str,
    pub(super) description: &'a str,
    /// In pixels.
    pub(super) height: u32,
}

/// Draws a chart as an SVG element.
pub(super) fn draw(
    frame: &Frame<'_>,
    paint: impl FnOnce(&Area<'_>) -> Result<(), DrawError>,
) -> Result<String, DrawError> {
    let mut drawn = String::new();
    {
        let area = SVGBackend::with_string(&mut drawn, (WIDTH, frame.height)).into_drawing_area();
        paint(&area)?;
        area.present()?;
    }
    for (number, colour) in COLOURS {
        drawn = drawn.replace(number, colour);
    }
    let Frame { key, title, description, .. } = frame;
    let words = format!(
        "<svg id=\"{key}\" role=\"img\" aria-labelledby=\"{key}-title {key}-description\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\">\n\
         <title id=\"{key}-title\">{}</title>\n<desc id=\"{key}-description\">{}</desc>",
        frame.height,
        escaped(title),
        escaped(description)
    );
    // An empty line would end the element in the middle for whoever reads it as Markdown.
    let inside = drawn.split_once(">\n").map_or("", |(_, inside)| inside).trim_end();
    Ok(format!("{words}\n{inside}\n"))
}

/// A chart of nothing.
pub(super) fn not_measured(frame: &Frame<'_>) -> Result<String, DrawError> {
    draw(&Frame { height: 40, ..*frame }, |area| text(area, "not measured", (8, 12), &MUTED))
}

/// Writes a text whose upper left corner is `place`.
pub(super) fn text(area: &Area<'_>, text: &str, place: (i32, i32), ink: &RGBColor) -> Result<(), DrawError> {
    area.draw(&Text::new(text.to_owned(), place, ("sans-serif", LETTERS).into_font().color(ink)))
}

/// As much of a name as a chart has room for.
pub(super) fn shortened(name: &str, letters: usize) -> String {
    match name.char_indices().nth(letters) {
        None => name.to_owned(),
        Some(_) => name.chars().take(letters.saturating_sub(1)).chain(['…']).collect(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
