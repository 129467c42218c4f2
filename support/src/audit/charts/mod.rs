//! The charts of the report as SVG. They show what the tables beside them say, and their colours
//! are those of the page around them.

mod canvas;
mod convergence;
mod latency;
mod score;
mod timeline;

use std::io;

use super::Audit;
use canvas::DrawError;

pub(crate) use convergence::Point;

/// A chart and where it belongs.
pub(super) struct Chart {
    /// The title of the section it begins.
    pub(super) section: &'static str,
    /// The drawing: one SVG element.
    pub(super) svg: String,
}

/// All charts of an audit; `convergence` is the history of the fix passes.
pub(super) fn all(audit: &Audit, convergence: &[Point]) -> io::Result<Vec<Chart>> {
    let drawn = [
        ("Runs", timeline::timeline(audit)),
        ("3. Per-System Assessment", score::scores(audit)),
        ("Latency of tools", latency::latency(&audit.latency)),
        ("5. Fix Pass History", convergence::convergence(convergence)),
    ];
    let chart = |(section, svg): (&'static str, Result<String, DrawError>)| {
        svg.map(|svg| Chart { section, svg }).map_err(|error| io::Error::other(format!("drawing a chart: {error}")))
    };
    drawn.into_iter().map(chart).collect()
}

#[cfg(test)]
mod tests;
