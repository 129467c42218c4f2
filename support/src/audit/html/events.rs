//! From Markdown to HTML. What a system under test said stands in the text: no markup, picture or
//! address of it gets into the page.

use std::collections::{BTreeMap, BTreeSet};

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, TextMergeStream, html::push_html};

/// Words that get a badge, with its class. The word itself stays, so that nothing depends on colour.
const BADGES: [(&str, &str); 13] = [
    ("PASS", "good"),
    ("CONDITIONAL_PASS", "middling"),
    ("FAIL", "bad"),
    ("BROKEN", "bad"),
    ("UNTESTABLE", "open"),
    ("UNTESTED", "open"),
    ("GREEN", "good"),
    ("YELLOW", "middling"),
    ("RED", "bad"),
    ("P0", "bad priority"),
    ("P1", "middling priority"),
    ("P2", "open priority"),
    ("P3", "open priority"),
];

/// A heading of the report.
pub(super) struct Heading {
    /// Its id in the page.
    pub(super) slug: String,
    pub(super) title: String,
}

/// What a page is made of.
pub(super) struct Body {
    pub(super) title: String,
    pub(super) html: String,
    /// Its sections.
    pub(super) contents: Vec<Heading>,
}

/// Converts a report; the charts that found their place are taken out of `charts`.
pub(super) fn body(markdown: &str, charts: &mut BTreeMap<&'static str, String>) -> Body {
    let mut page = Page {
        charts,
        events: Vec::new(),
        heading: None,
        in_table_head: false,
        links: Vec::new(),
        slugs: BTreeSet::new(),
        section: String::new(),
        title: String::new(),
        contents: Vec::new(),
    };
    for event in TextMergeStream::new(Parser::new_ext(markdown, Options::ENABLE_TABLES)) {
        page.take(event);
    }
    let mut html = String::with_capacity(2 * markdown.len());
    push_html(&mut html, page.events.into_iter());
    Body { title: page.title, html, contents: page.contents }
}

/// A text as HTML.
pub(super) fn escaped(text: &str) -> String {
    let mut html = String::new();
    push_html(&mut html, [Event::Text(text.into())].into_iter());
    html
}

/// A page being made.
struct Page<'a, 'c> {
    charts: &'c mut BTreeMap<&'static str, String>,
    events: Vec<Event<'a>>,
    /// The heading that is open: where it begins among the events, and its text so far.
    heading: Option<(usize, String)>,
    in_table_head: bool,
    /// The links that are open, and whether each is kept.
    links: Vec<bool>,
    slugs: BTreeSet<String>,
    /// The slug of the last heading.
    section: String,
    title: String,
    contents: Vec<Heading>,
}

impl<'a> Page<'a, '_> {
    fn take(&mut self, event: Event<'a>) {
        match event {
            Event::Start(Tag::Heading { .. }) => {
                self.heading = Some((self.events.len(), String::new()));
                self.events.push(event);
            }
            Event::End(TagEnd::Heading(level)) => self.close_heading(level),
            Event::Start(Tag::Table(_)) => {
                let section = &self.section;
                let opening =
                    format!("<div class=\"scroll\" role=\"region\" aria-labelledby=\"{section}\" tabindex=\"0\">");
                self.events.extend([Event::Html(opening.into()), event]);
            }
            Event::End(TagEnd::Table) => self.events.extend([event, Event::Html("</div>\n".into())]),
            Event::Start(Tag::TableHead) | Event::End(TagEnd::TableHead) => {
                self.in_table_head = matches!(event, Event::Start(_));
                self.events.push(event);
            }
            Event::Start(Tag::Link { ref dest_url, .. }) => {
                let kept = stays_here(dest_url);
                self.links.push(kept);
                self.events.extend(kept.then_some(event));
            }
            Event::End(TagEnd::Link) => self.events.extend((self.links.pop() == Some(true)).then_some(event)),
            Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => (),
            Event::Html(text) | Event::InlineHtml(text) | Event::Text(text) => self.text(text),
            Event::Code(ref code) => {
                if let Some((_, title)) = &mut self.heading {
                    title.push_str(code);
                }
                self.events.push(event);
            }
            other => self.events.push(other),
        }
    }

    fn text(&mut self, text: CowStr<'a>) {
        match &mut self.heading {
            Some((_, title)) => {
                title.push_str(&text);
                self.events.push(Event::Text(text));
            }
            None if self.in_table_head => self.events.push(Event::Text(text)),
            None => self.events.extend(with_badges(text)),
        }
    }

    /// Gives a heading its id, and its chart where it has one.
    fn close_heading(&mut self, level: HeadingLevel) {
        let Some((begin, title)) = self.heading.take() else { return };
        let slug = self.new_slug(&title);
        let (id, classes, attrs) = (Some(slug.clone().into()), Vec::new(), Vec::new());
        self.events[begin] = Event::Start(Tag::Heading { level, id, classes, attrs });
        self.events.push(Event::End(TagEnd::Heading(level)));
        if let Some(chart) = self.charts.remove(title.as_str()) {
            let figure = format!(
                "<figure class=\"scroll\" role=\"group\" aria-labelledby=\"{slug}\" tabindex=\"0\">\n{chart}</figure>\n"
            );
            self.events.push(Event::Html(figure.into()));
        }
        self.section.clone_from(&slug);
        match level {
            HeadingLevel::H1 => self.title = title,
            HeadingLevel::H2 => self.contents.push(Heading { slug, title }),
            _ => (),
        }
    }

    /// An id that no other heading has.
    fn new_slug(&mut self, title: &str) -> String {
        let letters = title.to_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), " ");
        let slug = letters.split_whitespace().collect::<Vec<_>>().join("-");
        let numbered = (2..).map(|number| format!("{slug}-{number}"));
        let free = [slug.clone()].into_iter().chain(numbered).find(|slug| !self.slugs.contains(slug));
        let slug = free.unwrap_or(slug);
        self.slugs.insert(slug.clone());
        slug
    }
}

/// Whether an address stays below the bundle or beside it.
fn stays_here(address: &str) -> bool {
    !address.is_empty() && !address.starts_with(['/', '\\']) && !address.contains(':')
}

/// A text whose words of [`BADGES`] stand in badges.
fn with_badges(text: CowStr<'_>) -> Vec<Event<'_>> {
    let mut events = Vec::new();
    let mut plain = 0;
    for (start, word) in words(&text) {
        let Some((_, class)) = BADGES.iter().find(|(badge, _)| *badge == word) else { continue };
        events.push(Event::Text(text[plain..start].to_owned().into()));
        events.push(Event::InlineHtml(format!("<span class=\"badge {class}\">{word}</span>").into()));
        plain = start + word.len();
    }
    if plain == 0 {
        return vec![Event::Text(text)];
    }
    events.push(Event::Text(text[plain..].to_owned().into()));
    events
}

/// The words of a text, each with its place.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_end = |letter: char| !letter.is_alphanumeric() && letter != '_' && letter != '-';
    let mut place = 0;
    text.split(is_end).map(move |word| {
        // What split the text takes as many bytes as it has.
        let start = place;
        let end = text[start + word.len()..].chars().next().map_or(0, char::len_utf8);
        place = start + word.len() + end;
        (start, word)
    })
}
