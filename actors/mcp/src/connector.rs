//! One actor per MCP server. It keeps the connection and fails with it, when it cannot be made or is lost; its supervisor then
//! makes a new one, at first soon and later every 30 s. So the board shows which servers are away, and why.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use greenroom_kit::Told;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::error::McpError;
use crate::fault::Fault;
use crate::link::{Link, Shared, Up};
use crate::remote_tool::Listing;
use crate::session::{self, OnChange, Opened, Session};

/// How long making a connection may take, the list of tools included.
const OPEN_LIMIT: Duration = Duration::from_secs(25);
/// How long a new list of tools may take.
pub(crate) const LIST_LIMIT: Duration = Duration::from_secs(10);
/// How old a list of tools may get.
const LIST_AGE: Duration = Duration::from_secs(600);
/// Changes that a server announces within this time are one.
const CHANGE_PAUSE: Duration = Duration::from_millis(250);

pub(crate) enum ConnectorMsg {
    /// Asks for a new list of tools; answered when there is one.
    Refresh(RpcReplyPort<()>),
    /// A call failed in a way that makes this link doubtful.
    Doubt(u64),
    /// A call found this link gone.
    Lost(u64, Fault),
    /// Internal: the server says that its tools have changed.
    Changed,
    /// Internal: it is time for a new list.
    Due,
    /// Internal: the attempt to connect is over.
    Opened(Result<Box<Opened>, Fault>),
    /// Internal: the question for the tools is over.
    Listed(Result<Listing, Fault>),
    /// Internal: the session has ended by itself.
    Ended,
}

/// The actor.
pub(crate) struct Connector {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct ConnectorState {
    /// What is being waited for: first a connection, later now and then a list.
    work: Option<AbortOnDropHandle<()>>,
    live: Option<Live>,
    /// Who waits for a list.
    waiting: Vec<RpcReplyPort<()>>,
    /// Another list is wanted, because the one that is being asked for may be older than the wish.
    again: bool,
    /// A change was announced and is about to be looked at.
    change_noted: bool,
}

struct Live {
    up: Up,
    _keeper: AbortOnDropHandle<()>,
}

type Me = ActorRef<Told<ConnectorMsg>>;

impl Connector {
    /// Does something on a task of its own and reports its result, or `None` if it panicked, to this incarnation only.
    fn report<T: Send + 'static>(
        &self,
        me: &Me,
        work: impl Future<Output = T> + Send + 'static,
        make: impl FnOnce(Option<T>) -> ConnectorMsg + Send + 'static,
    ) -> AbortOnDropHandle<()> {
        let (me, address) = (me.clone(), self.shared.address.clone());
        let work = AbortOnDropHandle::new(tokio::spawn(work));
        AbortOnDropHandle::new(tokio::spawn(async move {
            let done = work.await.ok();
            let _ = me.cast(address.told(make(done)));
        }))
    }

    fn on_change(&self, me: &Me) -> OnChange {
        let (me, address) = (me.clone(), self.shared.address.clone());
        Arc::new(move || {
            let _ = me.cast(address.told(ConnectorMsg::Changed));
        })
    }

    fn open(&self, me: &Me) -> AbortOnDropHandle<()> {
        let (shared, changed) = (self.shared.clone(), self.on_change(me));
        let opening = async move {
            let opened = timeout(OPEN_LIMIT, session::open(&shared.settings, &shared.client, changed)).await;
            opened.unwrap_or(Err(Fault::Slow)).map(Box::new)
        };
        self.report(me, opening, |opened| ConnectorMsg::Opened(opened.unwrap_or_else(|| Err(panicked()))))
    }

    /// Asks for the tools, unless that is being done; then once more afterwards.
    fn list(&self, me: &Me, state: &mut ConnectorState) {
        let Some(live) = &state.live else { return };
        if state.work.is_some() {
            state.again = true;
            return;
        }
        let (shared, session) = (self.shared.clone(), live.up.session.clone());
        let listing =
            async move { timeout(LIST_LIMIT, session.list(&shared.settings)).await.unwrap_or(Err(Fault::Slow)) };
        let work = self.report(me, listing, |listed| ConnectorMsg::Listed(listed.unwrap_or_else(|| Err(panicked()))));
        state.work = Some(work);
    }

    fn note(&self, listing: &Listing, session: &Session) {
        let mut note = format!("{} tools, MCP {}", listing.tools.len(), session.revision());
        if listing.left_out > 0 {
            note.push_str(&format!(", {} tools left out", listing.left_out));
            let server = self.shared.settings.id.as_str();
            tracing::warn!(server, left_out = listing.left_out, "tools of an mcp server do not fit");
        }
        self.shared.address.card().set_note(Some(note));
    }

    /// The connection is gone, and so is this incarnation.
    fn lost(&self, fault: &Fault, link: Link) -> Result<(), ActorProcessingErr> {
        self.shared.address.card().set_note(None);
        self.shared.link.send_replace(link);
        Err(fault.reason().into())
    }
}

fn panicked() -> Fault {
    Fault::Broken("an answer that broke our reader".into())
}

impl Actor for Connector {
    type Msg = Told<ConnectorMsg>;
    type State = ConnectorState;
    type Arguments = ();

    async fn pre_start(&self, me: Me, (): ()) -> Result<ConnectorState, ActorProcessingErr> {
        self.shared.address.card().set_note(Some("connecting".into()));
        // While a server is away, calls fail at once instead of waiting for every new attempt.
        self.shared.link.send_if_modified(|link| {
            let crashed = matches!(link, Link::Up(_));
            if crashed {
                *link = Link::Opening;
            }
            crashed
        });
        let work = Some(self.open(&me));
        Ok(ConnectorState { work, live: None, waiting: Vec::new(), again: false, change_noted: false })
    }

    async fn handle(
        &self,
        me: Me,
        told: Told<ConnectorMsg>,
        state: &mut ConnectorState,
    ) -> Result<(), ActorProcessingErr> {
        let (message, _work) = told.open();
        let number = state.live.as_ref().map(|live| live.up.number);
        match message {
            ConnectorMsg::Refresh(reply) => {
                // without a connection the port is dropped, and the caller looks at the link
                if state.live.is_some() {
                    state.waiting.push(reply);
                    self.list(&me, state);
                }
            }
            ConnectorMsg::Doubt(doubtful) if number == Some(doubtful) => {
                if state.work.is_none() {
                    self.list(&me, state);
                }
            }
            ConnectorMsg::Lost(lost, fault) if number == Some(lost) => return self.lost(&fault, Link::Opening),
            ConnectorMsg::Doubt(_) | ConnectorMsg::Lost(..) => {}
            ConnectorMsg::Changed => {
                if !std::mem::replace(&mut state.change_noted, true) {
                    let address = self.shared.address.clone();
                    me.send_after(CHANGE_PAUSE, move || address.told(ConnectorMsg::Due));
                }
            }
            ConnectorMsg::Due => {
                state.change_noted = false;
                self.list(&me, state);
            }
            ConnectorMsg::Opened(Err(fault)) => {
                let why = match &fault {
                    Fault::Unauthorised => McpError::Unauthorised,
                    fault => McpError::Unavailable(fault.reason()),
                };
                return self.lost(&fault, Link::Down(why));
            }
            ConnectorMsg::Opened(Ok(opened)) => {
                state.work = None;
                let Opened { session, service, listing } = *opened;
                self.note(&listing, &session);
                let number = self.shared.made.fetch_add(1, Ordering::Relaxed) + 1;
                let up = Up { number, session, tools: listing.tools };
                let kept = session::keep(service, self.on_change(&me));
                let keeper = self.report(&me, kept, |_| ConnectorMsg::Ended);
                self.shared.link.send_replace(Link::Up(up.clone()));
                state.live = Some(Live { up, _keeper: keeper });
                tracing::info!(server = self.shared.settings.id.as_str(), "mcp server connected");
                let address = self.shared.address.clone();
                me.send_interval(LIST_AGE, move || address.told(ConnectorMsg::Due));
                if state.change_noted {
                    self.list(&me, state);
                }
            }
            ConnectorMsg::Listed(listed) => {
                state.work = None;
                let Some(live) = &mut state.live else { return Ok(()) };
                match listed {
                    Ok(listing) => {
                        self.note(&listing, &live.up.session);
                        live.up.tools = listing.tools;
                        self.shared.link.send_replace(Link::Up(live.up.clone()));
                    }
                    Err(Fault::RateLimited) => {}
                    Err(fault) => return self.lost(&fault, Link::Opening),
                }
                if std::mem::take(&mut state.again) {
                    self.list(&me, state);
                } else {
                    for reply in state.waiting.drain(..) {
                        let _ = reply.send(());
                    }
                }
            }
            ConnectorMsg::Ended => return self.lost(&Fault::Closed, Link::Opening),
        }
        Ok(())
    }
}
