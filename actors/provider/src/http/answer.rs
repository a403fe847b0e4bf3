//! Polling a provider's answer: bytes from the socket through the fold, under a clock.
//!
//! Hot path: one poll of the body, one fold, no timer touched, no channel, no lock of ours. What was read before a fault is
//! handed out first, then the fault, then nothing. A body that ended well is read to its end, so that its connection can
//! be used again; any other is dropped, which closes the connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use greenroom_protocol::Usage;
use http_body::Body as _;
use secrecy::ExposeSecret;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::fold::{Fault, Fold};
use super::refusal::{self, Refusal, Remedy};
use crate::error::{ProviderError, Waiting};
use crate::event::ProviderEvent;
use crate::provider::Lease;
use crate::stream::{Batch, BatchSource};
use crate::transport::Transport;

/// Largest answer that comes as one JSON object.
const WHOLE_CAP: usize = 32 * 1024 * 1024;
/// Most frames folded into one batch, so that one busy stream leaves room for others.
const FRAMES_PER_BATCH: usize = 64;

/// How long one call may be silent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) first_event: Duration,
    pub(crate) gap: Duration,
    pub(crate) after_finish: Duration,
    /// When the whole call must be over.
    pub(crate) deadline: Instant,
}

/// What the body turned out to be.
enum Form {
    /// Not enough seen yet.
    Unknown(Vec<u8>),
    Events,
    /// One JSON object, although a stream was asked for.
    Whole(Vec<u8>),
}

/// An answer being read.
pub(crate) struct Answer {
    body: Option<reqwest::Body>,
    form: Form,
    fold: Fold,
    clock: Clock,
    /// Read while the first output was awaited.
    ready: Vec<ProviderEvent>,
    fault: Option<Refusal>,
    /// Present once the answer is in its caller's hands.
    held: Option<Held>,
    transport: Transport,
    over: bool,
}

/// What a caller's stream holds beside the answer.
struct Held {
    lease: Lease,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// The waits of one answer. The timer is set rarely: when it fires too early, it is set anew.
struct Clock {
    sleep: Pin<Box<Sleep>>,
    patience: Patience,
    silence: Duration,
    /// What the silence is about.
    waiting: Waiting,
    last_sign: Instant,
    /// The finish reason came.
    finishing: bool,
}

impl Clock {
    /// When waiting ends, and what for.
    fn due(&self) -> (Instant, Option<Waiting>) {
        let quiet = if self.finishing {
            (self.last_sign + self.patience.after_finish, None)
        } else {
            (self.last_sign + self.silence, Some(self.waiting))
        };
        if self.patience.deadline < quiet.0 { (self.patience.deadline, Some(Waiting::Whole)) } else { quiet }
    }

    fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<Option<Waiting>> {
        loop {
            if self.sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            let (due, waiting) = self.due();
            if Instant::now() >= due {
                return Poll::Ready(waiting);
            }
            self.sleep.as_mut().reset(due);
        }
    }

    fn finishing(&mut self) {
        if !self.finishing {
            self.finishing = true;
            let (due, _) = self.due();
            self.sleep.as_mut().reset(due);
        }
    }
}

impl Answer {
    /// An answer whose head has come; `began` is when the request went out.
    pub(crate) fn new(
        body: reqwest::Body,
        fold: Fold,
        patience: Patience,
        began: Instant,
        transport: &Transport,
    ) -> Self {
        let silence = patience.first_event.max(patience.gap);
        let due = patience.deadline.min(began + silence);
        Self {
            body: Some(body),
            form: Form::Unknown(Vec::new()),
            fold,
            clock: Clock {
                sleep: Box::pin(tokio::time::sleep_until(due)),
                patience,
                silence,
                waiting: Waiting::FirstEvent,
                last_sign: began,
                finishing: false,
            },
            ready: Vec::new(),
            fault: None,
            held: None,
            transport: transport.clone(),
            over: false,
        }
    }

    /// Waits until there is something to pass on.
    pub(crate) async fn first_output(&mut self, secret: &str) -> Result<(), Refusal> {
        loop {
            let batch = std::future::poll_fn(|context| self.poll_read(context, secret)).await;
            let Some(batch) = batch else { return Ok(()) };
            self.ready.extend(batch?);
            let output = |event: &ProviderEvent| !matches!(event, ProviderEvent::Metadata { .. });
            if self.ready.iter().any(output) {
                self.clock.silence = self.clock.patience.gap;
                self.clock.waiting = Waiting::Gap;
                return Ok(());
            }
        }
    }

    /// Hands the answer to its caller.
    pub(crate) fn hold(mut self, lease: Lease, cancel: CancellationToken) -> Self {
        if !self.over {
            self.held = Some(Held { lease, cancelled: Box::pin(cancel.cancelled_owned()) });
        }
        self
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        secret: &str,
    ) -> Poll<Option<Result<Vec<ProviderEvent>, Refusal>>> {
        if let Some(fault) = self.fault.take() {
            self.close();
            return Poll::Ready(Some(Err(fault)));
        }
        let mut batch = Vec::new();
        for _ in 0..FRAMES_PER_BATCH {
            let Some(body) = &mut self.body else { break };
            let read = match Pin::new(body).poll_frame(context) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => self.bytes(&bytes, &mut batch),
                    Err(_) => Ok(()),
                },
                // a body that breaks off is judged like one that ends: by what had come before
                Poll::Ready(Some(Err(_)) | None) => {
                    self.body = None;
                    self.end(&mut batch)
                }
            };
            if let Err(fault) = read {
                self.body = None;
                self.fault = Some(self.refusal(fault, secret));
                break;
            }
            if self.fold.is_over() {
                self.finish(context);
                break;
            }
        }
        if !batch.is_empty() {
            return Poll::Ready(Some(Ok(batch)));
        }
        if let Some(fault) = self.fault.take() {
            self.close();
            return Poll::Ready(Some(Err(fault)));
        }
        if self.over || self.body.is_none() {
            return Poll::Ready(None);
        }
        match self.clock.poll_expired(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                let settled = self.fold.settle(&mut batch);
                self.close();
                Poll::Ready(Some(match settled {
                    Ok(()) => Ok(batch),
                    Err(fault) => Err(self.refusal(fault, secret)),
                }))
            }
            Poll::Ready(Some(waiting)) => {
                self.close();
                Poll::Ready(Some(Err(Refusal::timeout(waiting))))
            }
        }
    }

    fn bytes(&mut self, bytes: &Bytes, batch: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.clock.last_sign = Instant::now();
        match &mut self.form {
            Form::Events => {
                self.fold.feed(bytes, batch)?;
                if self.fold.is_finishing() && !self.fold.is_over() {
                    self.clock.finishing();
                }
                Ok(())
            }
            Form::Whole(whole) => {
                whole.extend_from_slice(bytes);
                if whole.len() > WHOLE_CAP { Err(Fault::Broken("the answer is too large")) } else { Ok(()) }
            }
            Form::Unknown(seen) => {
                seen.extend_from_slice(bytes);
                let start = seen.strip_prefix(b"\xef\xbb\xbf").unwrap_or(seen);
                match start.iter().find(|byte| !byte.is_ascii_whitespace()) {
                    None if seen.len() < 4096 => return Ok(()),
                    Some(b'{') if self.fold.may_come_whole() => {
                        self.form = Form::Whole(std::mem::take(seen));
                        return Ok(());
                    }
                    Some(b'<') => return Err(Fault::WebPage),
                    _ => {}
                }
                let seen = Bytes::from(std::mem::take(seen));
                self.form = Form::Events;
                self.bytes(&seen, batch)
            }
        }
    }

    fn end(&mut self, batch: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        match &self.form {
            Form::Whole(whole) => match std::str::from_utf8(whole) {
                Ok(text) => self.fold.whole(text, batch),
                Err(_) => Err(Fault::Broken("the answer is not UTF-8")),
            },
            Form::Events | Form::Unknown(_) => self.fold.end(batch),
        }
    }

    fn refusal(&self, fault: Fault, secret: &str) -> Refusal {
        match fault {
            Fault::Upstream(error) => refusal::of_event(&error, secret),
            Fault::WebPage => Refusal {
                error: ProviderError::Unavailable("it answered with a web page, check base_url".into()),
                remedy: Remedy::None,
                endpoint_fails: true,
                words: String::new(),
            },
            Fault::Broken(why) => Refusal::interrupted(self.fold.had_text(), why),
        }
    }

    /// The answer is complete.
    fn finish(&mut self, context: &mut Context<'_>) {
        if let Some(mut body) = self.body.take().filter(|_| !self.fold.was_cut())
            && !matches!(Pin::new(&mut body).poll_frame(context), Poll::Ready(None | Some(Err(_))))
        {
            self.transport.drain(body);
        }
        self.close();
    }

    /// Nothing more will be read; a body that is still there is closed with its connection.
    fn close(&mut self) {
        self.body = None;
        self.over = true;
    }
}

impl BatchSource for Answer {
    fn usage(&self) -> Usage {
        self.fold.usage()
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Batch> {
        if !self.ready.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.ready))));
        }
        let Some(mut held) = self.held.take() else { return Poll::Ready(None) };
        if held.cancelled.as_mut().poll(context).is_ready() {
            self.close();
            return Poll::Ready(Some(Err(ProviderError::Cancelled)));
        }
        let secret = held.lease.provider().endpoint().map_or("", |endpoint| endpoint.key.expose_secret());
        let batch = match self.poll_read(context, secret) {
            Poll::Pending => {
                self.held = Some(held);
                return Poll::Pending;
            }
            Poll::Ready(batch) => batch,
        };
        Poll::Ready(match batch {
            Some(Ok(events)) => {
                if !self.over {
                    self.held = Some(held); // else the permit is free again now
                }
                Some(Ok(events))
            }
            Some(Err(refusal)) => {
                refusal.report(&mut held.lease);
                Some(Err(refusal.error))
            }
            None => None,
        })
    }
}
