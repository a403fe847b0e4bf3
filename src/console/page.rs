//! The page as text.

use std::fmt::Write;
use std::sync::LazyLock;

use base64::Engine;
use greenroom_kit::State;
use sha2::{Digest, Sha256};

use super::tree::{ActorLine, Tree};

const STYLE: &str = include_str!("status.css");
const SCRIPT: &str = include_str!("status.js");

static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// The policy under which the page is sent.
#[must_use]
pub fn content_security_policy() -> &'static str {
    &POLICY
}

/// What the page shows.
pub struct Page<'a> {
    /// `ok` or `degraded`.
    pub status: &'a str,
    /// The program's version.
    pub version: &'a str,
    /// Facts in a row: a word and a value.
    pub facts: Vec<(&'a str, String)>,
    /// The live tree.
    pub tree: &'a Tree,
}

/// The whole page.
#[must_use]
pub fn render_page(page: &Page<'_>) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Greenroom</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<main id=\"live\">{}</main>\n<p id=\"stale\" hidden>The server does not answer; this is how it was.</p>\n\
         <script>{SCRIPT}</script>\n</body>\n</html>\n",
        render_fragment(page)
    )
}

/// What changes from second to second.
#[must_use]
pub fn render_fragment(page: &Page<'_>) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        "<header><h1>Greenroom</h1><span class=\"badge {0}\">{0}</span><small>{1}</small></header><dl>",
        escape(page.status),
        escape(page.version)
    );
    for (word, value) in &page.facts {
        let _ = write!(out, "<div><dt>{}</dt><dd>{}</dd></div>", escape(word), escape(value));
    }
    out.push_str(
        "</dl><table><thead><tr><th>actor</th><th>state</th><th>restarts</th><th>waiting</th><th>handled</th>",
    );
    out.push_str("<th>in flight</th></tr></thead><tbody>");
    for line in &page.tree.actors {
        row(line, &mut out);
    }
    out.push_str("</tbody></table>");
    if page.tree.turns_not_shown > 0 {
        let _ = write!(out, "<p>and {} more turns</p>", page.tree.turns_not_shown);
    }
    out
}

fn row(line: &ActorLine, out: &mut String) {
    let card = &line.card;
    let state = state_word(card.state);
    let oldest = card.oldest_waiting_ms.filter(|_| card.mailbox_depth > 0);
    let waiting = match oldest {
        Some(oldest) => format!("{} ({oldest} ms)", card.mailbox_depth),
        None => card.mailbox_depth.to_string(),
    };
    let _ = write!(
        out,
        "<tr class=\"{state}\"><td data-depth=\"{}\"><span>{}</span>{}{}</td><td><span class=\"badge {state}\">{state}</span> \
         <small>since {}</small></td><td>{}</td><td>{waiting}</td><td>{}</td><td>{}</td></tr>",
        line.depth.min(5),
        escape(&card.name),
        note("note", card.note.as_deref()),
        note("failure", card.last_failure.as_deref()),
        escape(&card.since.strftime("%F %T UTC").to_string()),
        card.restarts,
        card.handled,
        card.in_flight,
    );
}

fn note(class: &str, text: Option<&str>) -> String {
    text.map_or_else(String::new, |text| format!("<em class=\"{class}\">{}</em>", escape(text)))
}

fn state_word(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Up => "up",
        State::Restarting => "restarting",
        State::Down => "down",
        State::Stopped => "stopped",
    }
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() && c != '\n' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use greenroom_kit::Board;

    use super::*;
    use crate::console::plant;

    fn page_of(board: &Board) -> String {
        let tree = plant(board.views());
        render_page(&Page { status: "ok", version: "0", facts: vec![("bot <b>", "\"x\" & 'y'".into())], tree: &tree })
    }

    #[test]
    fn nothing_foreign_stays_markup() {
        let board = Board::default();
        let card = board.card("bot:<script>alert(1)</script>", "bot", None);
        card.failed("<img src=x onerror=alert(2)>\u{1b}", State::Restarting);
        card.set_note(Some("\"><svg onload=alert(3)>".into()));
        let page = page_of(&board);
        for tag in ["<script>alert", "<img", "<svg", "<b>", "\u{1b}"] {
            assert!(!page.contains(tag), "{tag} in {page}");
        }
        assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("&quot;x&quot; &amp; &#39;y&#39;"));
    }

    #[test]
    fn the_policy_knows_the_style_and_the_script_of_the_page() {
        let page = page_of(&Board::default());
        for (open, close, directive) in [("<style>", "</style>", "style-src"), ("<script>", "</script>", "script-src")]
        {
            let inside = page.split(open).nth(1).unwrap().split(close).next().unwrap();
            let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(inside));
            assert!(content_security_policy().contains(&format!("{directive} 'sha256-{hash}'")));
        }
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("style=\""));
    }
}
