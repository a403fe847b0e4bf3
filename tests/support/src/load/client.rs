//! The load client: raw HTTP/1.1 connections, one request at a time on each.
//!
//! Invariant: every answer is compared with the expected text; nothing is counted as served that was not. Deliberately
//! absent: retries.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::answer::AnswerReader;
use super::job::{Job, Report, Tally};
use super::proxy::connect;
use crate::upstream::numbered_text;

/// Chunks of an answer whose first one is timed.
const LATENCY_CHUNKS: usize = 8;
/// Chunks of an answer that is held open.
const HELD_CHUNKS: usize = 3;
/// A turn that takes longer has failed.
const TURN_LIMIT: Duration = Duration::from_secs(60);
/// A first chunk that takes longer has failed.
const FIRST_LIMIT: Duration = Duration::from_secs(60);

/// Does one job; reports are printed as they come.
pub(super) async fn run(job: Job, mut print: impl FnMut(&Report)) {
    let done = match job {
        Job::Latency { targets, blocks, per_block } => latency(&targets, blocks, per_block).await,
        Job::Turns { target, workers, turns, chunks } => turns_at(&target, workers, turns, chunks).await,
        Job::Hold { target, streams, opening } => hold(&target, streams, opening, &mut print).await,
    };
    print(&done.unwrap_or_else(|error| Report::Failed { reason: error.to_string() }));
}

/// One connection to one target.
#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Line {
    /// Connects to `http://ADDRESS:PORT`.
    ///
    /// # Errors
    /// When that is no address or nobody listens there.
    pub async fn open(target: &str) -> io::Result<Self> {
        let address = address_of(target)?;
        Ok(Self { address, sender: connect(address).await? })
    }

    async fn ask(&mut self, body: Bytes) -> io::Result<Incoming> {
        if self.sender.ready().await.is_err() {
            self.sender = connect(self.address).await?;
        }
        let request = Request::builder()
            .method(Method::POST)
            .uri("/v1/chat/completions")
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "text/event-stream")
            .body(Full::new(body))
            .map_err(io::Error::other)?;
        let response = self.sender.send_request(request).await.map_err(io::Error::other)?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let status = response.status();
        let text = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let text: String = String::from_utf8_lossy(&text).chars().take(300).collect();
        Err(io::Error::other(format!("status {status}: {text}")))
    }
}

impl Line {
    /// Sends a chat request with this body and reads the streamed answer to its end; the time to the first content.
    ///
    /// # Errors
    /// When the answer is not `expected`, does not end as it should or takes too long.
    pub async fn first_content(&mut self, body: Bytes, expected: &str) -> io::Result<Duration> {
        limited(TURN_LIMIT, first_content(self, body, expected)).await
    }
}

fn address_of(target: &str) -> io::Result<SocketAddr> {
    target.trim_start_matches("http://").trim_end_matches('/').parse().map_err(io::Error::other)
}

fn request_body(user: &str, prompt: &str) -> Bytes {
    let body = json!({"model": "scripted", "bot_id": "spark", "stream": true, "user": user,
        "messages": [{"role": "user", "content": prompt}]});
    body.to_string().into()
}

/// Feeds the next frame; false at the end of the body.
async fn read_some(body: &mut Incoming, answer: &mut AnswerReader) -> io::Result<bool> {
    match body.frame().await {
        None => Ok(false),
        Some(Ok(frame)) => {
            if let Some(bytes) = frame.data_ref() {
                answer.feed(bytes);
            }
            Ok(true)
        }
        Some(Err(error)) => Err(io::Error::other(error)),
    }
}

async fn limited<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn latency(targets: &[String], blocks: usize, per_block: usize) -> io::Result<Report> {
    let expected = numbered_text(LATENCY_CHUNKS);
    let prompt = format!("[[chunks={LATENCY_CHUNKS}]] say something short");
    let mut lines = Vec::new();
    for target in targets {
        lines.push(Line::open(target).await?);
    }
    let mut samples = vec![Vec::new(); targets.len()];
    // The first block warms connections, caches and branch predictors, and is thrown away.
    for block in 0..=blocks {
        for (index, line) in lines.iter_mut().enumerate() {
            let mut times = Vec::with_capacity(per_block);
            for _ in 0..per_block {
                let body = request_body(&format!("bench-latency-{index}"), &prompt);
                times.push(line.first_content(body, &expected).await?.as_secs_f64() * 1e6);
            }
            if block > 0 {
                samples[index].push(times);
            }
        }
    }
    Ok(Report::Latency { targets: samples })
}

async fn first_content(line: &mut Line, body: Bytes, expected: &str) -> io::Result<Duration> {
    let started = Instant::now();
    let mut body = line.ask(body).await?;
    let (mut answer, mut first) = (AnswerReader::default(), None);
    while read_some(&mut body, &mut answer).await? {
        if first.is_none() && answer.pieces > 0 {
            first = Some(started.elapsed());
        }
    }
    match first {
        Some(first) if answer.done && answer.text == expected => Ok(first),
        _ => Err(io::Error::other(format!("a wrong answer: done {}, text '{}'", answer.done, answer.text))),
    }
}

async fn turns_at(target: &str, workers: usize, turns: usize, chunks: usize) -> io::Result<Report> {
    let expected: Arc<str> = numbered_text(chunks).into();
    let left = Arc::new(AtomicUsize::new(turns));
    let mut lines = Vec::new();
    for _ in 0..workers {
        lines.push(Line::open(target).await?);
    }
    let mut running = JoinSet::new();
    let started = Instant::now();
    for (number, mut line) in lines.into_iter().enumerate() {
        let (left, expected) = (left.clone(), expected.clone());
        let body = request_body(&format!("bench-{number}"), &format!("[[chunks={chunks}]] talk for a while"));
        running.spawn(async move {
            let mut tally = Tally::default();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                count(&mut tally, limited(TURN_LIMIT, whole_turn(&mut line, body.clone())).await, &expected);
            }
            tally
        });
    }
    let mut total = Tally::default();
    while let Some(tally) = running.join_next().await {
        total.add(&tally.map_err(io::Error::other)?);
    }
    total.seconds = started.elapsed().as_secs_f64();
    Ok(Report::Turns(total))
}

async fn whole_turn(line: &mut Line, body: Bytes) -> io::Result<AnswerReader> {
    let mut body = line.ask(body).await?;
    let mut answer = AnswerReader::default();
    while read_some(&mut body, &mut answer).await? {}
    Ok(answer)
}

fn count(tally: &mut Tally, turn: io::Result<AnswerReader>, expected: &str) {
    let example = match turn {
        Ok(answer) if answer.text != expected => {
            tally.different += 1;
            format!("text '{}'", answer.text.chars().take(200).collect::<String>())
        }
        Ok(answer) if !answer.done => {
            tally.unfinished += 1;
            "no end marker".into()
        }
        Ok(_) => {
            tally.right += 1;
            return;
        }
        Err(error) => {
            tally.failed += 1;
            error.to_string()
        }
    };
    if tally.example.is_empty() {
        tally.example = example;
    }
}

async fn hold(target: &str, streams: usize, opening: usize, print: &mut impl FnMut(&Report)) -> io::Result<Report> {
    let expected = numbered_text(HELD_CHUNKS);
    let gate = Arc::new(Semaphore::new(opening));
    let mut running = JoinSet::new();
    let started = Instant::now();
    for number in 0..streams {
        let (gate, target) = (gate.clone(), target.to_owned());
        running.spawn(async move {
            let _permit = gate.acquire().await.map_err(io::Error::other)?;
            limited(FIRST_LIMIT, open_stream(&target, number)).await
        });
    }
    let (mut open, mut total) = (Vec::with_capacity(streams), Tally::default());
    while let Some(stream) = running.join_next().await {
        match stream.map_err(io::Error::other)? {
            Ok(stream) => open.push(stream),
            failed => count(&mut total, failed.map(|_| AnswerReader::default()), &expected),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    print(&Report::Held { first: open.len(), failed: total.failed, seconds, example: total.example.clone() });
    let mut word = String::new();
    BufReader::new(tokio::io::stdin()).read_line(&mut word).await?;
    let mut finishing = JoinSet::new();
    for (_line, mut body, mut answer) in open {
        finishing.spawn(limited(TURN_LIMIT, async move {
            while read_some(&mut body, &mut answer).await? {}
            Ok(answer)
        }));
    }
    while let Some(answer) = finishing.join_next().await {
        count(&mut total, answer.map_err(io::Error::other)?, &expected);
    }
    total.seconds = started.elapsed().as_secs_f64();
    Ok(Report::Turns(total))
}

/// A stream that has its first chunk; its connection lives as long as its line.
async fn open_stream(target: &str, number: usize) -> io::Result<(Line, Incoming, AnswerReader)> {
    let mut line = Line::open(target).await?;
    let prompt = format!("[[chunks={HELD_CHUNKS}]][[hold=1]] wait for me");
    let mut body = line.ask(request_body(&format!("bench-hold-{number}"), &prompt)).await?;
    let mut answer = AnswerReader::default();
    while answer.pieces == 0 {
        if !read_some(&mut body, &mut answer).await? {
            return Err(io::Error::other("the stream ended before its first chunk"));
        }
    }
    Ok((line, body, answer))
}
