//! Which names are tools in this pass, as offered or as models are known to call them.

use std::sync::Arc;

use crate::alias;

/// The tools offered.
#[derive(Debug, Clone)]
pub(crate) struct Names(Arc<[String]>);

impl Names {
    pub(crate) const fn new(names: Arc<[String]>) -> Self {
        Self(names)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is an offered tool, whatever its spelling or alias.
    pub(crate) fn known(&self, name: &str) -> bool {
        self.has(name) || {
            let plain = alias::plain(name);
            self.0.iter().any(|offered| alias::plain(offered) == plain)
                || alias::of(&plain).is_some_and(|alias| self.has(alias.tool))
        }
    }

    /// Whether something known begins like this.
    pub(crate) fn begins(&self, prefix: &str) -> bool {
        self.0.iter().any(|offered| offered.starts_with(prefix)) || {
            let plain = alias::plain(prefix);
            alias::PREFIX.starts_with(&plain)
                || self.0.iter().any(|offered| alias::plain(offered).starts_with(&plain))
                || alias::ALIASES
                    .iter()
                    .any(|alias| self.has(alias.tool) && alias.names.iter().any(|name| name.starts_with(&plain)))
        }
    }

    /// The offered names themselves.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|offered| offered == name)
    }
}
