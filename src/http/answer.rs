//! Responses: the one body type of the door and the constructors handlers use.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use serde::Serialize;
use tokio::sync::mpsc;

use super::error::ApiError;
use super::sse::EventStream;

/// What a handler gives back.
pub type Answer = Result<Response<DoorBody>, ApiError>;

/// Every response body of the door.
pub enum DoorBody {
    /// All of it at once.
    Whole(Full<Bytes>),
    /// A stream of chunks, mostly of server-sent events.
    Events(Box<dyn EventStream>),
}

impl Body for DoorBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Events(events) => events.poll_chunk(cx).map(|chunk| Some(Ok(Frame::data(chunk?)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

/// A response of the given type.
#[must_use]
pub fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<DoorBody> {
    let mut response = Response::new(DoorBody::Whole(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A response without a body.
#[must_use]
pub fn empty(status: StatusCode) -> Response<DoorBody> {
    let mut response = Response::new(DoorBody::Whole(Full::default()));
    *response.status_mut() = status;
    response
}

/// JSON with a status. What cannot be serialised becomes `null`; the types used here always can.
#[must_use]
pub fn json_with(status: StatusCode, body: &impl Serialize) -> Response<DoorBody> {
    let bytes = serde_json::to_vec(body).unwrap_or_else(|_| b"null".to_vec());
    whole(status, "application/json", bytes)
}

/// JSON with status 200.
///
/// # Errors
/// Never; the result is what handlers return.
pub fn json(body: &impl Serialize) -> Answer {
    Ok(json_with(StatusCode::OK, body))
}

/// A redirect that keeps method and body.
#[must_use]
pub fn redirect(to: &str) -> Response<DoorBody> {
    let mut response = empty(StatusCode::TEMPORARY_REDIRECT);
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(http::header::LOCATION, to);
    }
    response
}

/// Lines of JSON that are written as they come.
#[must_use]
pub fn lines(lines: mpsc::Receiver<Bytes>) -> Response<DoorBody> {
    let mut response = Response::new(DoorBody::Events(Box::new(Arriving(lines))));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Chunks that somebody else makes; when they stop, so does the body.
struct Arriving(mpsc::Receiver<Bytes>);

impl EventStream for Arriving {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.0.poll_recv(cx)
    }
}

/// A stream of server-sent events.
#[must_use]
pub fn events(events: impl EventStream + 'static) -> Response<DoorBody> {
    let mut response = Response::new(DoorBody::Events(Box::new(events)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}
