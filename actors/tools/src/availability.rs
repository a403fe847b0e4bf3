//! Whether tools can be called now, remembered for a while.
//!
//! A turn waits for such a look only when nothing is known yet, and then not for long; later looks are made in the
//! background while the old answer holds. A look that hangs or panics counts as "no".

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use greenroom_kit::lock;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::tool::{Scope, Tool, ToolFamily};

/// How long a turn waits for the first look.
const FIRST: Duration = Duration::from_secs(2);
/// How long a look may take.
const LONGEST: Duration = Duration::from_secs(10);

/// Tools that are there now.
pub(crate) type Present = Arc<[Arc<dyn Tool>]>;

/// Where tools come from.
#[derive(Clone)]
pub(crate) enum Shelf {
    /// One tool.
    One(Arc<dyn Tool>),
    /// Several, known only at run time.
    Family(Arc<dyn ToolFamily>),
}

impl Shelf {
    pub(crate) fn scope(&self) -> Scope {
        match self {
            Self::One(tool) => tool.spec().scope,
            Self::Family(family) => family.scope(),
        }
    }

    async fn look(&self) -> Vec<Arc<dyn Tool>> {
        match self {
            Self::One(tool) => {
                if tool.available().await {
                    vec![tool.clone()]
                } else {
                    Vec::new()
                }
            }
            Self::Family(family) => family.tools().await,
        }
    }
}

#[derive(Clone)]
struct Known {
    tools: Present,
    at: Instant,
}

/// A shelf and what was last seen on it.
pub(crate) struct Watched {
    pub(crate) shelf: Shelf,
    good_for: Duration,
    known: watch::Sender<Option<Known>>,
    looking: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Watched {
    pub(crate) fn new(shelf: Shelf, good_for: Duration) -> Arc<Self> {
        Arc::new(Self { shelf, good_for, known: watch::Sender::new(None), looking: Mutex::default() })
    }

    /// What is there, as far as is known.
    pub(crate) async fn present(self: &Arc<Self>) -> Present {
        let mut news = self.known.subscribe();
        let known = news.borrow_and_update().clone();
        if known.as_ref().is_none_or(|known| known.at.elapsed() >= self.good_for) {
            self.look_again();
        }
        if let Some(known) = known {
            return known.tools;
        }
        match tokio::time::timeout(FIRST, news.wait_for(Option::is_some)).await {
            Ok(Ok(known)) => known.as_ref().map_or_else(Present::default, |known| known.tools.clone()),
            _ => Present::default(),
        }
    }

    /// Looks in a task of its own, one at a time.
    fn look_again(self: &Arc<Self>) {
        let mut looking = lock(&self.looking);
        if looking.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let me = self.clone();
        *looking = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let look = AssertUnwindSafe(me.shelf.look()).catch_unwind();
            let seen = tokio::time::timeout(LONGEST, look).await;
            let tools = seen.ok().and_then(Result::ok).unwrap_or_default().into();
            me.known.send_replace(Some(Known { tools, at: Instant::now() }));
        })));
    }
}
