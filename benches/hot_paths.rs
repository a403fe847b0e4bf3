//! The steps that every token or every message takes: encoding frames, decoding a provider's stream, one mailbox hop.
//! The load rig (`stage`) measures the whole; these tell which step a change made slower.
#![expect(clippy::expect_used, reason = "a bench that cannot begin has nothing to measure")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use greenroom_kit::{Address, Board, Policy, Supervisor, Told, child};
use greenroom_protocol::frame::{FrameEncoder, FrameOptions};
use greenroom_protocol::sse::SseDecoder;
use greenroom_protocol::{BotSlug, TurnEvent, TurnHeader, TurnId, UserId};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

const PIECES: u64 = 64;

fn header() -> Arc<TurnHeader> {
    Arc::new(TurnHeader {
        turn_id: TurnId::random(),
        completion_id: "chatcmpl-0123456789ab".into(),
        created: 1_790_000_000,
        model: "scripted".into(),
        bot_id: BotSlug::from_stored("spark"),
        user_id: UserId::from_stored("ann"),
        trigger_message_id: None,
    })
}

fn encode_turn(header: &Arc<TurnHeader>, pieces: &[TurnEvent]) -> Vec<u8> {
    let mut encoder = FrameEncoder::new(header.clone(), FrameOptions::default(), 0);
    let mut out = Vec::new();
    for (seq, piece) in (1..).zip(pieces) {
        encoder.encode(seq, piece, &mut out);
    }
    out
}

fn frames(c: &mut Criterion) {
    let header = header();
    let pieces: Vec<TurnEvent> = (0..PIECES).map(|n| TurnEvent::Text(format!("piece {n} ").into())).collect();
    let stream = encode_turn(&header, &pieces);
    let mut group = c.benchmark_group("64 pieces");
    group.throughput(Throughput::Elements(PIECES));
    group.bench_function("encode", |b| b.iter(|| encode_turn(&header, black_box(&pieces))));
    group.bench_function("decode", |b| {
        b.iter(|| {
            let (mut decoder, mut count) = (SseDecoder::new(1 << 20), 0);
            decoder.feed(black_box(&stream), |_| count += 1).expect("a clean stream");
            count
        });
    });
    group.finish();
}

struct Echo;

impl Actor for Echo {
    type Msg = Told<RpcReplyPort<u64>>;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Self::Msg>, told: Self::Msg, (): &mut ()) -> Result<(), ActorProcessingErr> {
        let (reply, _work) = told.open();
        reply.send(1)?;
        Ok(())
    }
}

fn mailbox(c: &mut Criterion) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let address = runtime.block_on(async {
        let (root, _join) = Supervisor::root(Board::default()).await.expect("root");
        let address = Address::vacant(root.card("echo", "echo"));
        root.add(child(&address, Policy::WORKER, || (Echo, ()))).await.expect("echo");
        address
    });
    c.bench_function("one question and its answer", |b| {
        b.to_async(&runtime)
            .iter(|| async { address.ask(Duration::from_secs(1), |reply| reply).await.expect("an answer") });
    });
}

criterion_group!(benches, frames, mailbox);
criterion_main!(benches);
