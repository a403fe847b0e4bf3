//! What went wrong between here and a server, read from the library's errors: the one place that decides whether a call
//! certainly did not run. The library's own texts hold URLs and page sources; none of them leaves this file.

use std::error::Error;

use reqwest::StatusCode;
use rmcp::model::ErrorCode;
use rmcp::service::{ClientInitializeError, ServiceError};
use rmcp::transport::streamable_http_client::StreamableHttpError;

use crate::error::McpError;
use crate::legacy::LegacyError;

/// The code with which servers refuse a session they do not know.
const UNKNOWN_SESSION: i32 = -32001;
/// Older servers refuse it with the first code of their own range, and words.
const SERVER_ERROR: i32 = -32000;
/// Most characters of a server's own words.
const MOST_WORDS: usize = 300;

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server could not be reached; nothing was sent.
    Unreachable,
    /// The server does not know the session; it ran nothing.
    SessionGone,
    /// The connection had ended before; nothing was sent.
    Closed,
    /// The connection broke, nobody knows at which point.
    Interrupted,
    /// Making the connection took too long.
    Slow,
    Unauthorised,
    RateLimited,
    /// The server's own refusal.
    Refused {
        code: i32,
        words: String,
    },
    /// What the server gave instead of an answer, to follow "it gave".
    Broken(String),
}

impl Fault {
    /// Whether the call certainly had no effect.
    pub(crate) fn never_ran(&self) -> bool {
        matches!(self, Self::Unreachable | Self::SessionGone | Self::Closed)
    }

    /// Whether the session is over.
    pub(crate) fn ends_session(&self) -> bool {
        self.never_ran()
    }

    /// Whether the server may have lost something that asking it for its tools would show.
    pub(crate) fn raises_doubt(&self) -> bool {
        match self {
            Self::Interrupted | Self::Slow | Self::Unauthorised | Self::Broken(_) => true,
            Self::Refused { code, .. } => [ErrorCode::METHOD_NOT_FOUND.0, ErrorCode::INVALID_PARAMS.0].contains(code),
            Self::Unreachable | Self::SessionGone | Self::Closed | Self::RateLimited => false,
        }
    }

    /// For the board, as a whole sentence.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Unreachable => "the server cannot be reached".into(),
            Self::SessionGone => "the server no longer knows the session".into(),
            Self::Closed | Self::Interrupted => "the server closed the connection".into(),
            Self::Slow => "the server did not answer in time".into(),
            Self::Unauthorised => "the server refuses the configured token".into(),
            Self::RateLimited => "the server asks to slow down".into(),
            Self::Refused { words, .. } => format!("the server refuses to serve us: {words}"),
            Self::Broken(what) => format!("the server gave {what}"),
        }
    }

    fn broken(what: &str) -> Self {
        Self::Broken(what.to_owned())
    }

    fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Unauthorised,
            StatusCode::TOO_MANY_REQUESTS => Self::RateLimited,
            _ => Self::Broken(format!("status {}", status.as_u16())),
        }
    }

    fn of_client(error: &reqwest::Error) -> Self {
        if error.is_connect() {
            return Self::Unreachable;
        }
        error.status().map_or(Self::Interrupted, Self::of_status)
    }

    fn of_refusal(refusal: &rmcp::model::ErrorData) -> Self {
        let code = refusal.code.0;
        let speaks_of_session = || refusal.message.to_ascii_lowercase().contains("session");
        if code == UNKNOWN_SESSION || (code == SERVER_ERROR && speaks_of_session()) {
            return Self::SessionGone;
        }
        Self::Refused { code, words: words(&refusal.message) }
    }

    fn of_transport(error: &(dyn Error + 'static)) -> Self {
        if let Some(error) = error.downcast_ref::<LegacyError>() {
            return match error {
                LegacyError::Request(error) => Self::of_client(error),
                LegacyError::Status(StatusCode::NOT_FOUND) => Self::SessionGone,
                LegacyError::Status(status) => Self::of_status(*status),
                LegacyError::Message(_) => Self::broken("a message that cannot be sent"),
                LegacyError::Stream(what) => Self::broken(what),
            };
        }
        let Some(error) = error.downcast_ref::<StreamableHttpError<reqwest::Error>>() else {
            return Self::Interrupted;
        };
        match error {
            StreamableHttpError::Client(error) => Self::of_client(error),
            StreamableHttpError::HttpStatus(error) => {
                StatusCode::from_u16(error.status).map_or_else(|_| Self::broken("no status"), Self::of_status)
            }
            StreamableHttpError::AuthRequired(_) | StreamableHttpError::InsufficientScope(_) => Self::Unauthorised,
            StreamableHttpError::SessionExpired => Self::SessionGone,
            StreamableHttpError::UnexpectedServerResponse(text) => status_within(text)
                .map_or_else(|| Self::broken("an answer that is not of this protocol"), Self::of_status),
            StreamableHttpError::Deserialize(_) | StreamableHttpError::UnexpectedContentType(_) => {
                Self::broken("an answer that is not of this protocol")
            }
            StreamableHttpError::ResponseBodyTooLarge { .. } => Self::broken("an answer that is too large"),
            _ => Self::Interrupted,
        }
    }
}

impl From<ServiceError> for Fault {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::McpError(refusal) => Self::of_refusal(&refusal),
            ServiceError::TransportSend(error) => Self::of_transport(error.error.as_ref()),
            ServiceError::TransportClosed => Self::Interrupted,
            ServiceError::UnexpectedResponse => Self::broken("an answer that does not fit the question"),
            _ => Self::broken("up on the call"),
        }
    }
}

impl From<ClientInitializeError> for Fault {
    fn from(error: ClientInitializeError) -> Self {
        match error {
            ClientInitializeError::TransportError { error, .. } => Self::of_transport(error.error.as_ref()),
            ClientInitializeError::JsonRpcError(refusal) => Self::of_refusal(&refusal),
            ClientInitializeError::LegacyFallbackFailed { fallback, .. } => (*fallback).into(),
            ClientInitializeError::NoCompatibleProtocolVersion { .. } => {
                Self::broken("no revision of the protocol we know")
            }
            ClientInitializeError::ConnectionClosed(_) => Self::Interrupted,
            _ => Self::broken("an answer that is not of this protocol"),
        }
    }
}

impl From<LegacyError> for Fault {
    fn from(error: LegacyError) -> Self {
        Self::of_transport(&error)
    }
}

impl From<Fault> for McpError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unreachable | Fault::SessionGone | Fault::Closed | Fault::Slow => Self::Unavailable(fault.reason()),
            Fault::Interrupted => Self::Interrupted,
            Fault::Unauthorised => Self::Unauthorised,
            Fault::RateLimited => Self::RateLimited,
            Fault::Refused { words, .. } => Self::Refused(words),
            Fault::Broken(what) => Self::Broken(what),
        }
    }
}

/// The status that the library tells only in words: `HTTP 418 I'm a teapot: …`.
fn status_within(text: &str) -> Option<StatusCode> {
    let digits = text.strip_prefix("HTTP ")?.get(..3)?;
    digits.parse().ok().and_then(|status: u16| StatusCode::from_u16(status).ok())
}

/// A server's own words on one line, shortened.
fn words(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut kept: String = line.chars().filter(|character| !character.is_control()).take(MOST_WORDS).collect();
    if kept.len() < line.len() {
        kept.push('…');
    }
    if kept.is_empty() { "no reason given".into() } else { kept }
}

#[cfg(test)]
mod tests {
    use rmcp::model::ErrorData;

    use super::*;

    fn refused(code: i32, message: &str) -> Fault {
        ServiceError::McpError(ErrorData::new(ErrorCode(code), message.to_owned(), None)).into()
    }

    #[test]
    fn an_unknown_session_is_told_in_several_ways() {
        assert_eq!(refused(-32001, "Session not found"), Fault::SessionGone);
        assert_eq!(refused(-32000, "Bad Request: No valid session ID provided"), Fault::SessionGone);
        assert!(matches!(refused(-32000, "the lamp is broken"), Fault::Refused { .. }));
        assert!(matches!(refused(-32602, "no session argument"), Fault::Refused { .. }));
    }

    #[test]
    fn only_what_was_not_sent_or_not_accepted_never_ran() {
        for fault in [Fault::Unreachable, Fault::SessionGone, Fault::Closed] {
            assert!(fault.never_ran());
        }
        for fault in
            [Fault::Interrupted, Fault::Broken("x".into()), Fault::Unauthorised, Fault::Slow, Fault::RateLimited]
        {
            assert!(!fault.never_ran());
        }
    }

    #[test]
    fn a_servers_words_are_one_short_line() {
        let told = words(&format!("no\r\n\u{1b}[31mlamp {}", "x".repeat(1000)));
        assert!(told.starts_with("no [31mlamp xxx") && told.ends_with('…') && told.chars().count() == MOST_WORDS + 1);
        assert_eq!(words("\n"), "no reason given");
        assert_eq!(status_within("HTTP 401 Unauthorized: body"), Some(StatusCode::UNAUTHORIZED));
        assert_eq!(status_within("could not parse"), None);
        assert_eq!(status_within("HTTP ä"), None);
    }
}
