//! A turn's events as a response body. The body *pulls* from a viewer's cursor when the connection has room, so a slow
//! client only lags; nothing is queued for it. All events that are ready leave as one chunk, a silent stream gets a
//! comment line now and then. Per open stream there is a cursor, an encoder and one timer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use greenroom_protocol::TurnEvent;
use greenroom_protocol::frame::{FrameEncoder, KEEP_ALIVE};
use tokio::time::{Instant, Sleep};

/// Something that gives chunks of an event stream.
pub trait EventStream: Send {
    /// The next chunk; `None` is the end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>>;
}

/// A cursor into a turn's log.
pub trait Events: Send {
    /// Hands out what is ready. `Ready(None)` is the end of the log.
    fn poll_events(&mut self, cx: &mut Context<'_>, each: &mut dyn FnMut(u64, &TurnEvent)) -> Poll<Option<()>>;
}

impl Events for greenroom_turn::Viewer {
    fn poll_events(&mut self, cx: &mut Context<'_>, each: &mut dyn FnMut(u64, &TurnEvent)) -> Poll<Option<()>> {
        Self::poll_events(self, cx, each)
    }
}

/// A turn as Chat Completions frames.
pub struct TurnStream<E, G> {
    events: E,
    encoder: FrameEncoder,
    idle: Pin<Box<Sleep>>,
    keep_alive: Duration,
    last_sent: Instant,
    /// Held until the stream is gone, such as the user's seat.
    _guard: G,
}

impl<E: Events, G> TurnStream<E, G> {
    /// Streams `events`, with a comment line after each `keep_alive` of silence.
    pub fn new(events: E, encoder: FrameEncoder, keep_alive: Duration, guard: G) -> Self {
        Self {
            events,
            encoder,
            idle: Box::pin(tokio::time::sleep(keep_alive)),
            keep_alive,
            last_sent: Instant::now(),
            _guard: guard,
        }
    }

    /// The timer is not moved at each chunk: when it fires, the silence is measured and, if too short, slept on.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.idle.as_mut().poll(cx).is_ready() {
            let due = self.last_sent + self.keep_alive;
            let now = Instant::now();
            if due <= now {
                self.last_sent = now;
                self.idle.as_mut().reset(now + self.keep_alive);
                return Poll::Ready(());
            }
            self.idle.as_mut().reset(due);
        }
        Poll::Pending
    }
}

impl<E: Events, G: Send> EventStream for TurnStream<E, G> {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let mut chunk = Vec::new();
            let encoder = &mut self.encoder;
            match self.events.poll_events(cx, &mut |seq, event| encoder.encode(seq, event, &mut chunk)) {
                Poll::Ready(Some(())) if chunk.is_empty() => {} // events without a frame for this viewer
                Poll::Ready(Some(())) => {
                    self.last_sent = Instant::now();
                    return Poll::Ready(Some(chunk.into()));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    return self.poll_silence(cx).map(|()| Some(Bytes::from_static(KEEP_ALIVE)));
                }
            }
        }
    }
}

/// Bytes that are all there from the start.
pub struct Canned(pub Option<Bytes>);

impl EventStream for Canned {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<Bytes>> {
        Poll::Ready(self.0.take().filter(|bytes| !bytes.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};
    use std::task::Waker;

    use greenroom_protocol::frame::FrameOptions;
    use greenroom_protocol::{BotSlug, TurnHeader, TurnId, Usage, UserId};
    use http_body_util::BodyExt;

    use super::*;
    use crate::http::answer::DoorBody;

    #[derive(Default)]
    struct Log {
        events: VecDeque<(u64, TurnEvent)>,
        over: bool,
        waker: Option<Waker>,
    }

    #[derive(Clone, Default)]
    struct FakeViewer(Arc<Mutex<Log>>);

    impl FakeViewer {
        fn push(&self, events: impl IntoIterator<Item = (u64, TurnEvent)>, over: bool) {
            let mut log = self.0.lock().unwrap();
            log.events.extend(events);
            log.over = over;
            if let Some(waker) = log.waker.take() {
                waker.wake();
            }
        }
    }

    impl Events for FakeViewer {
        fn poll_events(&mut self, cx: &mut Context<'_>, each: &mut dyn FnMut(u64, &TurnEvent)) -> Poll<Option<()>> {
            let mut log = self.0.lock().unwrap();
            if log.events.is_empty() {
                log.waker = Some(cx.waker().clone());
                return if log.over { Poll::Ready(None) } else { Poll::Pending };
            }
            for (seq, event) in log.events.drain(..) {
                each(seq, &event);
            }
            Poll::Ready(Some(()))
        }
    }

    fn stream(viewer: &FakeViewer) -> DoorBody {
        let header = Arc::new(TurnHeader {
            turn_id: TurnId::from_stored("turn-1"),
            completion_id: "chatcmpl-1".into(),
            created: 1,
            model: "echo".into(),
            bot_id: BotSlug::from_stored("spark"),
            user_id: UserId::from_stored("ann"),
            trigger_message_id: None,
        });
        let encoder = FrameEncoder::new(header, FrameOptions::default(), 0);
        DoorBody::Events(Box::new(TurnStream::new(viewer.clone(), encoder, Duration::from_secs(15), ())))
    }

    async fn next(body: &mut DoorBody) -> Option<String> {
        let frame = body.frame().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn ready_events_leave_as_one_chunk() {
        let viewer = FakeViewer::default();
        let mut body = stream(&viewer);
        viewer.push([(1, TurnEvent::Text("a".into())), (2, TurnEvent::Text("b".into()))], false);
        let chunk = next(&mut body).await.unwrap();
        assert_eq!(chunk.matches("\n\n").count(), 2);
        assert!(chunk.starts_with("id: 1\ndata: {"), "{chunk}");
        viewer.push([(3, TurnEvent::Usage(Usage::default()))], true); // has no frame for this viewer
        assert_eq!(next(&mut body).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_every_interval_and_only_then() {
        let viewer = FakeViewer::default();
        let mut body = stream(&viewer);
        let began = Instant::now();
        assert_eq!(next(&mut body).await.as_deref(), Some(": keepalive\n"));
        assert_eq!(began.elapsed(), Duration::from_secs(15));
        tokio::time::advance(Duration::from_secs(10)).await;
        viewer.push([(1, TurnEvent::Text("a".into()))], false);
        assert!(next(&mut body).await.unwrap().starts_with("id: 1"));
        let spoke = Instant::now();
        assert_eq!(next(&mut body).await.as_deref(), Some(": keepalive\n"));
        assert_eq!(spoke.elapsed(), Duration::from_secs(15));
        viewer.push([], true);
        assert_eq!(next(&mut body).await, None);
    }
}
