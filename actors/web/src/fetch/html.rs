//! HTML as readable Markdown.
//!
//! The main content is found by `dom_smoothie`, a port of Firefox's reader view; where there is none, the whole body
//! serves, without navigation. Pages may be hostile: parsing has a deadline (the standard's algorithm is quadratic in
//! depth), and a tree that is too deep or too large for the converters is read as plain text.

use std::time::{Duration, Instant};

use dom_query::{Document, NodeRef};
use dom_smoothie::{Config, Readability, TextMode};
use html5ever::tree_builder::TreeBuilderOpts;
use html5ever::{ParseOpts, parse_document};
use tendril::{StrTendril, TendrilSink};
use url::Url;

use super::Whole;
use crate::error::WebError;

/// Longest time for building a tree, looked at after each piece of this size.
const PARSE_LIMIT: Duration = Duration::from_secs(3);
const PIECE: usize = 4_096;
/// What the converters, some of which recurse, are given.
const MAX_DEPTH: usize = 150;
const MAX_NODES: usize = 400_000;
/// Less main content than this, and the whole body serves.
const MIN_CONTENT: usize = 200;

/// Never text.
const SILENT: &str = "script:not([type='application/ld+json']), style, noscript, template, iframe, object, embed, \
     img, picture, svg, canvas, video, audio, map, [hidden], [aria-hidden='true']";
/// Around the text.
const AROUND: &str = "nav, header, footer, aside, form, dialog, button, select, [role='navigation'], [role='banner'], \
     [role='contentinfo'], [role='search'], [role='complementary']";

/// A tree, or nothing when building it takes too long.
pub(crate) fn parse(text: &str) -> Option<Document> {
    parse_within(text, PARSE_LIMIT)
}

fn parse_within(text: &str, limit: Duration) -> Option<Document> {
    let deadline = Instant::now() + limit;
    let tree_builder = TreeBuilderOpts { scripting_enabled: false, ..TreeBuilderOpts::default() };
    let mut parser = parse_document(Document::default(), ParseOpts { tree_builder, ..ParseOpts::default() });
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(rest.floor_char_boundary(PIECE.min(rest.len())));
        parser.process(StrTendril::from(piece));
        if Instant::now() > deadline {
            return None;
        }
        rest = more;
    }
    Some(parser.finish())
}

/// The tree of a short piece of markup.
pub(crate) fn fragment(text: &str) -> Option<Document> {
    (text.len() <= PIECE).then(|| Document::fragment(text))
}

/// The readable text of a page.
pub(super) fn read(text: &str, url: &Url) -> Result<Whole, WebError> {
    let too_deep = || WebError::Unsupported("The page is built in a way that cannot be read.".into());
    let document = parse(text).ok_or_else(too_deep)?;
    let (title, description) = (title(&document), description(&document));
    if !is_tame(&document.root()) {
        let text = plain_text(&document.root());
        return Ok(Whole { title, description, text, ..Whole::default() });
    }
    document.select(SILENT).remove();
    let body = document.clone();
    let config = Config { text_mode: TextMode::Markdown, ..Config::default() };
    let article = Readability::with_document(document, Some(url.as_str()), Some(config))
        .and_then(|mut reader| reader.parse())
        .ok()
        .filter(|article| article.text_content.trim().chars().count() >= MIN_CONTENT);
    let text = match &article {
        Some(article) => article.text_content.to_string(),
        None => whole_body(&body, url),
    };
    let article_title = article.map(|article| article.title).filter(|title| !title.trim().is_empty());
    Ok(Whole { title: article_title.or(title), description, text, ..Whole::default() })
}

/// The body without what stands around its text.
fn whole_body(document: &Document, url: &Url) -> String {
    let body = document.select("body");
    let full = body.text().trim().chars().count();
    let inner = body.select(AROUND);
    let around: usize = inner.iter().map(|part| part.text().trim().chars().count()).sum();
    // a page that consists of its frame is shown with it
    if around < full {
        inner.remove();
    }
    document.select("script").remove();
    let base = document.base_uri().and_then(|base| url.join(&base).ok());
    for link in document.select("a[href]").iter() {
        let target = link.attr("href").and_then(|href| base.as_ref().unwrap_or(url).join(&href).ok());
        match target.filter(|target| matches!(target.scheme(), "http" | "https" | "mailto")) {
            Some(target) => link.set_attr("href", target.as_str()),
            None => link.remove_attr("href"),
        }
    }
    document.body().map(|body| body.md(None).to_string()).unwrap_or_default()
}

fn title(document: &Document) -> Option<String> {
    let title = document.select_single("title").text();
    Some(title.trim().to_owned()).filter(|title| !title.is_empty())
}

fn description(document: &Document) -> Option<String> {
    let meta = document.select_single("meta[name='description'], meta[property='og:description']");
    meta.attr("content").map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Whether the tree is of a size and depth that pages have.
fn is_tame(root: &NodeRef<'_>) -> bool {
    let (mut count, mut tame) = (0, true);
    walk(root, |depth, _| {
        count += 1;
        tame = depth <= MAX_DEPTH && count <= MAX_NODES;
        if tame { Step::In } else { Step::Stop }
    });
    tame
}

/// All text, a line for each piece.
fn plain_text(root: &NodeRef<'_>) -> String {
    let mut out = String::new();
    walk(root, |_, node| {
        if node.is_text() {
            out.push_str(node.text().trim());
            out.push('\n');
        } else if node
            .node_name()
            .is_some_and(|name| matches!(&*name, "script" | "style" | "template" | "noscript" | "svg"))
        {
            return Step::Over;
        }
        Step::In
    });
    out
}

enum Step {
    In,
    Over,
    Stop,
}

/// Visits a tree in order, without recursion.
fn walk<'a>(root: &NodeRef<'a>, mut visit: impl FnMut(usize, &NodeRef<'a>) -> Step) {
    let mut depth = 0;
    let mut node = *root;
    loop {
        let step = visit(depth, &node);
        let below = match step {
            Step::In => node.first_child(),
            Step::Over => None,
            Step::Stop => return,
        };
        if let Some(child) = below {
            node = child;
            depth += 1;
            continue;
        }
        loop {
            if depth == 0 {
                return;
            }
            if let Some(next) = node.next_sibling() {
                node = next;
                break;
            }
            let Some(parent) = node.parent() else { return };
            node = parent;
            depth -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url() -> Url {
        Url::parse("https://example.org/a/b.html").unwrap()
    }

    fn article() -> String {
        let paragraph = "<p>The quick brown fox jumps over the lazy dog, and then it rests, because resting is, \
             all things considered, what a fox does best in the afternoon.</p>";
        format!(
            "<html><head><title>Foxes</title><meta name=description content='About foxes'></head><body>\
             <nav><a href=/home>Home</a></nav><article><h1>On foxes</h1>{p}{p}<p>See <a href='../c'>more <b>here</b></a>\
             <img src=x.png alt=Picture>.</p><ul><li>One</li><li>Two</li></ul><script>evil()</script>{p}{p}</article>\
             <footer>Imprint</footer></body></html>",
            p = paragraph
        )
    }

    #[test]
    fn the_main_content_is_markdown_with_links_and_without_frame() {
        let page = read(&article(), &url()).unwrap().tidy();
        assert_eq!(page.title.as_deref(), Some("Foxes"));
        assert_eq!(page.description.as_deref(), Some("About foxes"));
        assert!(page.text.contains("quick brown fox"), "{}", page.text);
        assert!(page.text.contains("(https://example.org/c)"), "{}", page.text);
        for gone in ["Home", "Imprint", "evil", "Picture", "![", "<"] {
            assert!(!page.text.contains(gone), "{gone}: {}", page.text);
        }
    }

    #[test]
    fn a_page_without_main_content_is_shown_whole() {
        let text = "<title>T</title><nav>Menu</nav><h2>Hours</h2><p>Open 9 to 5</p><a href='x?y'>Map</a>\
             <a href='javascript:alert(1)'>Click</a><p hidden>secret</p>";
        let page = read(text, &url()).unwrap().tidy();
        assert!(
            page.text.contains("Open 9 to 5") && page.text.contains("(https://example.org/a/x?y)"),
            "{}",
            page.text
        );
        assert!(!page.text.contains("Menu") && !page.text.contains("javascript") && !page.text.contains("secret"));
        let frame = read("<nav><p>Nothing but a frame</p></nav>", &url()).unwrap();
        assert!(frame.text.contains("Nothing but a frame"));
        assert_eq!(read("", &url()).unwrap().text, "");
    }

    #[test]
    fn a_bottomless_page_is_read_or_refused_but_ends_nothing() {
        for tag in ["div", "blockquote", "ul><li", "b class=x", "table><tr><td", "a href=x"] {
            let text = format!("<p>top</p>{}deep", format!("<{tag}>").repeat(2_000));
            match read(&text, &url()) {
                Ok(page) => assert!(page.text.contains("top"), "{tag}"),
                Err(error) => assert!(matches!(error, WebError::Unsupported(_)), "{tag}: {error}"),
            }
        }
        assert!(parse_within("<div>", Duration::ZERO).is_none());
    }
}
