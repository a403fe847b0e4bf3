//! The one error that meets HTTP. It owns the status, the `{"detail": …}` body, and on OpenAI's surface the `error`
//! member beside it. Bodies of 5xx answers never carry what went wrong inside: that is logged, once, here.

use std::time::Duration;

use greenroom_bot::BotsError;
use greenroom_protocol::fields::Complaint;
use greenroom_protocol::{ErrorBody, ErrorClass, RequestId};
use greenroom_provider::{ProviderError, ProvidersError};
use greenroom_turn::TurnError;
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::answer::{self, DoorBody};
use super::route::Face;

/// Why a request has no answer of its own.
#[derive(Debug)]
pub enum ApiError {
    /// No such route.
    NoRoute,
    /// The route does not know the method.
    WrongMethod {
        /// The methods it knows.
        allow: String,
    },
    /// A key is needed and none was sent, or it is unknown.
    NoKey {
        /// Whether one was sent.
        sent: bool,
        /// Whether a browser may ask its user for one.
        ask_browser: bool,
    },
    /// The key is known but may not do this.
    NotAllowed(String),
    /// The `Host` is none of ours.
    ForeignHost,
    /// A page of another origin calls.
    ForeignOrigin,
    /// Fields, parameters or the body have the wrong shape.
    Invalid(Vec<Complaint>),
    /// The body is larger than the route takes.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    TooSlow,
    /// No room for another turn.
    Full {
        /// What is full, in words.
        what: &'static str,
        /// When to come back.
        retry_after: Duration,
    },
    /// The server is shutting down.
    Draining {
        /// When to come back.
        retry_after: Duration,
    },
    /// A room refused, or failed with a class.
    Room {
        /// The class.
        class: ErrorClass,
        /// Told to the client for 4xx; only logged for 5xx, unless `safe`.
        message: String,
        /// The message was written for clients even though the class is a 5xx.
        safe: bool,
        /// When to come back.
        retry_after: Option<Duration>,
    },
    /// A refusal whose `detail` is an object.
    Detailed {
        /// The class.
        class: ErrorClass,
        /// The object.
        detail: Value,
    },
    /// A precondition of the request does not hold any more.
    Precondition(String),
    /// A fault of this service.
    Internal(String),
}

impl ApiError {
    /// A refusal with a documented sentence.
    pub fn said(class: ErrorClass, message: impl Into<String>) -> Self {
        Self::Room { class, message: message.into(), safe: true, retry_after: None }
    }

    /// What a room reported. The message of a 5xx stays inside.
    pub fn room(class: ErrorClass, message: impl std::fmt::Display) -> Self {
        Self::Room { class, message: message.to_string(), safe: false, retry_after: None }
    }

    /// 404 with a documented sentence.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::said(ErrorClass::NotFound, message)
    }

    /// One complaint about one place.
    #[must_use]
    pub fn complaint(kind: &str, loc: &[&str], message: &str, input: Value) -> Self {
        Self::Invalid(vec![Complaint::new(kind, loc, message, input)])
    }

    /// The same, with the documented sentence when it is the database that is away.
    #[must_use]
    pub fn away(self, sentence: &str) -> Self {
        self.rephrased(ErrorClass::Storage, sentence)
    }

    /// The same, with the documented sentence when something was not found.
    #[must_use]
    pub fn said_not_found(self, sentence: &str) -> Self {
        self.rephrased(ErrorClass::NotFound, sentence)
    }

    fn rephrased(self, wanted: ErrorClass, sentence: &str) -> Self {
        match self {
            Self::Room { class, message, retry_after, .. } if class == wanted => {
                if class.status() >= 500 {
                    tracing::warn!(class = class.code(), source = message, "a room failed");
                }
                Self::Room { class, message: sentence.to_owned(), safe: true, retry_after }
            }
            other => other,
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoKey { .. } => StatusCode::UNAUTHORIZED,
            Self::NotAllowed(_) | Self::ForeignOrigin => StatusCode::FORBIDDEN,
            Self::ForeignHost => StatusCode::MISDIRECTED_REQUEST,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Full { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Draining { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Room { class, .. } | Self::Detailed { class, .. } => {
                StatusCode::from_u16(class.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Self::Precondition(_) => StatusCode::PRECONDITION_FAILED,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The stable code of the OpenAI member.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NoRoute => ErrorClass::NotFound.code(),
            Self::WrongMethod { .. } => "method_not_allowed",
            Self::NoKey { .. } => "invalid_api_key",
            Self::NotAllowed(_) => "insufficient_role",
            Self::ForeignHost => "foreign_host",
            Self::ForeignOrigin => "foreign_origin",
            Self::Invalid(_) => ErrorClass::InvalidRequest.code(),
            Self::TooLarge { .. } => "request_too_large",
            Self::TooSlow => "request_timeout",
            Self::Full { .. } => ErrorClass::Overloaded.code(),
            Self::Draining { .. } => "shutting_down",
            Self::Room { class, .. } | Self::Detailed { class, .. } => class.code(),
            Self::Precondition(_) => "precondition_failed",
            Self::Internal(_) => ErrorClass::Internal.code(),
        }
    }

    fn kind(&self) -> &'static str {
        match self.status() {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        }
    }

    /// The sentence for people.
    pub(super) fn message(&self) -> String {
        match self {
            Self::NoRoute => "Not Found".into(),
            Self::WrongMethod { .. } => "Method Not Allowed".into(),
            Self::NoKey { sent: false, .. } => "An API key is required".into(),
            Self::NoKey { sent: true, .. } => "The API key is not valid".into(),
            Self::NotAllowed(why) | Self::Precondition(why) => why.clone(),
            Self::ForeignHost => "This server is not known under that host name".into(),
            Self::ForeignOrigin => "Pages of this origin may not call this server".into(),
            Self::Invalid(complaints) => complaints.first().map_or_else(|| "Invalid request".into(), in_words),
            Self::TooLarge { limit } => format!("The request body is larger than {limit} bytes"),
            Self::TooSlow => "The request body did not arrive in time".into(),
            Self::Full { what, .. } => (*what).into(),
            Self::Draining { .. } => "The server is shutting down".into(),
            Self::Room { class, message, safe, .. } => {
                if *safe || class.status() < 500 {
                    message.clone()
                } else {
                    general(*class).into()
                }
            }
            Self::Detailed { class, .. } => general(*class).into(),
            Self::Internal(_) => "Internal Server Error".into(),
        }
    }

    /// The `error` member for OpenAI clients.
    pub(super) fn openai_body(&self) -> ErrorBody {
        ErrorBody {
            message: self.message(),
            kind: self.kind().into(),
            param: self.param(),
            code: Some(self.code().into()),
        }
    }

    fn detail(&self) -> Value {
        match self {
            Self::Invalid(complaints) => json!(complaints),
            Self::Detailed { detail, .. } => detail.clone(),
            _ => self.message().into(),
        }
    }

    fn param(&self) -> Option<String> {
        match self {
            Self::Invalid(complaints) => complaints.first().map(|complaint| dotted(&complaint.loc)),
            _ => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Full { retry_after, .. } | Self::Draining { retry_after } => Some(*retry_after),
            Self::Room { retry_after: Some(after), .. } => Some(*after),
            _ => matches!(self.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
                .then_some(Duration::from_secs(2)),
        }
    }

    /// The answer. Logs what only the log may know.
    pub(super) fn into_response(self, face: Face, request_id: &RequestId) -> Response<DoorBody> {
        self.log();
        let mut body = json!({"detail": self.detail()});
        if self.status().is_server_error() {
            body["request_id"] = request_id.as_str().into();
        }
        if face == Face::OpenAi {
            body["error"] = json!(self.openai_body());
        }
        let mut response = answer::json_with(self.status(), &body);
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs_f64().ceil().max(1.0) as u64));
        }
        match &self {
            Self::WrongMethod { allow } => {
                if let Ok(allow) = HeaderValue::from_str(allow) {
                    headers.insert(ALLOW, allow);
                }
            }
            Self::NoKey { ask_browser, .. } => {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                if *ask_browser {
                    headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"greenroom\""));
                }
            }
            _ => {}
        }
        response
    }

    fn log(&self) {
        match self {
            Self::Internal(source) => tracing::error!(source, "request failed inside"),
            Self::Room { class, message, safe: false, .. } if class.status() >= 500 => {
                tracing::warn!(class = class.code(), source = message, "a room failed");
            }
            other => tracing::debug!(status = other.status().as_u16(), code = other.code(), "request refused"),
        }
    }
}

/// What clients are told of a class whose message stays inside.
fn general(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::InvalidRequest => "The request cannot be served",
        ErrorClass::NotFound => "Not Found",
        ErrorClass::Conflict => "The request collides with the present state",
        ErrorClass::ContextTooLong => "The prompt does not fit the model's context window",
        ErrorClass::Overloaded => "The service has no room for another turn",
        ErrorClass::RateLimited => "The provider asks to slow down",
        ErrorClass::ProviderAuth => "The provider refuses the configured credentials",
        ErrorClass::ProviderRefused => "The provider refused the request",
        ErrorClass::ProviderUnavailable => "The provider cannot be reached",
        ErrorClass::ProviderTimeout => "The provider did not answer in time",
        ErrorClass::ProviderInterrupted => "The provider's answer broke off",
        ErrorClass::NoModel => "No models available on service.",
        ErrorClass::Storage => "The database is not available",
        ErrorClass::Unavailable => "The service cannot do this at the moment",
        ErrorClass::Internal => "Internal Server Error",
    }
}

fn in_words(complaint: &Complaint) -> String {
    format!("{}: {}", dotted(&complaint.loc), complaint.msg)
}

/// `["body", "messages", 0, "role"]` as `messages.0.role`.
fn dotted(loc: &[Value]) -> String {
    let skip = usize::from(loc.len() > 1);
    let parts = loc.iter().skip(skip).map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned));
    parts.collect::<Vec<_>>().join(".")
}

impl From<Vec<Complaint>> for ApiError {
    fn from(complaints: Vec<Complaint>) -> Self {
        Self::Invalid(complaints)
    }
}

impl From<BotsError> for ApiError {
    fn from(error: BotsError) -> Self {
        match error {
            BotsError::Invalid(complaints) => Self::Invalid(complaints),
            BotsError::Stale { .. } => Self::Precondition(error.to_string()),
            BotsError::Provider(error) => error.into(),
            BotsError::Turn(error) => error.into(),
            error => Self::room(error.class(), error),
        }
    }
}

impl From<TurnError> for ApiError {
    fn from(error: TurnError) -> Self {
        match error {
            TurnError::NotFound => Self::not_found("Turn not found"),
            error => Self::room(error.class(), error),
        }
    }
}

impl From<ProviderError> for ApiError {
    fn from(error: ProviderError) -> Self {
        let (class, retry_after) = (error.class(), error.retry_after());
        Self::Room { class, message: error.to_string(), safe: false, retry_after }
    }
}

impl From<ProvidersError> for ApiError {
    fn from(error: ProvidersError) -> Self {
        match error.complaints() {
            [] => Self::room(error.class(), error),
            complaints => Self::Invalid(complaints.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn parts(error: ApiError, face: Face) -> (http::response::Parts, Value) {
        let (parts, body) = error.into_response(face, &RequestId::from_stored("r-1")).into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn a_5xx_keeps_its_source_to_itself() {
        for error in [
            ApiError::room(ErrorClass::Storage, "password authentication failed for host db.internal"),
            ApiError::Internal("SELECT secret FROM vault".into()),
        ] {
            let (parts, body) = parts(error, Face::OpenAi).await;
            assert!(parts.status.is_server_error());
            assert!(!body.to_string().contains("db.internal") && !body.to_string().contains("SELECT"), "{body}");
            assert_eq!(body["request_id"], "r-1");
            assert_eq!(body["detail"], body["error"]["message"]);
        }
    }

    #[tokio::test]
    async fn the_openai_member_stands_on_its_own_surface_only() {
        let missing = || ApiError::complaint("missing", &["body", "messages"], "Field required", Value::Null);
        let (parts_, body) = parts(missing(), Face::OpenAi).await;
        assert_eq!(parts_.status, 422);
        assert_eq!(body["detail"][0]["loc"], json!(["body", "messages"]));
        assert_eq!(body["error"]["message"], "messages: Field required");
        assert_eq!(
            (&body["error"]["param"], &body["error"]["type"]),
            (&json!("messages"), &json!("invalid_request_error"))
        );
        assert!(parts(missing(), Face::Plain).await.1.get("error").is_none());
    }

    #[tokio::test]
    async fn full_and_away_say_when_to_come_back() {
        let full = ApiError::Full { what: "full", retry_after: Duration::from_millis(1500) };
        assert_eq!(parts(full, Face::Plain).await.0.headers["retry-after"], "2");
        let away = ApiError::room(ErrorClass::Storage, "gone");
        assert_eq!(parts(away, Face::Plain).await.0.headers["retry-after"], "2");
        let limited = ApiError::Room {
            class: ErrorClass::RateLimited,
            message: "slow down".into(),
            safe: true,
            retry_after: Some(Duration::from_secs(7)),
        };
        assert_eq!(parts(limited, Face::Plain).await.0.headers["retry-after"], "7");
    }

    #[tokio::test]
    async fn refusals_name_the_way_in() {
        let (parts_, body) = parts(ApiError::NoKey { sent: false, ask_browser: true }, Face::Plain).await;
        assert_eq!(parts_.headers.get_all("www-authenticate").iter().count(), 2);
        assert_eq!(body["detail"], "An API key is required");
        let (parts_, _) = parts(ApiError::WrongMethod { allow: "GET, HEAD".into() }, Face::Plain).await;
        assert_eq!((parts_.status.as_u16(), &parts_.headers["allow"]), (405, &HeaderValue::from_static("GET, HEAD")));
    }
}
