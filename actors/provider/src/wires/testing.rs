//! What the tests of several wires need: the body that goes out to a model, and golden streams.
//!
//! A golden stream is two files: its bytes, and one line for each event in `.expected`.

use std::fs;
use std::path::PathBuf;

use greenroom_protocol::{Message, Role};
use jiff::Timestamp;
use proptest::sample::Index;
use serde_json::Value;

use super::{Wire, Written};
use crate::definition::ModelDefinition;
use crate::endpoint::{Endpoint, Route, route};
use crate::error::ProviderError;
use crate::event::{CompletionRequest, ProviderEvent};
use crate::http::fold::{Fault, Fold};
use crate::http::learned::Learned;
use crate::settings::ProviderSettings;

type Write = fn(&ModelDefinition, &Endpoint, &CompletionRequest, &Learned) -> Result<Written, ProviderError>;

/// What a writer makes of a request to the model that `entry` defines.
pub(super) fn written(entry: Value, request: &CompletionRequest, write: Write) -> (Value, Written) {
    let Value::Object(entry) = entry else { unreachable!() };
    let definition = crate::draft::read_seed("m", &entry, Timestamp::UNIX_EPOCH).unwrap();
    let Ok(Route::Http(endpoint)) = route(&definition, &ProviderSettings::default()) else { unreachable!() };
    let written = write(&definition, &endpoint, request, &Learned::default()).unwrap();
    (serde_json::from_slice(&written.body).unwrap(), written)
}

/// A fold over the answer to a prompt of 100 characters.
pub(super) fn fold(wire: Wire, local_stops: &[&str]) -> Fold {
    let messages = vec![Message::text(Role::User, "x".repeat(100))];
    let stops = local_stops.iter().map(|stop| (*stop).to_owned()).collect();
    wire.fold(&CompletionRequest { messages, ..CompletionRequest::default() }, stops)
}

/// The events of an answer, one line each, and how it broke if it did.
pub(super) fn replay<'a>(wire: Wire, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let (mut fold, mut events, mut result) = (fold(wire, &[]), Vec::new(), Ok(()));
    for piece in pieces {
        result = result.and_then(|()| fold.feed(piece, &mut events));
    }
    result = result.and_then(|()| fold.end(&mut events));
    let mut lines = shown(&events);
    match result {
        Ok(()) => {}
        Err(Fault::Broken(why)) => lines.push(format!("broken {why}")),
        Err(Fault::Upstream(error)) => lines.push(format!("upstream {error}")),
        Err(Fault::WebPage) => lines.push("web page".into()),
    }
    lines
}

/// Events as lines.
pub(super) fn shown(events: &[ProviderEvent]) -> Vec<String> {
    events.iter().flat_map(lines).collect()
}

fn lines(event: &ProviderEvent) -> Vec<String> {
    match event {
        ProviderEvent::Text(text) => vec![format!("text {}", serde_json::to_string(text).unwrap())],
        ProviderEvent::Reasoning(text) => vec![format!("reasoning {}", serde_json::to_string(text).unwrap())],
        ProviderEvent::Metadata { upstream_model } => vec![format!("model {upstream_model}")],
        ProviderEvent::Finished(reason) => vec![format!("finished {}", reason.as_str())],
        ProviderEvent::ToolCalls(calls) => calls
            .iter()
            .map(|call| {
                let made = call.id.starts_with("call_") && call.id.len() == 13; // random, so not comparable
                format!("call {} {} {}", if made { "?" } else { &call.id }, call.name, call.arguments)
            })
            .collect(),
        ProviderEvent::Usage(usage) => vec![format!(
            "usage input={} cached={} output={} reasoning={}{}",
            usage.input,
            usage.cached_input,
            usage.output,
            usage.reasoning,
            if usage.estimated { " estimated" } else { "" }
        )],
    }
}

/// Replays every golden stream in a folder of `tests/streams`: whole, cut once at every byte, and byte by byte.
pub(super) fn replay_all(wire: Wire, folder: &str, extension: &str, at_least: usize) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/streams").join(folder);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let streams: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|own| own == extension)).collect();
    assert!(streams.len() >= at_least, "{} streams", streams.len());
    for path in streams {
        let (name, bytes) = (path.display(), fs::read(&path).unwrap());
        let expected: Vec<String> =
            fs::read_to_string(path.with_extension("expected")).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(replay(wire, [bytes.as_slice()]), expected, "{name}");
        for at in 0..=bytes.len() {
            let (a, b) = bytes.split_at(at);
            assert_eq!(replay(wire, [a, b]), expected, "{name} cut at {at}");
        }
        assert_eq!(replay(wire, bytes.chunks(1)), expected, "{name} byte by byte");
    }
}

/// Bytes cut at any places.
pub(super) fn cut<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}
