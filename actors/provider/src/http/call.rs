//! Making a call: attempts, pauses and changed parameters, until there is something to pass on.
//!
//! Everything here happens before the first event reaches the caller, which is what makes trying again safe. The whole
//! call has one deadline; dropping the future drops the connection.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, Patience};
use super::learned::Learned;
use super::refusal::{self, Refusal, Remedy};
use crate::definition::ModelDefinition;
use crate::endpoint::Endpoint;
use crate::error::{ProviderError, Waiting};
use crate::event::CompletionRequest;
use crate::provider::Lease;
use crate::settings::Timeouts;
use crate::transport::Transport;
use crate::wires::Written;

/// Most of an error answer that is read.
const ERROR_CAP: usize = 64 * 1024;
/// How long reading an error answer may take.
const ERROR_LIMIT: Duration = Duration::from_secs(5);
/// Most times the parameters of one call are changed.
const MOST_CHANGES: u32 = 12;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// One call.
pub(crate) struct Call<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) definition: &'a ModelDefinition,
    pub(crate) request: &'a CompletionRequest,
    pub(crate) timeouts: &'a Timeouts,
    pub(crate) transport: &'a Transport,
}

impl Call<'_> {
    /// Calls, and calls again where that may help; gives the answer with its first output.
    pub(crate) async fn open(&self, mut lease: Lease, cancel: CancellationToken) -> Result<Answer, ProviderError> {
        let seconds = |wish: Option<f64>| wish.and_then(|wish| Duration::try_from_secs_f64(wish).ok());
        let (options, t) = (&self.definition.options, self.timeouts);
        let (first_event, gap) = if self.endpoint.target.local {
            (t.first_event_local, t.gap_local)
        } else {
            (t.first_event_hosted, t.gap_hosted)
        };
        let patience = Patience {
            first_event: seconds(options.first_token_timeout_s).unwrap_or(first_event),
            gap,
            after_finish: t.after_finish,
            deadline: Instant::now() + seconds(options.request_timeout_s).unwrap_or(t.whole),
        };
        let opened = timeout_at(patience.deadline, self.attempts(&lease, patience)).await;
        match opened.unwrap_or_else(|_| Err(Refusal::timeout(Waiting::Whole))) {
            Ok((answer, learned)) => {
                lease.answered(learned);
                Ok(answer.hold(lease, cancel))
            }
            Err(refusal) => {
                refusal.report(&mut lease);
                Err(refusal.error)
            }
        }
    }

    async fn attempts(&self, lease: &Lease, patience: Patience) -> Result<(Answer, Option<Learned>), Refusal> {
        let mut known = self.endpoint.wire.before_any_call(self.definition, self.endpoint.official);
        known.merge(&lease.learned);
        let (mut learned, mut tried, mut changes) = (None, Vec::new(), 0);
        let (mut retries, mut reconnected) = (0, false);
        let mut written = self.write(&known)?;
        loop {
            let refusal = match self.attempt(&written, patience).await {
                Ok(answer) => return Ok((answer, learned)),
                Err(refusal) => refusal,
            };
            if written.sent.tools
                && let Some(lasting) = refusal.of_tools(self.forces_tools())
            {
                if lasting {
                    lease.note_tools_refused();
                }
                let error = ProviderError::ToolsUnsupported;
                return Err(Refusal { error, remedy: Remedy::None, endpoint_fails: false, ..refusal });
            }
            let pause = match refusal.remedy {
                Remedy::None => return Err(refusal),
                Remedy::Adapt => {
                    changes += 1;
                    let next = known.adapt(&refusal.words, &written.sent, &mut tried);
                    let Some(next) = next.filter(|_| changes <= MOST_CHANGES) else { return Err(refusal) };
                    written = self.write(&next)?;
                    (known, learned) = (next.clone(), Some(next));
                    continue;
                }
                Remedy::Reconnect if reconnected => return Err(refusal),
                Remedy::Reconnect => {
                    reconnected = true;
                    None
                }
                Remedy::Retry(hint) => hint,
            };
            if retries >= self.timeouts.retries || pause.is_some_and(|pause| pause > self.timeouts.retry_hint_cap) {
                return Err(refusal);
            }
            let pause = pause.unwrap_or_else(|| jittered(self.backoff(retries)));
            if Instant::now() + pause >= patience.deadline {
                return Err(refusal);
            }
            retries += 1;
            metrics::counter!("greenroom_provider_retries_total").increment(1);
            tokio::time::sleep(pause).await;
        }
    }

    /// Whether the model is told to call a tool.
    fn forces_tools(&self) -> bool {
        self.request.tool_choice.as_ref().is_some_and(|choice| !matches!(choice.as_str(), Some("auto" | "none")))
    }

    fn write(&self, known: &Learned) -> Result<Written, Refusal> {
        self.endpoint.wire.write(self.definition, self.endpoint, self.request, known).map_err(|error| Refusal {
            error,
            remedy: Remedy::None,
            endpoint_fails: false,
            words: String::new(),
        })
    }

    fn backoff(&self, retries: u32) -> Duration {
        self.timeouts.backoff_base.saturating_mul(1 << retries.min(16)).min(self.timeouts.backoff_cap)
    }

    async fn attempt(&self, written: &Written, patience: Patience) -> Result<Answer, Refusal> {
        let began = Instant::now();
        let sent = self.transport.client(self.endpoint.target.local).execute(self.http_request(written.body.clone()));
        let response = match timeout_at(began + patience.first_event, sent).await {
            Err(_) => return Err(Refusal::timeout(Waiting::FirstEvent).retried()),
            Ok(Err(error)) => return Err(Refusal::of_transport(&error)),
            Ok(Ok(response)) => response,
        };
        let secret = self.endpoint.key.expose_secret();
        if !response.status().is_success() {
            let status = response.status().as_u16();
            let hint = refusal::retry_hint(response.headers(), Timestamp::now());
            let body = error_text(response).await;
            return Err(refusal::of_answer(status, hint, &body, secret));
        }
        let fold = self.endpoint.wire.fold(self.request, written.local_stops.clone());
        let body = http::Response::<reqwest::Body>::from(response).into_body();
        let mut answer = Answer::new(body, fold, patience, began, self.transport);
        answer.first_output(secret).await?;
        Ok(answer)
    }

    fn http_request(&self, body: Bytes) -> reqwest::Request {
        let mut request = reqwest::Request::new(Method::POST, self.endpoint.target.url.clone());
        let headers = request.headers_mut();
        headers.clone_from(&self.endpoint.target.headers);
        if let Some(Ok(id)) = uuid_of(&self.request.trace_id).map(HeaderValue::from_str) {
            headers.insert(REQUEST_ID, id);
        }
        *request.body_mut() = Some(body.into());
        request
    }
}

/// The UUID that a trace id is or carries. Servers that know `X-Request-Id` may refuse every other text (that of
/// llama-cpp-python does, with an empty 400), so that without one the header is left out.
fn uuid_of(trace: &str) -> Option<&str> {
    let id = trace.strip_prefix("turn-").unwrap_or(trace);
    let digits = id.bytes().filter(|byte| *byte != b'-');
    let is_uuid = id.len() <= 36 && digits.clone().count() == 32 && digits.clone().all(|byte| byte.is_ascii_hexdigit());
    is_uuid.then_some(id)
}

/// Anything between nothing and the whole pause, so that callers who failed together do not return together.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() >> 32;
    pause.mul_f64(random as f64 / f64::from(u32::MAX))
}

async fn error_text(response: reqwest::Response) -> String {
    let mut response = response;
    let mut bytes = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            bytes.extend_from_slice(&chunk);
            if bytes.len() >= ERROR_CAP {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(ERROR_LIMIT, read).await;
    String::from_utf8_lossy(&bytes).into_owned()
}
