//! The engine from outside, on real files with random weights.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::path::{Path, PathBuf};

use greenroom_gguf::sample::Sample;
use greenroom_gguf::{
    Architecture, ChatMessage, Engine, Event, Finish, GgufError, LoadOptions, Prompt, Reply, Request, Role, Sampling,
    Usage,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

fn write(family: Architecture) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    Sample::tiny(family).write(&path).expect("written");
    (folder, path)
}

async fn load(path: &Path) -> Engine {
    Engine::load(path.to_owned(), LoadOptions::default()).await.expect("loaded")
}

fn text(prompt: &str, max_tokens: u32) -> Request {
    let prompt = Prompt::Text(prompt.to_owned());
    Request { prompt, sampling: Sampling::default(), stops: Vec::new(), max_tokens: Some(max_tokens) }
}

fn chat(messages: &[(Role, &str)]) -> Request {
    let messages = messages.iter().map(|(role, content)| ChatMessage::new(*role, *content)).collect();
    Request { prompt: Prompt::Chat(messages), ..text("", 16) }
}

async fn rest(reply: &mut Reply) -> Result<(String, Finish, Usage), GgufError> {
    let mut text = String::new();
    loop {
        match reply.next().await.expect("a finish")? {
            Event::Text(piece) => {
                assert!(!piece.is_empty());
                text.push_str(&piece);
            }
            Event::Finish { reason, usage } => {
                assert_eq!(reply.next().await, None);
                return Ok((text, reason, usage));
            }
        }
    }
}

async fn answer(engine: &Engine, request: Request) -> Result<(String, Finish, Usage), GgufError> {
    rest(&mut engine.generate(request, CancellationToken::new())?).await
}

#[tokio::test]
async fn a_conversation_is_answered_and_its_beginning_is_known_the_next_time() {
    let (_folder, path) = write(Architecture::Qwen2);
    let engine = load(&path).await;
    assert_eq!((engine.context(), engine.facts().architecture), (512, Architecture::Qwen2));
    let mut said = vec![(Role::System, "Be brief."), (Role::User, "Is the tin on the shelf?")];
    let (first, reason, usage) = answer(&engine, chat(&said)).await.expect("an answer");
    assert_eq!((usage.completion_tokens, usage.reused_tokens, reason), (16, 0, Finish::Length));
    said.extend([(Role::Assistant, first.as_str()), (Role::User, "And the other one?")]);
    let (second, _, again) = answer(&engine, chat(&said)).await.expect("an answer");
    assert!(again.reused_tokens >= usage.prompt_tokens - 4, "{again:?} after {usage:?}");
    let fresh = answer(&load(&path).await, chat(&said)).await.expect("an answer");
    assert_eq!((fresh.0, fresh.2.reused_tokens), (second, 0), "what is kept changes nothing");
}

#[tokio::test]
async fn answers_end_before_a_stop_sequence() {
    let (_folder, path) = write(Architecture::Llama);
    let engine = load(&path).await;
    let (whole, _, _) = answer(&engine, text("the other thing", 40)).await.expect("an answer");
    let chars: Vec<char> = whole.chars().collect();
    let stop: String = chars[chars.len() / 2..chars.len() / 2 + 5].iter().collect();
    let request = Request { stops: vec!["never".into(), stop.clone()], ..text("the other thing", 40) };
    let (cut, reason, usage) = answer(&engine, request).await.expect("an answer");
    assert_eq!(cut, whole[..whole.find(&stop).expect("it is there")]);
    assert_eq!(reason, Finish::Stop);
    assert!(usage.completion_tokens < 40);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_answer() {
    let (_folder, path) = write(Architecture::Llama);
    let engine = load(&path).await;
    let with = |seed| Request {
        sampling: Sampling { temperature: Some(1.5), top_p: Some(0.95), seed, ..Sampling::default() },
        ..text("one", 24)
    };
    let mut answers = Vec::new();
    for seed in [Some(3), Some(3), Some(4), None] {
        answers.push(answer(&engine, with(seed)).await.expect("an answer").0);
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0] != answers[2] && answers[2] != answers[3]);
}

#[tokio::test]
async fn requests_are_answered_one_after_the_other_and_cancelled_ones_end() {
    let (_folder, path) = write(Architecture::Llama);
    let engine = load(&path).await;
    let (cancel, never) = (CancellationToken::new(), CancellationToken::new());
    let mut first = engine.generate(text("a", 500), cancel.clone()).expect("taken");
    let mut cancelled_in_the_queue = engine.generate(text("b", 500), cancel.clone()).expect("taken");
    let dropped = engine.generate(text("c", 500), never.clone()).expect("taken");
    let mut last = engine.generate(text("d", 3), never).expect("taken");
    assert!(matches!(first.next().await, Some(Ok(Event::Text(_)))));
    cancel.cancel();
    drop(dropped);
    let (_, reason, usage) = rest(&mut first).await.expect("a finish");
    assert!(reason == Finish::Cancelled && usage.completion_tokens < 500, "{usage:?}");
    let (said, reason, usage) = rest(&mut cancelled_in_the_queue).await.expect("a finish");
    assert_eq!((said.as_str(), reason, usage.completion_tokens), ("", Finish::Cancelled, 0));
    assert_eq!(rest(&mut last).await.expect("an answer").2.completion_tokens, 3);
}

#[tokio::test]
async fn a_full_queue_is_told_at_once() {
    let (_folder, path) = write(Architecture::Llama);
    let options = LoadOptions { queue: 2, ..LoadOptions::default() };
    let engine = Engine::load(path, options).await.expect("loaded");
    let cancel = CancellationToken::new();
    let mut taken = Vec::new();
    let busy = loop {
        match engine.generate(text("again and", 400), cancel.clone()) {
            Ok(reply) => taken.push(reply),
            Err(error) => break error,
        }
    };
    assert_eq!(busy, GgufError::Busy);
    assert!(taken.len() >= 2);
    cancel.cancel();
    for mut reply in taken {
        rest(&mut reply).await.expect("a finish");
    }
    answer(&engine, text("again", 2)).await.expect("room again");
}

#[tokio::test]
async fn the_context_is_a_limit_for_prompt_and_answer() {
    let (_folder, path) = write(Architecture::Llama);
    let options = LoadOptions { context: Some(64), threads: 3, ..LoadOptions::default() };
    let engine = Engine::load(path, options).await.expect("loaded");
    assert_eq!(engine.context(), 64);
    let error = answer(&engine, text(&"on and ".repeat(60), 5)).await.expect_err("too long");
    assert!(matches!(error, GgufError::ContextTooLong { tokens, limit: 64 } if tokens > 64), "{error:?}");
    let (_, reason, usage) = answer(&engine, Request { max_tokens: None, ..text("on and on", 0) }).await.expect("one");
    assert_eq!((reason, usage.prompt_tokens + usage.completion_tokens), (Finish::Length, 64));
    let (said, reason, _) = answer(&engine, text("on", 0)).await.expect("nothing");
    assert_eq!((said.as_str(), reason), ("", Finish::Length));
}

#[tokio::test]
async fn unloading_ends_everything_and_gives_the_memory_back() {
    let (_folder, path) = write(Architecture::Llama);
    let engine = load(&path).await;
    let never = CancellationToken::new();
    let mut running = engine.generate(text("a", 500), never.clone()).expect("taken");
    let mut waiting = engine.generate(text("b", 500), never.clone()).expect("taken");
    assert!(matches!(running.next().await, Some(Ok(Event::Text(_)))));
    let mapped =
        || std::fs::read_to_string("/proc/self/maps").unwrap_or_default().contains(path.to_str().expect("a name"));
    assert_eq!(mapped(), cfg!(target_os = "linux"));
    engine.unload().await;
    assert!(!mapped(), "the file is not mapped any more");
    assert_eq!(rest(&mut running).await.expect("a finish").1, Finish::Cancelled);
    assert_eq!(rest(&mut waiting).await, Err(GgufError::Unloaded));
    assert_eq!(engine.generate(text("c", 1), never).err(), Some(GgufError::Unloaded));
    engine.unload().await;
}

#[tokio::test]
async fn a_model_without_instructions_hears_them_from_the_user() {
    let (_folder, path) = write(Architecture::Gemma2);
    let engine = load(&path).await;
    let said = [(Role::System, "Speak of the sea, and of it alone."), (Role::User, "Hello")];
    let with = answer(&engine, chat(&said)).await.expect("an answer").2;
    let without = answer(&engine, chat(&said[1..])).await.expect("an answer").2;
    assert!(with.prompt_tokens > without.prompt_tokens + 10);
    // A conversation that begins with the model, two users in a row, instructions at the end.
    let odd = [(Role::Assistant, "Yes?"), (Role::User, "one"), (Role::User, "two"), (Role::System, "brief")];
    answer(&engine, chat(&odd)).await.expect("an answer");
    answer(&engine, chat(&[(Role::Assistant, "Yes?")])).await.expect("an answer");
}

#[tokio::test]
async fn another_format_can_be_chosen() {
    let (_folder, path) = write(Architecture::Llama);
    let with = |name: &str| {
        let options = LoadOptions { chat_format: Some(name.into()), ..LoadOptions::default() };
        Engine::load(path.clone(), options)
    };
    let engine = with("Alpaca").await.expect("loaded");
    answer(&engine, chat(&[(Role::User, "hello")])).await.expect("an answer");
    assert!(matches!(with("morse").await, Err(GgufError::Unsupported(text)) if text.contains("chatml")));
}
