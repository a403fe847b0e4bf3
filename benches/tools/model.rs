//! The scripted model: a server on threads that does as little as a server can, and does it the same way whoever asks.
//!
//! The marker in the prompt says what is wanted. `[[rounds=N]]`: N times a call of the `time` tool, in the format that the
//! model's name says, then [`ANSWER`]; each pass leaves in one write. `[[puppet]]`: the stream is handed to the rig, which
//! says what it wants when it wants. Invariant: what is answered depends on the request alone, so a request that is
//! repeated is answered alike. Deliberately absent: judging requests.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

/// What it says in the end.
pub const ANSWER: &str = "It is noon in one of these places and night in another.";
/// Whose clocks it looks at: no two calls of a turn are alike.
const ZONES: [&str; 8] = [
    "Asia/Tokyo",
    "Europe/Vienna",
    "America/Lima",
    "Africa/Nairobi",
    "Australia/Perth",
    "America/Denver",
    "Asia/Kolkata",
    "Europe/Oslo",
];
/// The most rounds that it can be asked for.
pub const MOST_ROUNDS: usize = ZONES.len();
/// Largest request.
const LONGEST: usize = 1 << 22;
/// How long streams are waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a model tells of calls; its name for the server and on the wire.
pub const FORMATS: [(&str, &str); 3] = [("native", "native"), ("react", "ReAct"), ("xml", "XML")];

#[derive(Debug, Default)]
struct Shared {
    asked: AtomicUsize,
    requests: Mutex<Vec<Vec<u8>>>,
    puppets: Mutex<Vec<Puppet>>,
    came: Condvar,
}

/// The running model. Its threads wait in reads and end with the process.
#[derive(Debug, Clone)]
pub struct Model {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Model {
    /// Starts it on a free loopback port.
    ///
    /// # Errors
    /// When there is none.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (address, shared) = (listener.local_addr()?, Arc::new(Shared::default()));
        let own = shared.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let shared = own.clone();
                // A client that leaves ends its connection's thread.
                std::thread::spawn(move || serve(socket, &shared));
            }
        });
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Passes asked for since the start.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// The bodies of the requests since this was last called. Only those of rounds are kept.
    pub fn take_requests(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *locked(&self.shared.requests))
    }

    /// Waits until so many streams are handed over.
    ///
    /// # Errors
    /// When they do not come.
    pub fn puppets(&self, count: usize) -> anyhow::Result<Vec<Puppet>> {
        let here = locked(&self.shared.puppets);
        let waited = self.shared.came.wait_timeout_while(here, PATIENCE, |here| here.len() < count);
        let (mut here, _) = waited.unwrap_or_else(PoisonError::into_inner);
        ensure!(here.len() == count, "{} streams instead of {count} reached the model", here.len());
        Ok(std::mem::take(&mut *here))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream that says what it is told to say.
#[derive(Debug)]
pub struct Puppet(TcpStream);

impl Puppet {
    /// Says a piece of text, at once.
    ///
    /// # Errors
    /// When nobody listens any more.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(chunked(&event(&content(text))).as_bytes())
    }

    /// Ends the answer.
    ///
    /// # Errors
    /// When nobody listens any more.
    pub fn end(mut self) -> io::Result<()> {
        let mut rest = event(&choice(&json!({}), Some("stop")));
        rest.push_str(DONE);
        self.0.write_all(format!("{}{LAST_CHUNK}", chunked(&rest)).as_bytes())
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n";
const DONE: &str = "data: [DONE]\n\n";
const LAST_CHUNK: &str = "0\r\n\r\n";

fn serve(socket: TcpStream, shared: &Shared) -> anyhow::Result<()> {
    socket.set_nodelay(true)?;
    let mut reader = BufReader::new(socket.try_clone()?);
    let mut socket = socket;
    while let Some((path, body)) = request(&mut reader)? {
        if !path.ends_with("/chat/completions") {
            socket.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")?;
            continue;
        }
        shared.asked.fetch_add(1, Ordering::Relaxed);
        let asked: Value = serde_json::from_slice(&body)?;
        match wish(&asked).context("a prompt without a marker")? {
            Wish::Puppet => {
                let opening = event(&choice(&json!({"role": "assistant", "content": ""}), None));
                socket.write_all(format!("{HEAD}connection: close\r\n\r\n{}", chunked(&opening)).as_bytes())?;
                locked(&shared.puppets).push(Puppet(socket));
                shared.came.notify_all();
                return Ok(());
            }
            Wish::Pass { number, rounds } => {
                let format = asked["model"].as_str().unwrap_or_default();
                let pass = if number < rounds { call(format, number) } else { told(ANSWER) };
                locked(&shared.requests).push(body);
                socket.write_all(format!("{HEAD}\r\n{}{LAST_CHUNK}", chunked(&pass)).as_bytes())?;
            }
        }
    }
    Ok(())
}

/// The path and the body of the next request; none when the client is gone.
fn request(reader: &mut BufReader<TcpStream>) -> anyhow::Result<Option<(String, Vec<u8>)>> {
    let (mut path, mut length, mut line) = (None, 0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        match text.split_once(':') {
            _ if path.is_none() => path = text.split(' ').nth(1).map(str::to_owned),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse()?,
            _ => {}
        }
    }
    ensure!(length <= LONGEST, "a request of {length} bytes");
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(path.map(|path| (path, body)))
}

/// What a request asks for.
enum Wish {
    Puppet,
    /// The pass behind so many rounds, and how many rounds there are to be.
    Pass {
        number: usize,
        rounds: usize,
    },
}

/// What the last marker says; the assistant has spoken once in each round since.
fn wish(request: &Value) -> Option<Wish> {
    let messages = request["messages"].as_array()?;
    let text = |message: &Value| match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    };
    let (at, marker) = messages.iter().enumerate().rev().find_map(|(at, message)| {
        let text = text(message);
        let (_, behind) = text.split_once("[[")?;
        Some((at, behind.split_once("]]")?.0.to_owned()))
    })?;
    if marker == "puppet" {
        return Some(Wish::Puppet);
    }
    let rounds = marker.strip_prefix("rounds=")?.parse().ok()?;
    let number = messages[at..].iter().filter(|message| message["role"] == "assistant").count();
    Some(Wish::Pass { number, rounds })
}

/// A pass that asks for the time in one place more.
fn call(format: &str, number: usize) -> String {
    let arguments = json!({"timezone": ZONES[number % ZONES.len()]});
    match format {
        "react" => told(&format!("Thought: I need the time there.\nAction: time\nAction Input: {arguments}\n")),
        "xml" => told(&format!("<tool_call>{}</tool_call>", json!({"name": "time", "arguments": arguments}))),
        _ => {
            let function = json!({"name": "time", "arguments": arguments.to_string()});
            let call = json!({"index": 0, "id": format!("call_{number}"), "type": "function", "function": function});
            let calls = event(&choice(&json!({"role": "assistant", "tool_calls": [call]}), None));
            format!("{calls}{}{DONE}", event(&choice(&json!({}), Some("tool_calls"))))
        }
    }
}

/// A pass that says this, word by word.
fn told(text: &str) -> String {
    let mut pass = event(&choice(&json!({"role": "assistant", "content": ""}), None));
    pass.extend(text.split_inclusive(' ').map(|word| event(&content(word))));
    format!("{pass}{}{DONE}", event(&choice(&json!({}), Some("stop"))))
}

fn content(text: &str) -> String {
    choice(&json!({"content": text}), None)
}

fn choice(delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    json!({"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": "scripted",
        "choices": [choice]})
    .to_string()
}

fn event(data: &str) -> String {
    format!("data: {data}\n\n")
}

fn chunked(bytes: &str) -> String {
    format!("{:x}\r\n{bytes}\r\n", bytes.len())
}
