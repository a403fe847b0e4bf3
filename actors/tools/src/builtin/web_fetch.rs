//! The `web_fetch` tool: a page as readable text, a part at a time.

use std::fmt::Write;
use std::sync::Arc;

use greenroom_web::{FetchWish, Page, Web};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::outcome::ToolOutcome;
use crate::tool::{BoxFuture, CallContext, Effects, Scope, Tool, ToolSpec, parse};
use crate::tools::Timeouts;

const ABOUT: &str = "Reads a web page, PDF or text file from a public http:// or https:// address and returns its main content as \
     Markdown. A long page comes in parts; pass the given start for the next one.";

/// Characters of a page in one part: with title and marks it stays below what a result may have, so that no part is cut.
const PART: usize = 14_000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The full address, beginning with http:// or https://.
    #[schemars(length(min = 1, max = 4096))]
    url: String,
    /// The character to begin at, to read on in a long page.
    #[serde(default)]
    #[schemars(range(min = 0))]
    start: u32,
}

struct WebFetch {
    spec: ToolSpec,
    web: Web,
}

pub(crate) fn tool(web: Web, timeouts: &Timeouts) -> Arc<dyn Tool> {
    let spec = ToolSpec::built_in::<Arguments>("web_fetch", ABOUT, Scope::Search, timeouts.web_fetch);
    Arc::new(WebFetch { spec, web })
}

impl Tool for WebFetch {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn effects(&self, _: &Value) -> Effects {
        Effects::ReadOnly
    }

    fn call<'a>(&'a self, _: &'a CallContext, arguments: Value) -> BoxFuture<'a, ToolOutcome> {
        Box::pin(async move {
            let wish = match parse::<Arguments>(arguments) {
                Ok(Arguments { url, start }) => FetchWish { url, start: start as usize, max_chars: PART },
                Err(refused) => return refused,
            };
            match self.web.fetch(&wish).await {
                Ok(page) => {
                    let data = serde_json::to_value(&page).unwrap_or_default();
                    ToolOutcome::success(told(&page, wish.start)).with_data(data).untrusted()
                }
                Err(error) => error.into(),
            }
        })
    }
}

/// The part as the model reads it.
fn told(page: &Page, start: usize) -> String {
    let mut text = String::with_capacity(page.text.len() + 512);
    if let Some(title) = &page.title {
        let _ = writeln!(text, "Title: {title}");
    }
    let _ = writeln!(text, "URL: {}", page.url);
    if let Some(description) = page.description.as_ref().filter(|_| start == 0) {
        let _ = writeln!(text, "Description: {description}");
    }
    for note in &page.notes {
        let _ = writeln!(text, "Note: {note}");
    }
    let end = page.next_start.unwrap_or(page.total_chars);
    if start > 0 || page.next_start.is_some() {
        let _ = writeln!(text, "Characters {start} to {end} of {}.", page.total_chars);
    }
    let _ = write!(text, "---\n{}", if page.text.is_empty() { "(The page has no text.)" } else { &page.text });
    if let Some(next) = page.next_start {
        let _ = write!(text, "\n---\nThe page goes on: call again with start {next}.");
    }
    text
}
