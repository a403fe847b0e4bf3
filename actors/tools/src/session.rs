//! The calls of one turn. Each gets exactly one outcome, whether it ran or not; nothing runs that was not offered.
//!
//! A call that comes again is answered from the first time, unless something else was changed in between; the third time
//! ends the use of tools, as does a call beyond the limit. A tool that hangs, panics or talks without end ends its own call
//! and nothing else. Deliberately absent: which calls run at the same time, and what is told to whom (the turn).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use greenroom_protocol::ToolCall;
use greenroom_protocol::ids::tool_call_id;
use serde_json::{Map, Value};
use tokio::sync::OnceCell;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::check;
use crate::offer::{Offer, Offered};
use crate::outcome::{ErrorKind, ToolOutcome};
use crate::tool::{CallContext, Effects, Origin, Tool};

/// Calls of a turn when the limit is 0.
const UNLIMITED: u32 = 100;
/// The same call so often ends the use of tools.
const TOO_OFTEN: u32 = 3;
/// Largest arguments, in bytes of JSON.
const MOST_ARGUMENTS: usize = 256 * 1024;
/// Characters of unreadable arguments that are quoted.
const QUOTED: usize = 200;
/// Characters of a name.
const NAME: usize = 64;
/// Said behind an answer that is given again.
const AGAIN: &str = "(This exact call was made before in this turn and was not made again; its result is the one above. \
                     Go on with it.)";

/// Bounds of one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls that may run; 0 means 100.
    pub max_calls: u32,
    /// Longest result, in characters.
    pub result_chars: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_calls: 20, result_chars: 16_000 }
    }
}

/// A call that was looked at: what it is, and whether it will run.
#[derive(Clone)]
pub struct Prepared {
    /// The id that the model gave it, or a new one.
    pub call_id: String,
    /// The tool's own name; what the model wrote when there is no such tool.
    pub name: String,
    /// The arguments as the tool gets them; empty when they cannot be read.
    pub arguments: Value,
    /// What it changes.
    pub effects: Effects,
    /// Longest time it may take.
    pub timeout: Duration,
    step: Step,
}

#[derive(Clone)]
enum Step {
    Run { tool: Arc<dyn Tool>, outcome: Arc<OnceCell<ToolOutcome>>, again: bool },
    Settled(Box<ToolOutcome>),
}

impl Prepared {
    /// The outcome of a call that will not run.
    #[must_use]
    pub fn settled(&self) -> Option<&ToolOutcome> {
        match &self.step {
            Step::Settled(outcome) => Some(outcome),
            Step::Run { .. } => None,
        }
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let settled = self.settled().and_then(|outcome| outcome.error);
        f.debug_struct("Prepared").field("name", &self.name).field("settled", &settled).finish_non_exhaustive()
    }
}

/// A call that was made.
struct Made {
    times: u32,
    /// How much had been changed then.
    epoch: u64,
    outcome: Arc<OnceCell<ToolOutcome>>,
}

/// The calls of one turn.
pub struct Session {
    offer: Offer,
    cx: CallContext,
    limits: Limits,
    calls: u32,
    exhausted: bool,
    made: HashMap<String, Made>,
    epoch: u64,
    last_change: Option<String>,
    noticed: AtomicBool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Session");
        shown.field("offer", &self.offer).field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Session {
    /// A turn that has made no calls yet.
    #[must_use]
    pub fn new(offer: Offer, cx: CallContext, limits: Limits) -> Self {
        Self {
            offer,
            cx,
            limits,
            calls: 0,
            exhausted: false,
            made: HashMap::new(),
            epoch: 0,
            last_change: None,
            noticed: AtomicBool::new(false),
        }
    }

    /// What was offered.
    #[must_use]
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// How many calls ran or will.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// Whether the model is to answer without further calls.
    #[must_use]
    pub fn exhausted(&self) -> bool {
        self.exhausted
    }

    /// Looks at a call: finds the tool, reads and checks the arguments, counts it. The calls of a turn are prepared in the
    /// order in which the model made them.
    pub fn prepare(&mut self, call: &ToolCall) -> Prepared {
        let id = call.id.trim();
        let mut prepared = Prepared {
            call_id: if id.is_empty() { tool_call_id() } else { id.to_owned() },
            name: call.name.chars().filter(|c| !c.is_control()).take(NAME).collect(),
            arguments: Value::Object(Map::new()),
            effects: Effects::ReadOnly,
            timeout: Duration::ZERO,
            step: Step::Settled(Box::new(ToolOutcome::failed(ErrorKind::Unknown, ""))),
        };
        prepared.step = match self.step(call, &mut prepared) {
            Ok(step) => step,
            Err(outcome) => Step::Settled(Box::new(outcome.told(&prepared.name, usize::MAX, || false, Duration::ZERO))),
        };
        prepared
    }

    fn step(&mut self, call: &ToolCall, prepared: &mut Prepared) -> Result<Step, ToolOutcome> {
        let given = read(&call.arguments);
        let (offered, given) = self.find(&call.name, given).ok_or_else(|| self.unknown(&prepared.name))?;
        let spec = offered.tool.spec();
        prepared.name.clone_from(&spec.name);
        prepared.timeout = spec.timeout;
        let given = given.ok_or_else(|| malformed(&call.arguments))?;
        prepared.arguments = Value::Object(given.clone());
        prepared.arguments = check::arguments(&offered.parameters, given, spec.origin).map_err(|why| {
            ToolOutcome::failed(ErrorKind::InvalidArguments, format!("The call was not made: {why}."))
        })?;
        prepared.effects = offered.tool.effects(&prepared.arguments);
        let tool = offered.tool.clone();
        self.count(tool, prepared)
    }

    /// The tool that a name means, and what the arguments mean to it.
    fn find(&self, name: &str, given: Option<Map<String, Value>>) -> Option<(Offered, Option<Map<String, Value>>)> {
        let exact = self.offer.get(name).or_else(|| self.offer.meant(name.trim()));
        if let Some(offered) = exact.filter(|offered| offered.tool.spec().origin == Origin::Remote) {
            return Some((offered.clone(), given));
        }
        let readable = given.is_some();
        let (canonical, arguments) = greenroom_dialect::canonical(name, Value::Object(given.unwrap_or_default()));
        let offered = self.offer.get(&canonical).filter(|offered| offered.tool.spec().origin == Origin::BuiltIn)?;
        let arguments = match arguments {
            Value::Object(arguments) if readable => Some(arguments),
            _ => None,
        };
        Some((offered.clone(), arguments))
    }

    /// Runs it, unless it ran already or there have been too many.
    fn count(&mut self, tool: Arc<dyn Tool>, prepared: &Prepared) -> Result<Step, ToolOutcome> {
        let key = key(&prepared.name, &prepared.arguments);
        let changes = prepared.effects != Effects::ReadOnly;
        // What was changed by another call may have changed the answer.
        if changes && self.last_change.as_ref() != Some(&key) {
            self.epoch += 1;
        }
        if let Some(made) = self.made.get_mut(&key).filter(|made| made.epoch == self.epoch) {
            made.times += 1;
            self.exhausted |= made.times >= TOO_OFTEN;
            return Ok(Step::Run { tool, outcome: made.outcome.clone(), again: true });
        }
        let most = if self.limits.max_calls == 0 { UNLIMITED } else { self.limits.max_calls };
        if self.calls >= most {
            self.exhausted = true;
            return Err(limit_reached(most));
        }
        self.calls += 1;
        if changes {
            self.last_change = Some(key.clone());
        }
        let outcome: Arc<OnceCell<ToolOutcome>> = Arc::default();
        self.made.insert(key, Made { times: 1, epoch: self.epoch, outcome: outcome.clone() });
        Ok(Step::Run { tool, outcome, again: false })
    }

    fn unknown(&self, name: &str) -> ToolOutcome {
        let text = match self.offer.is_empty() {
            true => format!("There is no tool '{name}', and no other either: answer without tools."),
            false => format!("There is no tool '{name}'. The tools are: {}.", self.offer.names().join(", ")),
        };
        ToolOutcome::failed(ErrorKind::Unknown, text)
    }

    /// Makes a call and gives its outcome, at once for one that will not run. A call runs once, however often it is asked
    /// for here.
    pub async fn run(&self, prepared: &Prepared) -> ToolOutcome {
        match &prepared.step {
            Step::Settled(outcome) => outcome.as_ref().clone(),
            Step::Run { tool, outcome, again } => {
                let outcome = outcome.get_or_init(|| self.execute(tool.clone(), prepared)).await.clone();
                if *again { outcome.repeated(AGAIN) } else { outcome }
            }
        }
    }

    async fn execute(&self, tool: Arc<dyn Tool>, prepared: &Prepared) -> ToolOutcome {
        let began = Instant::now();
        let outcome = if self.cx.cancel.is_cancelled() { cancelled() } else { self.call(tool, prepared).await };
        let elapsed = began.elapsed();
        let label = outcome.error.map_or("ok", ErrorKind::as_str);
        metrics::histogram!("greenroom_tool_seconds", "tool" => prepared.name.clone()).record(elapsed);
        metrics::counter!("greenroom_tool_calls_total", "tool" => prepared.name.clone(), "outcome" => label)
            .increment(1);
        tracing::debug!(tool = prepared.name, outcome = label, ?elapsed, "tool called");
        let first = || !self.noticed.swap(true, Ordering::Relaxed);
        outcome.told(&prepared.name, self.limits.result_chars, first, elapsed)
    }

    async fn call(&self, tool: Arc<dyn Tool>, prepared: &Prepared) -> ToolOutcome {
        let cancel = self.cx.cancel.child_token();
        let cx = CallContext { cancel: cancel.clone(), ..self.cx.clone() };
        let (arguments, span) = (prepared.arguments.clone(), tracing::info_span!("execute_tool", tool = prepared.name));
        let call = async move { tool.call(&cx, arguments).await };
        let task = AbortOnDropHandle::new(tokio::spawn(call.instrument(span)));
        // Whatever ends the wait, the tool is told.
        let _end = cancel.drop_guard();
        tokio::select! { biased;
            ended = tokio::time::timeout(prepared.timeout, task) => match ended {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => ToolOutcome::failed(ErrorKind::Crashed, "The tool failed because of a fault of its own."),
                Err(_) => timed_out(prepared),
            },
            () = self.cx.cancel.cancelled() => cancelled(),
        }
    }
}

/// The arguments as an object, repaired where that is possible without dropping anything.
fn read(text: &str) -> Option<Map<String, Value>> {
    let text = text.trim();
    if text.is_empty() || text == "null" {
        return Some(Map::new());
    }
    if text.len() > MOST_ARGUMENTS {
        return None;
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(members)) => return Some(members),
        // Written twice over.
        Ok(Value::String(inner)) => return object(&inner),
        Ok(_) => return None,
        Err(_) => {}
    }
    object(text)
}

fn object(text: &str) -> Option<Map<String, Value>> {
    match greenroom_dialect::json::object(text)? {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

/// The call as a text that is the same for the same call, whatever the order of its members.
fn key(name: &str, arguments: &Value) -> String {
    fn write(value: &Value, out: &mut String) {
        match value {
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_unstable_by_key(|(name, _)| *name);
                out.push('{');
                for (name, value) in members {
                    out.push_str(&Value::from(name.as_str()).to_string());
                    out.push(':');
                    write(value, out);
                    out.push(',');
                }
                out.push('}');
            }
            Value::Array(items) => {
                out.push('[');
                for item in items {
                    write(item, out);
                    out.push(',');
                }
                out.push(']');
            }
            other => out.push_str(&other.to_string()),
        }
    }
    let mut key = format!("{name} ");
    write(arguments, &mut key);
    key
}

fn malformed(text: &str) -> ToolOutcome {
    let quote: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTED).collect();
    let text = format!(
        "The call was not made: its arguments are not a JSON object. They begin: {quote}\nIf they were cut off, write a \
         shorter call."
    );
    ToolOutcome::failed(ErrorKind::Malformed, text)
}

fn limit_reached(most: u32) -> ToolOutcome {
    let text = format!("The call was not made: the {most} calls of this turn are used up. Answer with what is known.");
    ToolOutcome::failed(ErrorKind::LimitReached, text)
}

fn timed_out(prepared: &Prepared) -> ToolOutcome {
    let seconds = prepared.timeout.as_secs_f32();
    let doubt = match prepared.effects {
        Effects::ReadOnly => "",
        Effects::Idempotent | Effects::Dangerous => " Whether it took effect is not known.",
    };
    ToolOutcome::failed(ErrorKind::Timeout, format!("The tool gave no answer within {seconds} s.{doubt}"))
}

fn cancelled() -> ToolOutcome {
    ToolOutcome::failed(ErrorKind::Cancelled, "The turn was aborted before the tool had answered.")
}
