//! The report as one HTML page that needs nothing else: made of the Markdown text, so that both
//! say the same, with charts, a table of contents and sortable tables.

mod events;

use std::{collections::BTreeMap, io};

use base64::{Engine, engine::general_purpose::STANDARD};
use minijinja::{Environment, UndefinedBehavior, context};
use sha2::{Digest, Sha256};

use super::charts::Chart;
use events::{Body, escaped};

const TEMPLATE: &str = include_str!("page.html.jinja");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page of the report `markdown`. Each chart begins the section it names.
///
/// # Errors
/// When there is no such section.
pub(super) fn page(markdown: &str, charts: Vec<Chart>) -> io::Result<String> {
    let mut charts: BTreeMap<_, _> = charts.into_iter().map(|chart| (chart.section, chart.svg)).collect();
    let Body { title, html, contents } = events::body(markdown, &mut charts);
    if let Some(section) = charts.keys().next() {
        return Err(io::Error::other(format!("the report has no section {section:?} for its chart")));
    }
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let contents: Vec<_> = contents
        .into_iter()
        .map(|heading| context! { slug => heading.slug, title => escaped(&heading.title) })
        .collect();
    let values = context! {
        title => escaped(&title),
        contents,
        html,
        style => STYLE,
        script => SCRIPT,
        script_digest => STANDARD.encode(Sha256::digest(SCRIPT)),
    };
    environment.render_named_str("page", TEMPLATE, values).map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
