//! `greenroom chat`: a conversation in the terminal, or one question. Ctrl-C during an answer stops the turn on the
//! server and keeps the conversation; Ctrl-C again, or at the prompt, leaves. A stream that breaks is attached to again.

use std::io::{BufRead, IsTerminal, Read};
use std::process::ExitCode;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Chat;
use super::client::{Client, EventSource};
use super::render::{Piece, Reading};
use super::terminal::{Style, say};
use crate::config::Surroundings;

/// How often a broken stream is attached to again.
const REATTACH: usize = 3;
/// The shell's code for "ended by Ctrl-C".
const INTERRUPTED: u8 = 130;

/// How a turn ended, for the person at the keyboard.
enum Outcome {
    /// With text.
    Answered,
    /// Without any text, or broken.
    Empty,
    /// Stopped by the person.
    Stopped,
    /// Somebody wants to leave.
    Leave,
}

struct Conversation {
    client: Client,
    style: Style,
    plain: bool,
    bot: Option<String>,
    user: Option<String>,
    model: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// When there is no server, or standard input cannot be read.
pub async fn run(chat: Chat, around: &Surroundings) -> anyhow::Result<ExitCode> {
    let conversation = Conversation {
        client: Client::new(&chat.place.url, around)?,
        style: Style::detect(chat.plain, around),
        plain: chat.plain,
        bot: chat.bot,
        user: chat.user,
        model: chat.model,
    };
    if !chat.question.is_empty() {
        return conversation.once(&chat.question.join(" ")).await;
    }
    if std::io::stdin().is_terminal() {
        return conversation.converse().await;
    }
    let mut question = String::new();
    std::io::stdin().read_to_string(&mut question)?;
    conversation.once(&question).await
}

impl Conversation {
    async fn once(&self, question: &str) -> anyhow::Result<ExitCode> {
        anyhow::ensure!(!question.trim().is_empty(), "there is no question");
        match self.ask(question).await {
            Ok(Outcome::Answered) => Ok(ExitCode::SUCCESS),
            Ok(Outcome::Empty) => Ok(ExitCode::FAILURE),
            Ok(Outcome::Stopped | Outcome::Leave) => Ok(ExitCode::from(INTERRUPTED)),
            Err(error) => Err(error),
        }
    }

    async fn converse(&self) -> anyhow::Result<ExitCode> {
        self.client.get("/health").await?;
        self.aside(&self.style.dim("Ctrl-C stops an answer, Ctrl-D leaves"));
        let mut lines = lines_of_stdin();
        loop {
            say(&format!("{} ", self.style.bold(">")))?;
            let line = tokio::select! {
                line = lines.recv() => line,
                _ = tokio::signal::ctrl_c() => None,
            };
            let Some(line) = line else {
                say("\n")?;
                return Ok(ExitCode::SUCCESS);
            };
            if line.trim().is_empty() {
                continue;
            }
            match self.ask(&line).await {
                Ok(Outcome::Answered | Outcome::Empty | Outcome::Stopped) => {}
                Ok(Outcome::Leave) => return Ok(ExitCode::from(INTERRUPTED)),
                Err(error) if error.is::<std::io::Error>() => return Err(error),
                Err(error) => eprintln!("{}", self.style.bad(&error.to_string())),
            }
        }
    }

    fn body(&self, question: &str) -> Value {
        let mut body = json!({"messages": [{"role": "user", "content": question}], "stream": true});
        for (name, value) in [("bot_id", &self.bot), ("user", &self.user), ("model", &self.model)] {
            if let Some(value) = value {
                body[name] = value.as_str().into();
            }
        }
        body
    }

    async fn ask(&self, question: &str) -> anyhow::Result<Outcome> {
        let body = self.body(question);
        let mut events = tokio::select! {
            begun = self.client.chat(&body) => begun?,
            _ = tokio::signal::ctrl_c() => return Ok(Outcome::Leave),
        };
        let (mut reading, mut attempts, mut stopping) = (Reading::default(), 0, false);
        let mut paper = Paper { plain: self.plain, in_line: false };
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                _ = tokio::signal::ctrl_c() => {
                    if stopping {
                        paper.finish()?;
                        return Ok(Outcome::Leave);
                    }
                    stopping = true;
                    self.stop(&reading, &mut paper).await?;
                    continue;
                }
            };
            match event {
                Ok(Some(event)) => paper.put(reading.take(event.id.as_deref(), &event.data, self.style))?,
                Ok(None) => break,
                Err(error) => match self.attach_again(&reading, &mut attempts).await {
                    Some(again) => events = again,
                    None => {
                        reading.failure = Some(error.to_string());
                        break;
                    }
                },
            }
        }
        paper.finish()?;
        if let Some(failure) = &reading.failure {
            eprintln!("{}", self.style.bad(failure));
        }
        Ok(match (stopping, reading.answered > 0 && reading.failure.is_none()) {
            (true, _) => Outcome::Stopped,
            (false, true) => Outcome::Answered,
            (false, false) => Outcome::Empty,
        })
    }

    async fn stop(&self, reading: &Reading, paper: &mut Paper) -> std::io::Result<()> {
        let Some(turn) = &reading.turn_id else { return Ok(()) };
        match self.client.abort(turn).await {
            Ok(()) => Ok(()),
            Err(error) => paper.put(vec![Piece::Aside(self.style.bad(&error.to_string()))]),
        }
    }

    async fn attach_again(&self, reading: &Reading, attempts: &mut usize) -> Option<EventSource> {
        let turn = reading.turn_id.as_deref().filter(|_| *attempts < REATTACH)?;
        *attempts += 1;
        self.client.attach(turn, reading.last_event_id()).await.ok()
    }

    fn aside(&self, line: &str) {
        if !self.plain {
            eprintln!("{line}");
        }
    }
}

/// Where an answer is written: text to standard output as it comes, asides on lines of their own to standard error.
struct Paper {
    plain: bool,
    in_line: bool,
}

impl Paper {
    fn put(&mut self, pieces: Vec<Piece>) -> std::io::Result<()> {
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    self.in_line = !text.ends_with('\n');
                    say(&text)?;
                }
                Piece::Aside(_) if self.plain => {}
                Piece::Aside(line) => {
                    self.finish()?;
                    eprintln!("{line}");
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> std::io::Result<()> {
        if std::mem::take(&mut self.in_line) { say("\n") } else { Ok(()) }
    }
}

/// Lines typed by a person. Reading them blocks, so a thread of its own does it, one line ahead at most.
fn lines_of_stdin() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_named_is_sent() {
        let around = Surroundings::default();
        crate::install_crypto();
        let mut conversation = Conversation {
            client: Client::new("localhost:1", &around).unwrap(),
            style: Style::bare(),
            plain: true,
            bot: None,
            user: None,
            model: Some("echo".into()),
        };
        assert_eq!(
            conversation.body("hi"),
            json!({"messages": [{"role": "user", "content": "hi"}], "stream": true, "model": "echo"})
        );
        conversation.bot = Some("mira".into());
        assert_eq!(conversation.body("hi")["bot_id"], "mira");
    }
}
