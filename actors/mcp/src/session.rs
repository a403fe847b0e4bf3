//! One session with a server: opening it in whichever revision of the protocol the server speaks, asking for its tools,
//! calling them. Beside `legacy.rs` the only file that drives the library.
//!
//! The library opens no session anew by itself and takes streams up again only a few times: whether a call may be repeated
//! is decided in `connection.rs`, by what the tool says about itself.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, ErrorCode, Implementation, PaginatedRequestParams,
    ProtocolVersion, SubscriptionFilter, Tool,
};
use rmcp::service::{NotificationContext, Peer, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::common::client_side_sse::ExponentialBackoff;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientCacheConfig, ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use crate::fault::Fault;
use crate::legacy::LegacyTransport;
use crate::remote_tool::{Listing, MOST_TOOLS};
use crate::result::CallResult;
use crate::settings::{ServerSettings, Transport};

/// Largest event of a stream; the library bounds plain answers likewise.
pub(crate) const MOST_EVENT_BYTES: usize = 16 * 1024 * 1024;
/// Calls sent at the same time.
const MOST_CALLS_AT_ONCE: usize = 16;
/// Pages of a list of tools.
const MOST_PAGES: usize = 32;
/// How often and how soon a broken stream is taken up again.
const STREAM_TRIES: usize = 3;
const STREAM_PAUSE: Duration = Duration::from_millis(250);
/// Pause before subscribing to changes again.
const SUBSCRIBE_PAUSE: Duration = Duration::from_secs(30);

/// Called when the server says that its tools have changed.
pub(crate) type OnChange = Arc<dyn Fn() + Send + Sync>;

/// A running session; its task ends when this is dropped.
pub(crate) type Service = RunningService<RoleClient, Listener>;

/// A session that was just opened.
pub(crate) struct Opened {
    pub session: Session,
    pub service: Service,
    pub listing: Listing,
}

/// What calls are made with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Session {
    peer: Peer<RoleClient>,
}

/// Opens a session and asks for the tools.
pub(crate) async fn open(settings: &ServerSettings, client: &Client, changed: OnChange) -> Result<Opened, Fault> {
    let service = connect(settings, client, changed).await?;
    let session = Session { peer: service.peer().clone() };
    // The list is ours to keep: a stale one in place of an error would hide that the server is gone.
    session.peer.set_response_cache_config(ClientCacheConfig::disabled()).await;
    let listing = session.list(settings).await?;
    Ok(Opened { session, service, listing })
}

async fn connect(settings: &ServerSettings, client: &Client, changed: OnChange) -> Result<Service, Fault> {
    let listener = || Listener { changed: changed.clone() };
    match settings.transport {
        Transport::Sse => {
            let url = settings.parsed_url().map_err(Fault::Broken)?;
            let transport = LegacyTransport::open(client.clone(), url, settings.token.clone()).await?;
            Ok(listener().serve_with_lifecycle(transport, ClientLifecycleMode::Initialize).await?)
        }
        Transport::StreamableHttp => {
            let newest = ClientLifecycleMode::Auto {
                preferred_versions: vec![ProtocolVersion::V_2026_07_28],
                legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
            };
            let tried = listener().serve_with_lifecycle(http(settings, client), newest).await;
            match tried.map_err(Fault::from) {
                // A server that stumbles over the newest way to begin may still know the older one.
                Err(Fault::Broken(_) | Fault::Refused { .. } | Fault::SessionGone | Fault::Interrupted) => {
                    let older = ClientLifecycleMode::Initialize;
                    Ok(listener().serve_with_lifecycle(http(settings, client), older).await?)
                }
                tried => tried,
            }
        }
    }
}

fn http(settings: &ServerSettings, client: &Client) -> StreamableHttpClientTransport<Client> {
    let mut config = StreamableHttpClientTransportConfig::with_uri(settings.url.as_str())
        .max_concurrent_requests(MOST_CALLS_AT_ONCE)
        .max_sse_event_size(MOST_EVENT_BYTES)
        .reinit_on_expired_session(false);
    config.retry_config = Arc::new(backoff());
    if let Some(token) = &settings.token {
        config = config.auth_header(token.expose_secret());
    }
    StreamableHttpClientTransport::with_client(client.clone(), config)
}

fn backoff() -> ExponentialBackoff {
    let mut backoff = ExponentialBackoff::default();
    backoff.max_times = Some(STREAM_TRIES);
    backoff.base_duration = STREAM_PAUSE;
    backoff
}

/// Keeps a session until it ends, and listens for changes where the protocol wants that asked for.
pub(crate) async fn keep(service: Service, changed: OnChange) {
    let peer = service.peer().clone();
    tokio::select! {
        _ = service.waiting() => {}
        () = subscribe(&peer, &changed) => {}
    }
}

/// Never ends by itself.
async fn subscribe(peer: &Peer<RoleClient>, changed: &OnChange) {
    let announces = peer.peer_info().is_some_and(|server| {
        let tools = server.capabilities.tools.as_ref();
        !server.protocol_version.has_initialize() && tools.is_some_and(|tools| tools.list_changed == Some(true))
    });
    if !announces {
        std::future::pending::<()>().await;
    }
    loop {
        if let Ok(mut changes) = peer.listen(SubscriptionFilter::builder().tools_list_changed().build()).await {
            while let Ok(Some(_)) = changes.next().await {
                changed();
            }
        }
        tokio::time::sleep(SUBSCRIBE_PAUSE).await;
    }
}

impl Session {
    /// The revision of the protocol that is spoken.
    pub(crate) fn revision(&self) -> String {
        self.peer.peer_info().map_or_else(String::new, |server| server.protocol_version.to_string())
    }

    /// The server's tools, as far as they count and fit.
    pub(crate) async fn list(&self, settings: &ServerSettings) -> Result<Listing, Fault> {
        let (mut found, mut cursor): (Vec<Tool>, Option<String>) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let page = PaginatedRequestParams::default().with_cursor(cursor.take());
            match self.peer.list_tools(Some(page)).await.map_err(Fault::from) {
                Ok(page) => {
                    found.extend(page.tools);
                    cursor = page.next_cursor;
                }
                // A server that only has prompts, say.
                Err(Fault::Refused { code, .. }) if code == ErrorCode::METHOD_NOT_FOUND.0 => break,
                Err(fault) => return Err(fault),
            }
            if cursor.is_none() || found.len() > MOST_TOOLS * 4 {
                break;
            }
        }
        Ok(Listing::of(found, settings))
    }

    /// Calls a tool once. Dropping the future tells the server that nobody waits any more.
    pub(crate) async fn call(&self, tool: &str, arguments: Map<String, Value>) -> Result<CallResult, Fault> {
        if self.peer.is_transport_closed() {
            return Err(Fault::Closed);
        }
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        Ok(self.peer.call_tool(params).await?.into())
    }
}

/// What a server may ask of us: nothing but to be heard when its tools change.
pub(crate) struct Listener {
    changed: OnChange,
}

impl ClientHandler for Listener {
    fn get_info(&self) -> ClientConfig {
        let me = Implementation::new("greenroom", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), me)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        (self.changed)();
    }
}
