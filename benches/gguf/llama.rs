//! llama.cpp in a Python child, from `.local/llama-cpp` where that is installed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::json;

/// The child; killed with its holder.
pub struct Llama {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// How long it took to load the model.
    pub load_ms: f64,
    /// Resident memory that the model takes after the newest turn.
    pub resident_mb: f64,
}

#[derive(Deserialize)]
struct Hello {
    load_ms: f64,
}

/// What a turn came to, in tokens a second.
#[derive(Deserialize)]
pub struct Turn {
    /// Reading the prompt.
    pub prefill: f64,
    /// Answering.
    pub decode: f64,
    resident_mb: f64,
}

impl Llama {
    /// Starts the child and has it load the model; `None` where it is not installed.
    pub fn start(root: &Path, model: &Path, threads: usize) -> anyhow::Result<Option<Self>> {
        let python = root.join(".local/llama-cpp/bin/python");
        if !python.exists() {
            return Ok(None);
        }
        let mut child = Command::new(python)
            .arg(root.join("benches/gguf/llama_side.py"))
            .arg(model)
            .arg(threads.to_string())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let ask = child.stdin.take().context("a pipe")?;
        let mut answers = BufReader::new(child.stdout.take().context("a pipe")?);
        let hello: Hello = answer(&mut answers)?;
        Ok(Some(Self { child, ask, answers, load_ms: hello.load_ms, resident_mb: 0.0 }))
    }

    /// Reads a prompt and answers it.
    pub fn turn(&mut self, prompt: &str, tokens: u32) -> anyhow::Result<Turn> {
        writeln!(self.ask, "{}", json!({"prompt": prompt, "tokens": tokens}))?;
        self.ask.flush()?;
        let turn: Turn = answer(&mut self.answers)?;
        self.resident_mb = turn.resident_mb;
        Ok(turn)
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answer<T: for<'a> Deserialize<'a>>(answers: &mut impl BufRead) -> anyhow::Result<T> {
    let mut line = String::new();
    if answers.read_line(&mut line)? == 0 {
        bail!("the Python side has ended");
    }
    Ok(serde_json::from_str(&line)?)
}
