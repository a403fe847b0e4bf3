//! The live tree for people with a browser: one page, no assets from elsewhere, nothing trusted. The server renders the
//! tree; the page's script only fetches it again every second, so it works without scripts, too, just not by itself.
//!
//! Invariant: every text that did not come from this file is escaped, and the page's policy allows exactly the one
//! style sheet and the one script that stand in it.

mod page;
mod tree;

pub use page::{Page, content_security_policy, render_fragment, render_page};
pub use tree::{ActorLine, Tree, plant};
