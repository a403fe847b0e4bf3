//! A provider room of its own for each test: a database, a supervision tree, scripted upstreams.

use std::time::Duration;

use greenroom_kit::{Board, Supervisor};
use greenroom_protocol::{Message, Role};
use greenroom_provider::{
    CompletionRequest, Engine, ProviderError, ProviderEvent, ProviderSettings, Providers, Timeouts,
};
use greenroom_store::testing::{TestDatabase, database};
use greenroom_test_support::upstream::Upstream;
use tokio_util::sync::CancellationToken;

pub struct House {
    pub providers: Providers,
    pub board: Board,
    pub group: Supervisor,
    pub database: TestDatabase,
}

/// Waits that a test does not sit through.
pub fn quick() -> Timeouts {
    Timeouts { backoff_base: Duration::from_millis(1), after_finish: Duration::from_millis(100), ..Timeouts::default() }
}

pub fn settings(seeds: &str) -> ProviderSettings {
    ProviderSettings { seeds: seeds.to_owned(), timeouts: quick(), ..ProviderSettings::default() }
}

pub async fn open_house(settings: ProviderSettings) -> House {
    let (board, database) = (Board::default(), database().await);
    let (root, _) = Supervisor::root(board.clone()).await.unwrap();
    let group = root.group("providers").await.unwrap();
    let providers = Providers::start(&group, database.store.clone(), settings).await.unwrap();
    House { providers, board, group, database }
}

/// A house whose one model `m` is served by the upstream.
pub async fn served(upstream: &Upstream, change: impl FnOnce(&mut ProviderSettings)) -> House {
    let seeds = format!("models: {{m: {{type: openai, model_id: scripted, base_url: '{}'}}}}", upstream.base_url());
    let mut settings = settings(&seeds);
    change(&mut settings);
    open_house(settings).await
}

pub fn request(text: &str) -> CompletionRequest {
    CompletionRequest { messages: vec![Message::text(Role::User, text)], ..CompletionRequest::default() }
}

/// Everything a call yields, and how it ended.
pub async fn collect(engine: &Engine, request: CompletionRequest) -> (Vec<ProviderEvent>, Option<ProviderError>) {
    let mut stream = match engine.stream(request, CancellationToken::new()).await {
        Ok(stream) => stream,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut events = Vec::new();
    while let Some(batch) = stream.next().await {
        match batch {
            Ok(batch) => {
                assert!(!batch.is_empty());
                events.extend(batch);
            }
            Err(error) => {
                assert!(stream.next().await.is_none());
                return (events, Some(error));
            }
        }
    }
    assert!(matches!(events.last(), Some(ProviderEvent::Finished(_))), "{events:?}");
    (events, None)
}

pub async fn call(house: &House, text: &str) -> (Vec<ProviderEvent>, Option<ProviderError>) {
    collect(&house.providers.engine("m").unwrap(), request(text)).await
}

pub fn text_of(events: &[ProviderEvent]) -> String {
    events
        .iter()
        .filter_map(|event| match event {
            ProviderEvent::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

/// Waits until something about the board holds.
pub async fn until(house: &House, holds: impl Fn(&[greenroom_kit::CardView]) -> bool) {
    let waited = async {
        while !holds(&house.board.views()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited).await.unwrap();
}
