//! What the events of a Chat Completions stream mean.

use serde_json::Value;

use super::chunk::{Chunk, Finish};
use super::mistral::Leak;
use crate::event::{CompletionRequest, ProviderEvent};
use crate::http::fold::{Fault, Reader};
use crate::http::progress::Progress;

/// A reader of the answer to a request.
pub(crate) fn reader(request: &CompletionRequest) -> Box<dyn Reader> {
    Box::new(ChatReader { leak: (!request.tools.is_empty()).then(Leak::default) })
}

#[derive(Debug)]
struct ChatReader {
    /// Looks for calls in the text, where tools were offered.
    leak: Option<Leak>,
}

impl Reader for ChatReader {
    fn event(
        &mut self,
        event: &str,
        data: &str,
        answer: &mut Progress,
        out: &mut Vec<ProviderEvent>,
    ) -> Result<(), Fault> {
        if data == "[DONE]" {
            answer.end();
            return Ok(());
        }
        let chunk = match Chunk::read(data) {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(()),
            // plain words are some gateway's sign of life; half an object is lost text
            Err(_) if data.starts_with(['{', '[']) => return Err(Fault::Broken("an event is not JSON")),
            Err(_) if event == "error" => return Err(Fault::Upstream(Value::from(data))),
            Err(_) => return Ok(()),
        };
        if event == "error" && chunk.error.is_none() {
            return Err(Fault::Upstream(serde_json::from_str(data).unwrap_or(Value::Null)));
        }
        self.chunk(chunk, answer, out)
    }

    fn whole(&mut self, body: &str, answer: &mut Progress, out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        match Chunk::read(body) {
            Err(_) => Err(Fault::Broken("the answer is neither an event stream nor JSON")),
            Ok(None) => Ok(()),
            Ok(Some(chunk)) => {
                let says_something = chunk.whole || chunk.text.is_some() || chunk.finish.is_some();
                self.chunk(chunk, answer, out)?;
                if says_something {
                    answer.end();
                }
                Ok(())
            }
        }
    }

    fn close(&mut self, answer: &mut Progress, out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        let Some(leak) = self.leak.take() else { return Ok(()) };
        let found = leak.finish();
        // what the server did understand is not told twice
        if !answer.has_calls() {
            for call in found.calls {
                answer.call(call)?;
            }
        }
        answer.text(found.text, out);
        Ok(())
    }
}

impl ChatReader {
    fn chunk(&mut self, chunk: Chunk, answer: &mut Progress, out: &mut Vec<ProviderEvent>) -> Result<(), Fault> {
        if let Some(error) = chunk.error {
            return Err(Fault::Upstream(error));
        }
        if let Some(usage) = chunk.usage {
            answer.report_usage(usage);
        }
        if let Some(model) = chunk.model {
            answer.model(&model, out);
        }
        // some servers end a stream with the whole message once more
        let held = self.leak.as_ref().is_some_and(Leak::is_holding);
        let text_told = chunk.whole && (answer.has_text() || held);
        let reasoning_told = chunk.whole && answer.has_reasoning();
        let calls_told = chunk.whole && answer.has_calls();
        if let Some(reasoning) = chunk.reasoning.filter(|_| !reasoning_told) {
            answer.reasoning(reasoning, out);
        }
        if let Some(text) = chunk.text.filter(|_| !text_told) {
            let text = match &mut self.leak {
                None => text,
                Some(leak) => leak.pass(text)?,
            };
            answer.text(text, out);
        }
        if !calls_told {
            for piece in chunk.calls {
                answer.call(piece)?;
            }
        }
        match chunk.finish {
            Some(Finish::Failed) => Err(Fault::Upstream(Value::from("the provider failed"))),
            Some(Finish::Reason(reason)) => {
                answer.finish(reason);
                Ok(())
            }
            None => Ok(()),
        }
    }
}
