//! Models in files: real files with random weights, loaded, lent, swapped and taken away.

use std::path::PathBuf;
use std::time::Duration;

use crate::common::{House, collect, open_house, request, settings, text_of, until};
use greenroom_gguf::sample::Sample;
use greenroom_gguf::{Architecture, GgufError, inspect, plan_context};
use greenroom_kit::{CardView, State};
use greenroom_protocol::{ErrorClass, FinishReason, Sampling};
use greenroom_provider::{
    CompletionRequest, LocalSettings, ProviderError, ProviderEvent, ProviderStream, Unloading, Waiting,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A house with the models `a` and `b`, and their folder.
struct Local {
    house: House,
    dir: TempDir,
}

/// Tokens of a long answer.
const LONG: u32 = 300;
const SEEDS: &str = "models:\n  a: {type: gguf, repo_id: maker/tiny, filename: a.gguf}\n  \
                     b: {type: gguf, repo_id: maker/tiny, filename: b.gguf, context_window: 256}\n";

impl Local {
    async fn open(change: impl FnOnce(&mut LocalSettings)) -> Self {
        Self::with(SEEDS, change).await
    }

    async fn with(seeds: &str, change: impl FnOnce(&mut LocalSettings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("maker/tiny");
        std::fs::create_dir_all(&folder).unwrap();
        Sample::tiny(Architecture::Llama).write(&folder.join("a.gguf")).unwrap();
        Sample::tiny(Architecture::Qwen2).write(&folder.join("b.gguf")).unwrap();
        let mut settings = settings(seeds);
        settings.local.models_dir = dir.path().to_owned();
        change(&mut settings.local);
        Self { house: open_house(settings).await, dir }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("maker/tiny").join(name)
    }

    /// A stream that keeps its model until it is read: its answer is longer than what is passed on at once.
    async fn held(&self, alias: &str, cancel: &CancellationToken) -> ProviderStream {
        self.house.providers.engine(alias).unwrap().stream(words(LONG), cancel.clone()).await.unwrap()
    }

    async fn long_answer(&self, alias: &str) -> String {
        text_of(&collect(&self.house.providers.engine(alias).unwrap(), words(LONG)).await.0)
    }

    async fn answer(&self, alias: &str) -> Result<String, ProviderError> {
        let (events, error) = collect(&self.house.providers.engine(alias).unwrap(), words(24)).await;
        error.map_or_else(|| Ok(text_of(&events)), Err)
    }

    async fn gone(&self, model: &str) {
        let name = format!("model:{model}");
        until(&self.house, |cards| cards.iter().all(|card| card.name != name)).await;
    }
}

/// Asks for so many tokens at most.
fn words(most: u32) -> CompletionRequest {
    let sampling = Sampling { max_tokens: Some(most), ..Sampling::default() };
    CompletionRequest { sampling, ..request("Tell me something.") }
}

fn models(cards: &[CardView]) -> Vec<&str> {
    cards.iter().filter(|card| card.kind == "model").map(|card| card.name.as_str()).collect()
}

async fn rest(mut stream: ProviderStream) -> (String, Option<ProviderError>) {
    let mut text = String::new();
    while let Some(batch) = stream.next().await {
        match batch {
            Ok(batch) => text += &text_of(&batch),
            Err(error) => return (text, Some(error)),
        }
    }
    (text, None)
}

#[tokio::test]
async fn a_model_is_loaded_on_demand_and_tells_what_it_used() {
    let local = Local::open(|_| {}).await;
    let engine = local.house.providers.engine("a").unwrap();
    let capabilities = engine.capabilities();
    assert!(!capabilities.images && !capabilities.response_format && !capabilities.native_tools);
    assert!(!engine.is_loaded() && local.house.providers.loaded().is_empty());
    assert_eq!(engine.context_window(), 512, "what the file was trained for");
    assert_eq!(local.house.providers.engine("b").unwrap().context_window(), 256, "what the definition wants");

    let (events, error) = collect(&engine, words(8)).await;
    assert_eq!(error, None);
    assert_eq!(events[0], ProviderEvent::Metadata { upstream_model: "a".into() });
    let [.., ProviderEvent::Usage(usage), ProviderEvent::Finished(reason)] = &events[..] else { panic!("{events:?}") };
    assert!(matches!(reason, FinishReason::Length | FinishReason::Stop));
    assert!(!usage.estimated && usage.input > 4 && (1..=8).contains(&usage.output), "{usage:?}");

    assert!(engine.is_loaded());
    assert_eq!(local.house.providers.loaded(), ["a"]);
    let cards = local.house.board.views();
    let card = cards.iter().find(|card| card.name == "model:a").unwrap();
    assert_eq!((card.state, card.parent.as_deref(), card.in_flight), (State::Up, Some("local_models"), 0));
    assert!(card.note.as_deref().is_some_and(|note| note.contains("512 tokens of context")), "{card:?}");

    let (again, _) = collect(&engine, words(8)).await;
    assert_eq!(text_of(&again), text_of(&events), "the likeliest words are the same each time");
    let cached = again.iter().find_map(|event| match event {
        ProviderEvent::Usage(usage) => Some(usage.cached_input),
        _ => None,
    });
    assert!(cached.is_some_and(|cached| cached > 0), "what the model has read already is not read again");
}

#[tokio::test]
async fn a_swap_waits_for_the_streams_of_the_old_model() {
    let local = Local::open(|_| {}).await;
    let (alone, cancel) = (local.long_answer("a").await, CancellationToken::new());
    let first = local.held("a", &cancel).await;
    let engine = local.house.providers.engine("b").unwrap();
    let second = tokio::spawn(async move { collect(&engine, words(24)).await });
    // A later call for the model in use waits behind the swap.
    until(&local.house, |cards| cards.iter().any(|card| card.name == "provider:gguf:b" && card.in_flight == 1)).await;
    let engine = local.house.providers.engine("a").unwrap();
    let third = tokio::spawn(async move { collect(&engine, words(LONG)).await });
    until(&local.house, |cards| cards.iter().any(|card| card.name == "provider:gguf:a" && card.in_flight == 2)).await;
    assert_eq!(models(&local.house.board.views()), ["model:a"]);
    assert_eq!(rest(first).await, (alone.clone(), None), "nothing was cut");
    assert_eq!(second.await.unwrap().1, None);
    assert_eq!(text_of(&third.await.unwrap().0), alone);
    assert_eq!(models(&local.house.board.views()), ["model:a"]);
}

#[tokio::test]
async fn many_calls_of_two_models_are_all_answered_and_never_together() {
    let local = Local::open(|_| {}).await;
    let expected = [local.answer("a").await.unwrap(), local.answer("b").await.unwrap()];
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..12 {
        let engine = local.house.providers.engine(["a", "b"][number % 2]).unwrap();
        calls.spawn(async move { (number % 2, collect(&engine, words(24)).await) });
    }
    let mut answered = 0;
    while answered < 12 {
        tokio::select! {
            Some(done) = calls.join_next() => {
                let (which, (events, error)) = done.unwrap();
                assert_eq!((text_of(&events), error), (expected[which].clone(), None));
                answered += 1;
            }
            () = tokio::task::yield_now() => {
                let cards = local.house.board.views();
                assert!(models(&cards).len() <= 1, "{:?}", models(&cards));
            }
        }
    }
}

#[tokio::test]
async fn with_two_places_two_models_stay() {
    let local = Local::open(|settings| settings.max_resident = 2).await;
    let held = local.held("a", &CancellationToken::new()).await;
    local.answer("b").await.unwrap();
    assert_eq!(local.house.providers.loaded(), ["a", "b"]);
    assert_eq!(rest(held).await.1, None);
}

#[tokio::test]
async fn a_model_that_needs_the_memory_of_an_unused_one_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    let needed = |family: Architecture| {
        let file = dir.path().join("tiny.gguf");
        Sample::tiny(family).write(&file).unwrap();
        match plan_context(&inspect(&file).unwrap(), None, Some(0)) {
            Err(GgufError::TooBig { needed, .. }) => needed,
            other => panic!("{other:?}"),
        }
    };
    let one = needed(Architecture::Llama).max(needed(Architecture::Qwen2)) + 100_000;
    let local = Local::open(|settings| (settings.max_resident, settings.memory_limit) = (2, Some(one))).await;
    for alias in ["a", "b", "a"] {
        local.answer(alias).await.unwrap();
        assert_eq!(local.house.providers.loaded(), [alias]);
    }
}

#[tokio::test]
async fn a_call_does_not_wait_for_a_place_for_ever() {
    let local = Local::open(|settings| settings.wait_limit = Duration::from_millis(20)).await;
    let held = local.held("a", &CancellationToken::new()).await;
    let error = local.answer("b").await.unwrap_err();
    assert_eq!((&error, error.class()), (&ProviderError::Timeout(Waiting::Room), ErrorClass::ProviderTimeout));
    assert!(error.may_fall_back());
    assert_eq!(rest(held).await.1, None);
    local.answer("b").await.unwrap();
}

#[tokio::test]
async fn a_call_that_is_given_up_holds_up_nobody() {
    let local = Local::open(|_| {}).await;
    let cancel = CancellationToken::new();
    let held = local.held("a", &cancel).await;
    let engine = local.house.providers.engine("b").unwrap();
    let waits = CancellationToken::new();
    let waiting = {
        tokio::spawn({
            let waits = waits.clone();
            async move { engine.stream(words(4), waits).await.err() }
        })
    };
    until(&local.house, |cards| cards.iter().any(|card| card.name == "provider:gguf:b" && card.in_flight == 1)).await;
    waits.cancel();
    assert_eq!(waiting.await.unwrap(), Some(ProviderError::Cancelled));
    local.answer("a").await.unwrap();

    cancel.cancel();
    let (text, error) = rest(held).await;
    assert_eq!(error, Some(ProviderError::Cancelled), "{text}");
    local.answer("b").await.unwrap();
}

#[tokio::test]
async fn models_leave_on_demand_and_never_under_a_stream() {
    let local = Local::open(|_| {}).await;
    let providers = &local.house.providers;
    assert_eq!(providers.unload("a").await, Ok(Unloading::NotLoaded));
    let held = local.held("A", &CancellationToken::new()).await;
    assert_eq!(providers.unload("a").await, Ok(Unloading::WhenFree));
    assert_eq!(rest(held).await.1, None);
    local.gone("a").await;
    local.answer("a").await.unwrap();
    assert_eq!(providers.unload("a").await, Ok(Unloading::Now));
    local.gone("a").await;
    assert_eq!(providers.unload("c").await, Err(ProviderError::NoSuchModel("c".into())));
}

#[tokio::test]
async fn unused_and_undefined_models_leave() {
    let local = Local::open(|settings| settings.idle_unload = Some(Duration::from_millis(20))).await;
    local.answer("a").await.unwrap();
    local.gone("a").await;

    let local = Local::open(|_| {}).await;
    local.answer("a").await.unwrap();
    local.house.providers.delete_definition("a").await.unwrap();
    local.gone("a").await;
}

#[tokio::test]
async fn what_cannot_be_used_says_why() {
    let seeds = "models:\n  missing: {type: gguf, repo_id: maker/tiny, filename: none.gguf}\n  \
                 outside: {type: gguf, repo_id: ../.., filename: etc/passwd}\n  \
                 cut: {type: gguf, repo_id: maker/tiny, filename: cut.gguf}\n  \
                 other: {type: gguf, repo_id: maker/tiny, filename: other.gguf}\n";
    let local = Local::with(seeds, |_| {}).await;
    let whole = std::fs::read(local.file("a.gguf")).unwrap();
    std::fs::write(local.file("cut.gguf"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(local.file("other.gguf"), "plain words").unwrap();
    local.house.providers.reload().await.unwrap();
    let catalogue = local.house.providers.catalogue();
    for (alias, why) in [
        ("missing", "there is no file 'none.gguf'"),
        ("outside", "must stay inside"),
        ("cut", "truncated"),
        ("other", "not a GGUF model"),
    ] {
        let reason = catalogue.availability(alias).unwrap_err();
        assert!(reason.contains(why), "{reason}");
        assert!(!reason.contains(local.dir.path().to_str().unwrap()), "{reason}");
        let error = local.house.providers.engine(alias).unwrap_err();
        assert!(error.class() == ErrorClass::NoModel && error.may_fall_back());
    }

    let local = Local::open(|settings| settings.memory_limit = Some(1 << 20)).await;
    let reason = local.house.providers.catalogue().availability("a").unwrap_err();
    assert!(reason.contains("bytes of memory"), "{reason}");
}

#[tokio::test]
async fn a_file_that_vanished_is_not_tried_at_once_again() {
    let pause = Duration::from_millis(300);
    let local = Local::open(|settings| settings.failure_pause = pause).await;
    let (file, aside) = (local.file("a.gguf"), local.file("aside.gguf"));
    std::fs::rename(&file, &aside).unwrap();
    let error = local.answer("a").await.unwrap_err();
    let ProviderError::NotAvailable { alias, reason } = &error else { panic!("{error:?}") };
    assert!(alias == "a" && reason.contains("no file 'a.gguf'"), "{reason}");
    let failed = |card: &CardView| card.name == "model:a" && card.state == State::Down && card.last_failure.is_some();
    assert!(local.house.board.views().iter().any(failed));
    local.answer("b").await.unwrap();

    std::fs::rename(&aside, &file).unwrap();
    let engine = local.house.providers.engine("a").unwrap();
    let health = |house: &House| {
        let house = house.providers.clone();
        async move { house.probe().await.into_iter().find(|probe| probe.name == "provider:gguf:a").unwrap().health }
    };
    assert!(health(&local.house).await.last_error.is_some_and(|why| why.contains("a.gguf")));
    let well = async { while collect(&engine, words(4)).await.1.is_some() {} };
    tokio::time::timeout(Duration::from_secs(60), well).await.unwrap();
}

#[tokio::test]
async fn an_engine_that_fails_is_loaded_again() {
    let local = Local::open(|_| {}).await;
    let file = local.file("a.gguf");
    let whole = std::fs::read(&file).unwrap();
    // Scales that are no numbers: the header is fine, what it computes is not.
    let mut broken = whole.clone();
    let data = broken.len() / 2;
    broken[data..].fill(0xff);
    std::fs::write(&file, &broken).unwrap();
    assert!(inspect(&file).is_ok());
    local.house.providers.reload().await.unwrap();
    let error = local.answer("a").await.unwrap_err();
    assert!(matches!(error, ProviderError::Unavailable(_)), "{error:?}");
    local.gone("a").await;
    local.answer("b").await.unwrap();

    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, &whole).unwrap();
    local.house.providers.reload().await.unwrap();
    local.answer("a").await.unwrap();
}

#[tokio::test]
async fn a_crash_of_the_runtime_touches_no_stream_and_forgets_no_model() {
    let local = Local::open(|_| {}).await;
    let alone = local.long_answer("a").await;
    let held = local.held("a", &CancellationToken::new()).await;
    assert!(local.house.providers.crash_local_models());
    let restarted = |cards: &[CardView]| {
        cards.iter().any(|card| card.name == "local_models" && card.state == State::Up && card.restarts == 1)
    };
    until(&local.house, restarted).await;
    assert_eq!(local.house.providers.loaded(), ["a"]);
    let engine = local.house.providers.engine("b").unwrap();
    let second = tokio::spawn(async move { collect(&engine, words(4)).await.1 });
    until(&local.house, |cards| cards.iter().any(|card| card.name == "provider:gguf:b" && card.in_flight == 1)).await;
    assert_eq!(models(&local.house.board.views()), ["model:a"], "the loan from before the crash still counts");
    assert_eq!(rest(held).await, (alone, None));
    assert_eq!(second.await.unwrap(), None);
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_the_callers_fault() {
    let local = Local::open(|_| {}).await;
    let engine = local.house.providers.engine("b").unwrap();
    let long = CompletionRequest { ..request(&"word ".repeat(2000)) };
    assert_eq!(collect(&engine, long).await.1, Some(ProviderError::ContextTooLong));
    local.answer("b").await.unwrap();
    let card = local.house.board.views().into_iter().find(|card| card.name == "model:b").unwrap();
    assert_eq!((card.state, card.in_flight), (State::Up, 0));
}
