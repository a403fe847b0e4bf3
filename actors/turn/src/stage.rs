//! The seven stages by name, and the clock that times each of them, the failing one included.

use std::time::Instant;

use serde_json::{Map, Value};

/// A stage of the turn, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    PreProcess,
    ContextBuild,
    MemoryRetrieval,
    HistoryFilter,
    MessageAssembly,
    Execute,
    PostProcess,
}

impl Stage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PreProcess => "pre_process",
            Self::ContextBuild => "context_build",
            Self::MemoryRetrieval => "memory_retrieval",
            Self::HistoryFilter => "history_filter",
            Self::MessageAssembly => "message_assembly",
            Self::Execute => "execute",
            Self::PostProcess => "post_process",
        }
    }
}

/// Times the stages of one turn.
#[derive(Debug)]
pub(crate) struct StageClock {
    current: Stage,
    since: Instant,
    done: Vec<(Stage, f64)>,
}

impl StageClock {
    pub(crate) fn start() -> Self {
        Self { current: Stage::PreProcess, since: Instant::now(), done: Vec::with_capacity(7) }
    }

    /// The present stage is over, `next` begins.
    pub(crate) fn enter(&mut self, next: Stage) {
        self.stop();
        self.current = next;
        self.since = Instant::now();
    }

    /// The present stage is over and was the last, for whatever reason.
    pub(crate) fn stop(&mut self) {
        let milliseconds = self.since.elapsed().as_secs_f64() * 1000.0;
        self.done.push((self.current, milliseconds));
        metrics::histogram!("greenroom_stage_seconds", "stage" => self.current.name()).record(milliseconds / 1000.0);
    }

    /// The stage that is running, or ran last.
    pub(crate) fn current(&self) -> Stage {
        self.current
    }

    /// Milliseconds per stage.
    pub(crate) fn timings(&self) -> Value {
        let entries = self.done.iter().map(|(stage, ms)| (stage.name().to_owned(), Value::from(*ms)));
        Value::Object(entries.collect::<Map<_, _>>())
    }
}
