//! The client: one blocking connection on a thread of its own, so that nothing stands between the kernel and the clock.
//!
//! Lines are looked at, not parsed, and each piece of text carries the time at which its line was read. Deliberately
//! absent: retries, and answers that are not streamed.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::json;

/// Longest silence on a stream.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a line with text looks like.
const CONTENT: &str = r#""content":"#;

/// A connection to one target.
#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    reader: BufReader<TcpStream>,
}

/// A piece of text and when it was read.
#[derive(Debug)]
pub struct Piece {
    /// Text, never empty.
    pub text: String,
    /// When its line was there.
    pub at: Instant,
}

impl Line {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { address, reader: BufReader::new(socket) })
    }

    /// Sends a chat request; what comes back once its head is there.
    ///
    /// # Errors
    /// When it is refused or not answered with a stream.
    pub fn ask(&mut self, body: &[u8]) -> anyhow::Result<Answer<'_>> {
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             accept: text/event-stream\r\ncontent-length: {}\r\n\r\n",
            self.address,
            body.len(),
        );
        self.reader.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        let (mut status, mut is_chunked, mut line) = (String::new(), false, String::new());
        loop {
            line.clear();
            ensure!(self.reader.read_line(&mut line)? > 0, "the connection was closed before an answer");
            let text = line.trim_end().to_ascii_lowercase();
            if text.is_empty() {
                break;
            }
            if status.is_empty() {
                status = text.split(' ').nth(1).unwrap_or_default().to_owned();
            }
            is_chunked |= text.starts_with("transfer-encoding:") && text.ends_with("chunked");
        }
        if status != "200" || !is_chunked {
            let some = self.reader.fill_buf().unwrap_or_default();
            bail!("status {status}: {}", String::from_utf8_lossy(&some[..some.len().min(300)]));
        }
        let body = BufReader::new(Body { reader: &mut self.reader, left: 0, is_over: false });
        Ok(Answer { body, line: Vec::new(), is_done: false })
    }
}

/// A streamed answer.
#[derive(Debug)]
pub struct Answer<'a> {
    body: BufReader<Body<'a>>,
    line: Vec<u8>,
    is_done: bool,
}

impl Answer<'_> {
    /// The next piece of text; none at the end of the body.
    ///
    /// # Errors
    /// When the stream breaks off or stays silent.
    pub fn next(&mut self) -> anyhow::Result<Option<Piece>> {
        loop {
            self.line.clear();
            let length = self.body.read_until(b'\n', &mut self.line).context("the stream broke off")?;
            let at = Instant::now();
            if length == 0 {
                return Ok(None);
            }
            let line = std::str::from_utf8(&self.line)?.trim_end();
            let Some(data) = line.strip_prefix("data: ") else { continue };
            self.is_done |= data == "[DONE]";
            // Frames of our own carry other members of that name.
            if data.contains("chat.completion.chunk")
                && let Some((_, behind)) = data.split_once(CONTENT)
                && let Some(Ok(text)) = serde_json::Deserializer::from_str(behind).into_iter::<Option<String>>().next()
                && let Some(text) = text.filter(|text| !text.is_empty())
            {
                return Ok(Some(Piece { text, at }));
            }
        }
    }

    /// Reads on to the end; the text of the rest.
    ///
    /// # Errors
    /// When the end is not what it should be.
    pub fn rest(mut self) -> anyhow::Result<String> {
        let mut rest = String::new();
        while let Some(piece) = self.next()? {
            rest.push_str(&piece.text);
        }
        ensure!(self.is_done, "the answer ended without its end marker, behind '{rest}'");
        Ok(rest)
    }
}

/// The body of an answer, its chunks joined.
#[derive(Debug)]
struct Body<'a> {
    reader: &'a mut BufReader<TcpStream>,
    left: usize,
    is_over: bool,
}

impl Body<'_> {
    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line),
        }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_over {
            return Ok(0);
        }
        if self.left == 0 {
            let line = self.line()?;
            self.left = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
            if self.left == 0 {
                self.is_over = true;
                self.line()?;
                return Ok(0);
            }
        }
        let most = buffer.len().min(self.left);
        let length = self.reader.read(&mut buffer[..most])?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= length;
        if self.left == 0 {
            self.line()?;
        }
        Ok(length)
    }
}

/// The body of a request to the server or, all the same, to the model.
pub fn chat(model: &str, user: &str, prompt: &str) -> Vec<u8> {
    let body = json!({"model": model, "bot_id": crate::house::BOT, "user": user, "stream": true,
        "messages": [{"role": "user", "content": prompt}]});
    body.to_string().into_bytes()
}
