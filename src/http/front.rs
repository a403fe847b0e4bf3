//! What every request passes before and after its handler, in this order: id, host and origin, route, key, handler,
//! then headers, the access line and the counters. A handler that panics costs its own request alone.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use greenroom_protocol::RequestId;
use http::header::{HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tracing::Instrument;

use super::answer::{self, DoorBody};
use super::auth::Doorkeeper;
use super::body::BodyRules;
use super::call::{Call, Query};
use super::error::ApiError;
use super::origin::{Origins, Visitor, is_preflight};
use super::route::{Face, Found, Router, Takes};
use crate::config::Config;
use crate::house::House;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the front of the house decides with.
pub struct Front {
    router: Router,
    keeper: Doorkeeper,
    origins: Origins,
    ordinary: BodyRules,
    big: BodyRules,
}

impl Front {
    /// Prepares the lists of a checked configuration.
    #[must_use]
    pub fn new(config: &Config, router: Router) -> Self {
        let timeout = config.limits.body_timeout.get();
        Self {
            router,
            keeper: Doorkeeper::new(config),
            origins: Origins::new(config),
            ordinary: BodyRules { limit: config.limits.body.get(), timeout },
            big: BodyRules { limit: config.limits.chat_body.get(), timeout },
        }
    }

    /// Whether keys are asked for.
    #[must_use]
    pub fn asks_for_keys(&self) -> bool {
        self.keeper.asks()
    }
}

/// Answers one request.
pub async fn answer(house: Arc<House>, request: Request<Incoming>) -> Response<DoorBody> {
    let began = Instant::now();
    let request_id = request_id(request.headers());
    let method = request.method().clone();
    let span = tracing::info_span!("request", id = %request_id, method = %method, route = tracing::field::Empty);
    let (response, route) = respond(house, request, &request_id).instrument(span.clone()).await;
    let _entered = span.enter();
    account(&method, route, response.status(), began);
    response
}

async fn respond(
    house: Arc<House>,
    request: Request<Incoming>,
    request_id: &RequestId,
) -> (Response<DoorBody>, &'static str) {
    let mut visitor = Visitor::Home;
    let mut place = Place { route: "none", face: face_of(request.uri().path()) };
    let result = walk(house, request, request_id, &mut visitor, &mut place).await;
    let mut response = result.unwrap_or_else(|error| error.into_response(place.face, request_id));
    let headers = response.headers_mut();
    visitor.mark(headers);
    if let Ok(id) = HeaderValue::from_str(request_id.as_str()) {
        headers.insert(X_REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    (response, place.route)
}

struct Place {
    route: &'static str,
    face: Face,
}

async fn walk(
    house: Arc<House>,
    request: Request<Incoming>,
    request_id: &RequestId,
    visitor: &mut Visitor,
    place: &mut Place,
) -> answer::Answer {
    let front = house.front();
    let (head, body) = request.into_parts();
    *visitor = front.origins.judge(&head.uri, &head.headers)?;
    if is_preflight(&head.method, &head.headers) {
        let mut response = answer::empty(StatusCode::NO_CONTENT);
        visitor.grant(&head.headers, response.headers_mut());
        return Ok(response);
    }
    let (route, params) = match front.router.find(&head.method, head.uri.path()) {
        Found::Route(route, params) => (route, params),
        Found::WrongMethod { allow, face } => {
            place.face = face;
            return Err(ApiError::WrongMethod { allow });
        }
        Found::Elsewhere(path) => {
            let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            return Ok(answer::redirect(&format!("{path}{query}")));
        }
        Found::Nowhere => return Err(ApiError::NoRoute),
    };
    *place = Place { route: route.path, face: route.face };
    tracing::Span::current().record("route", route.path);
    let caller = front.keeper.admit(route.scope, &head.method, &head.headers)?;
    let call = Call {
        route,
        request_id: request_id.clone(),
        caller,
        params,
        query: Query::parse(head.uri.query().unwrap_or_default()),
        body: (route.takes != Takes::Nothing).then_some(body),
        rules: if route.takes == Takes::BigJson { front.big } else { front.ordinary },
        headers: head.headers,
        house: house.clone(),
    };
    let handled = AssertUnwindSafe((route.run)(call)).catch_unwind().await;
    handled.unwrap_or_else(|_| Err(ApiError::Internal("a handler panicked".into())))
}

/// Unknown paths below `/v1` speak to OpenAI clients too.
fn face_of(path: &str) -> Face {
    if path.starts_with("/v1/") { Face::OpenAi } else { Face::Plain }
}

/// The client's own id when it is short and plain, else a fresh one.
fn request_id(headers: &HeaderMap) -> RequestId {
    let sent = headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    match sent.map(str::trim) {
        Some(id) if (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) => {
            RequestId::from_stored(id)
        }
        _ => RequestId::random(),
    }
}

fn account(method: &Method, route: &'static str, status: StatusCode, began: Instant) {
    let took = began.elapsed();
    let method = known(method);
    metrics::counter!("greenroom_http_requests_total", "method" => method, "route" => route, "status" => class(status))
        .increment(1);
    metrics::histogram!("greenroom_http_request_seconds", "route" => route).record(took.as_secs_f64());
    tracing::debug!(
        target: "greenroom::access",
        status = status.as_u16(),
        ms = took.as_secs_f64() * 1000.0,
        "request answered"
    );
}

/// A closed list, because clients may send any word as a method and metrics keep every label they ever saw.
fn known(method: &Method) -> &'static str {
    const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200 => "200",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        409 => "409",
        422 => "422",
        429 => "429",
        500 => "500",
        502 => "502",
        503 => "503",
        504 => "504",
        other => match other / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_request_id_is_kept_and_an_odd_one_replaced() {
        let with = |value: &[u8]| HeaderMap::from_iter([(X_REQUEST_ID, HeaderValue::from_bytes(value).unwrap())]);
        assert_eq!(request_id(&with(b"abc-1")).as_str(), "abc-1");
        for odd in [b"".as_slice(), b"a b", b"\xff", &[b'x'; 129]] {
            assert_eq!(request_id(&with(odd)).as_str().len(), 8);
        }
        assert_eq!(request_id(&HeaderMap::new()).as_str().len(), 8);
    }
}
