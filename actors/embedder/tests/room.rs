//! The embedder as an actor: queue, lanes, faults. With hashed words, so that no weights are needed.

#![expect(clippy::expect_used, reason = "a failed expectation is a failed test")]

use std::future::Future;
use std::task::{Context, Waker};
use std::time::Duration;

use greenroom_embedder::{Availability, Choice, EmbedError, Embedder, EmbedderSettings, Lane, MAX_BATCH};
use greenroom_kit::{Board, Supervisor};
use greenroom_protocol::ErrorClass;

async fn house(settings: EmbedderSettings) -> (Embedder, Supervisor) {
    let (group, _) = Supervisor::root(Board::default()).await.expect("a tree");
    (Embedder::start(&group, settings).await.expect("an actor"), group)
}

fn hashed() -> EmbedderSettings {
    EmbedderSettings { model: Choice::TestHash, threads: 2, ..EmbedderSettings::default() }
}

#[tokio::test]
async fn texts_keep_their_places_and_blank_ones_have_no_vector() {
    let (embedder, _group) = house(hashed()).await;
    let texts: Vec<String> = (0..500).map(|n| if n % 7 == 0 { " \n\t".into() } else { format!("word{n}") }).collect();
    for lane in [Lane::Interactive, Lane::Background] {
        let found = embedder.embed(texts.clone(), lane).await.expect("vectors");
        let plain = Embedder::test_hash().embed(texts.clone(), lane).await.expect("vectors");
        assert_eq!(found, plain);
        assert!(found.iter().enumerate().all(|(n, vector)| vector.is_none() == (n % 7 == 0)));
    }
    assert_eq!(embedder.embed(Vec::new(), Lane::Interactive).await, Ok(Vec::new()));
    assert_eq!(embedder.query("word1").await.ok(), embedder.query("word1").await.ok());
    assert_eq!(embedder.query("  ").await, Err(EmbedError::Blank));
    let too_many = vec![String::from("x"); MAX_BATCH + 1];
    assert_eq!(embedder.embed(too_many, Lane::Background).await, Err(EmbedError::TooMany { given: MAX_BATCH + 1 }));
}

#[tokio::test]
async fn a_full_queue_is_refused_and_says_when_to_come_back() {
    let (embedder, _group) = house(EmbedderSettings { queue: 0, ..hashed() }).await;
    assert_eq!(embedder.ready().await, Availability::Ready);
    let error = embedder.query("anything").await.expect_err("no room");
    assert_eq!((error.class(), error.retry_after()), (ErrorClass::Overloaded, Some(Duration::from_secs(1))));
}

#[tokio::test]
async fn a_panicking_worker_fails_its_batch_and_is_replaced() {
    let (embedder, group) = house(hashed()).await;
    assert_eq!(embedder.ready().await, Availability::Ready);
    for round in 1..=3 {
        embedder.crash_worker();
        let lost = embedder.embed(vec!["unlucky".into()], Lane::Interactive).await;
        assert!(matches!(lost, Err(EmbedError::Failed(_))), "{lost:?}");
        // The other worker, or the next crew, takes this one.
        assert!(embedder.query(&format!("lucky {round}")).await.is_ok());
    }
    let card = || group.board().views().into_iter().find(|card| card.kind == "embedder").expect("a card");
    // A crew is replaced, and what it held is counted out, a moment after its callers know.
    let settled = async {
        while card().restarts == 0 || card().in_flight != 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), settled).await.expect("a restart is counted");
    assert_eq!(card().last_failure.as_deref(), Some("a worker panicked"));
}

#[tokio::test]
async fn a_caller_that_has_gone_leaves_nothing_behind() {
    let (embedder, _group) = house(hashed()).await;
    assert_eq!(embedder.ready().await, Availability::Ready);
    // Few enough to wait for company, long enough to be dropped before.
    let mut gone = Box::pin(embedder.embed(vec!["never mind".into(); 3], Lane::Background));
    assert!(gone.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(gone);
    assert!(embedder.embed(vec!["still here".into(); 20], Lane::Background).await.is_ok());
    assert_eq!(embedder.waiting(), 0);
}

#[tokio::test]
async fn without_weights_the_reason_is_on_the_board() {
    let missing = Choice::MiniLm { dir: "/nowhere/at/all".into() };
    let (embedder, group) = house(EmbedderSettings { model: missing, ..hashed() }).await;
    let Availability::Unavailable(reason) = embedder.ready().await else { panic!("there are no weights") };
    assert!(reason.contains("no weights"), "{reason}");
    let error = embedder.embed(vec!["text".into()], Lane::Background).await.expect_err("no model");
    assert_eq!((error.class(), error.retry_after()), (ErrorClass::Unavailable, None));
    let card = group.board().views().into_iter().find(|card| card.kind == "embedder").expect("a card");
    assert!(card.note.is_some_and(|note| note.starts_with("unavailable: no weights")));
    assert!(!embedder.is_off());
    assert_eq!(embedder.model_id(), "all-MiniLM-L6-v2/384");
}

#[tokio::test]
async fn off_is_off_and_stopped_is_stopped() {
    for embedder in [Embedder::off(), house(EmbedderSettings { model: Choice::Off, ..hashed() }).await.0] {
        assert!(embedder.is_off());
        assert!(matches!(embedder.query("text").await, Err(EmbedError::Unavailable(_))));
    }
    let (embedder, group) = house(hashed()).await;
    assert_eq!(embedder.ready().await, Availability::Ready);
    group.shutdown().await;
    let error = embedder.embed(vec!["text".into()], Lane::Background).await.expect_err("stopped");
    assert_eq!(error.class(), ErrorClass::Unavailable);
}
