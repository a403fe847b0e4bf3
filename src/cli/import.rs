//! `greenroom import`: brings messages and memories of a file to a running server. Reading happens on a thread of its own,
//! one request is in flight at a time, and what the server answers decides what goes on: a busy or lost server is asked
//! again, a bad line is reported and the rest goes in. Run again after a crash, it goes on where it was.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use greenroom_protocol::{BotSlug, UserId};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Import;
use super::client::{Client, ClientError};
use super::terminal::{one_line, say};
use super::transfer::batch::{Batch, Packer};
use super::transfer::checkpoint::{Checkpoint, Progressed, Tally};
use super::transfer::meaning::Reader;
use super::transfer::pieces::{Framing, Pieces, Place};
use super::transfer::progress::Progress;
use crate::config::Surroundings;
use crate::transfer::{Overrides, Totals};

/// Batches that wait for their request.
const AHEAD: usize = 2;
/// Bytes read from a file at once.
const BUFFER: usize = 256 * 1024;
/// How long a server may be away before the import gives up.
const GIVE_UP: Duration = Duration::from_secs(90);
/// Longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Bad lines that are shown one by one.
const SHOWN: u64 = 100;

/// What the reading thread tells.
enum News {
    /// How the file is cut.
    Cut(Framing),
    /// A request to make.
    Batch(Batch),
    /// A piece that could not be read.
    Bad(u64, String),
    /// Messages that are no text of a conversation.
    LeftOut(u64),
    /// The file cannot be read any more.
    Failed(std::io::Error),
}

/// Runs the command.
///
/// # Errors
/// When the file cannot be read, or the server refuses or stays away.
pub async fn run(import: Import, around: &Surroundings) -> anyhow::Result<ExitCode> {
    let overrides = overrides(&import)?;
    let file = (import.file.as_os_str() != "-").then_some(import.file.as_path());
    let client = Client::new(&import.place.url, around)?;
    let circumstances = [
        client.url(),
        overrides.bot.as_ref().map_or("", |bot| bot.as_str()),
        overrides.user.as_ref().map_or("", |user| user.as_str()),
    ];
    let checkpoint = match file {
        Some(path) if !import.dry_run => {
            Some(Checkpoint::of(path, &circumstances).with_context(|| format!("cannot read {}", path.display()))?)
        }
        _ => None,
    };
    let earlier = checkpoint.as_ref().and_then(Checkpoint::load).filter(|_| !import.from_start);
    let total = file.and_then(|path| Some(path.metadata().ok()?.len()));
    let mut job = Job {
        client,
        checkpoint,
        progress: Progress::new(total),
        tally: Tally::default(),
        would: Totals::default(),
        dry_run: import.dry_run,
        extract: import.extract,
        noun: Framing::Lines.noun(),
        shown: 0,
        done: 0,
    };
    if let Some(Progressed { place, tally, .. }) = &earlier {
        let noun = place.framing.noun();
        job.progress.note(&format!("going on behind {noun} {} (--from-start begins anew)", place.number));
        (job.tally, job.done) = (*tally, place.offset);
    }
    let (news, mut heard) = mpsc::channel(AHEAD);
    let path = file.map(Path::to_owned);
    let place = earlier.as_ref().map(|earlier| earlier.place);
    let reader = Reader::new(overrides, earlier.map(|earlier| earlier.identity).unwrap_or_default());
    let reading = tokio::task::spawn_blocking(move || read(path.as_deref(), place, reader, &news));
    let outcome = job.work(&mut heard).await;
    job.progress.finish();
    drop(heard);
    reading.await?;
    outcome?;
    job.summary(import.json)
}

fn overrides(import: &Import) -> anyhow::Result<Overrides> {
    let bot = import.bot.as_deref().map(BotSlug::parse).transpose()?;
    let user = import.user.as_deref().map(UserId::parse).transpose()?;
    Ok(Overrides { bot, user })
}

/// The reading thread. It ends when nobody listens any more.
fn read(path: Option<&Path>, place: Option<Place>, mut reader: Reader, news: &mpsc::Sender<News>) {
    if let Err(error) = read_pieces(path, place, &mut reader, news) {
        let _ = news.blocking_send(News::Failed(error));
    }
}

fn read_pieces(
    path: Option<&Path>,
    place: Option<Place>,
    reader: &mut Reader,
    news: &mpsc::Sender<News>,
) -> std::io::Result<()> {
    let buffered = |file: File| -> Box<dyn BufRead> { Box::new(BufReader::with_capacity(BUFFER, file)) };
    let mut pieces = match (path, place) {
        (None, _) => Pieces::open(Box::new(BufReader::new(std::io::stdin())) as Box<dyn BufRead>)?,
        (Some(path), None) => Pieces::open(buffered(File::open(path)?))?,
        (Some(path), Some(place)) => {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(place.offset))?;
            Pieces::resume(buffered(file), place)
        }
    };
    let mut packer = Packer::new(pieces.framing());
    let tell = |what: News| news.blocking_send(what).is_ok();
    if !tell(News::Cut(pieces.framing())) {
        return Ok(());
    }
    while let Some(piece) = pieces.next()? {
        let item = reader.read(piece);
        if let Some(problem) = &item.problem
            && !tell(News::Bad(item.number, problem.clone()))
        {
            return Ok(());
        }
        if item.left_out > 0 && !tell(News::LeftOut(item.left_out as u64)) {
            return Ok(());
        }
        for batch in packer.take(&item, reader.identity())? {
            if !tell(News::Batch(batch)) {
                return Ok(());
            }
        }
    }
    if let Some(rest) = packer.rest(reader.identity()) {
        tell(News::Batch(rest));
    }
    Ok(())
}

struct Job {
    client: Client,
    checkpoint: Option<Checkpoint>,
    progress: Progress,
    tally: Tally,
    would: Totals,
    dry_run: bool,
    extract: bool,
    noun: &'static str,
    shown: u64,
    done: u64,
}

impl Job {
    async fn work(&mut self, heard: &mut mpsc::Receiver<News>) -> anyhow::Result<()> {
        while let Some(news) = heard.recv().await {
            match news {
                News::Cut(framing) => self.noun = framing.noun(),
                News::Bad(number, problem) => self.complain(number, &problem),
                News::LeftOut(count) => self.tally.left_out += count,
                News::Batch(batch) if self.dry_run => {
                    self.would.messages += batch.totals.messages;
                    self.would.memories += batch.totals.memories;
                    self.note_place(&batch);
                }
                News::Batch(batch) => self.send(batch).await?,
                News::Failed(error) => return Err(error).context("the file cannot be read"),
            }
        }
        Ok(())
    }

    fn complain(&mut self, number: u64, problem: &str) {
        self.tally.bad += 1;
        self.shown += 1;
        match self.shown {
            shown if shown <= SHOWN => {
                self.progress.note(&format!("{} {number}: {}", self.noun, one_line(problem, 300)));
            }
            shown if shown == SHOWN + 1 => self.progress.note("further bad ones are only counted"),
            _ => {}
        }
    }

    fn note_place(&mut self, batch: &Batch) {
        if let Some(place) = batch.place {
            self.done = place.offset;
            if let Some(checkpoint) = &self.checkpoint {
                checkpoint.save(Progressed { place, identity: batch.identity.clone(), tally: self.tally });
            }
        }
        let words = match self.dry_run {
            true => format!("{} read", self.would.all()),
            false => format!("{} stored, {} there already", self.tally.stored, self.tally.known),
        };
        self.progress.show(self.done, words);
    }

    /// Sends a batch, in halves if it is too large for the server.
    async fn send(&mut self, batch: Batch) -> anyhow::Result<()> {
        let mut waiting = vec![batch];
        while let Some(batch) = waiting.pop() {
            if batch.len() > 0 {
                match self.attempt(&batch).await {
                    Ok(answer) => self.count(&batch, &answer),
                    Err(ClientError::Refused { status, .. }) if status == 413 && batch.len() > 1 => {
                        if let Some((first, second)) = batch.halves() {
                            waiting.extend([second, first]);
                        }
                        continue;
                    }
                    Err(ClientError::Refused { status, message, .. }) if status == 413 => {
                        self.complain(batch.piece_of(1).unwrap_or_default(), &message);
                    }
                    Err(error) => {
                        let advice = "what is stored stays; run the same command again to go on";
                        return Err(anyhow::Error::new(error).context(advice));
                    }
                }
            }
            self.note_place(&batch);
        }
        Ok(())
    }

    /// Asks until the server answers, within reason.
    async fn attempt(&self, batch: &Batch) -> Result<Value, ClientError> {
        let (began, mut pause) = (Instant::now(), Duration::from_millis(250));
        loop {
            let error = match self.client.import(batch.body.clone(), self.extract).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let wait = match &error {
                ClientError::Refused { status, retry_after, .. }
                    if matches!(status.as_u16(), 408 | 429 | 502..=504) =>
                {
                    retry_after.unwrap_or(pause).max(pause)
                }
                ClientError::Broken(_) | ClientError::NoServer { .. } => pause,
                ClientError::Refused { .. } => return Err(error),
            };
            if began.elapsed() + wait > GIVE_UP {
                return Err(error);
            }
            self.progress.note(&format!("{error}; trying again in {:.1} s", wait.as_secs_f64()));
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn count(&mut self, batch: &Batch, answer: &Value) {
        let sum =
            |of: &Value| of["messages"].as_u64().unwrap_or_default() + of["memories"].as_u64().unwrap_or_default();
        self.tally.stored += sum(&answer["stored"]);
        self.tally.known += sum(&answer["known"]);
        self.tally.forgotten += sum(&answer["forgotten"]);
        let errors = answer["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        for error in errors {
            let number = error["line"].as_u64().and_then(|line| batch.piece_of(line)).unwrap_or_default();
            self.complain(number, error["detail"].as_str().unwrap_or("the server refused it"));
        }
        // The server names no more than it must.
        self.tally.bad += answer["failed"].as_u64().unwrap_or_default().saturating_sub(errors.len() as u64);
    }

    fn summary(&self, as_json: bool) -> anyhow::Result<ExitCode> {
        if let Some(checkpoint) = &self.checkpoint {
            checkpoint.clear();
        }
        let tally = &self.tally;
        let text = match (as_json, self.dry_run) {
            (true, dry_run) => {
                let mut told = json!({"dry_run": dry_run, "stored": tally.stored, "known": tally.known, "bad": tally.bad,
                    "forgotten": tally.forgotten,
                    "left_out": tally.left_out});
                if dry_run {
                    told["would_send"] = json!(self.would);
                }
                told.to_string()
            }
            (false, true) => {
                format!(
                    "would send {} messages and {} memories{}",
                    self.would.messages,
                    self.would.memories,
                    self.rest()
                )
            }
            (false, false) => format!("{} stored, {} there already{}", tally.stored, tally.known, self.rest()),
        };
        say(&format!("{text}\n"))?;
        Ok(if tally.bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn rest(&self) -> String {
        let mut words = String::new();
        if self.tally.forgotten > 0 {
            words.push_str(&format!(", {} were forgotten and stay so", self.tally.forgotten));
        }
        if self.tally.left_out > 0 {
            words.push_str(&format!(", {} without text left out", self.tally.left_out));
        }
        if self.tally.bad > 0 {
            words.push_str(&format!(", {} bad", self.tally.bad));
        }
        words
    }
}
