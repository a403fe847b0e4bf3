//! `greenroom export`: everything that bots were told and have learnt, as lines that `greenroom import` reads back. A file
//! appears under its name only when it is whole: the server's last line says how much there was to be.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::Value;

use super::Export;
use super::client::{Client, query};
use super::transfer::progress::Progress;
use crate::config::Surroundings;
use crate::transfer::{Line, Overrides, Totals};

/// Longest line of an export.
const LINE_LIMIT: usize = 64 << 20;

/// Runs the command.
///
/// # Errors
/// When the server refuses, the stream breaks, or nothing can be written.
pub async fn run(export: Export, around: &Surroundings) -> anyhow::Result<ExitCode> {
    let client = Client::new(&export.place.url, around)?;
    let kind = export.kind.map(super::ExportKind::word);
    let path = format!("/v1/export{}", query(&[("bot_id", export.bot.as_deref()), ("kind", kind)]));
    let mut lines = client.lines(&path, LINE_LIMIT).await?;
    let mut sink = Sink::open(export.output.as_deref())?;
    let mut progress = Progress::new(None);
    let (mut totals, mut bytes) = (Totals::default(), 0);
    let end = loop {
        let Some(line) = lines.next().await? else { bail!("the export broke off; what was written is not whole") };
        match kind_of(&line) {
            Some("message") => totals.messages += 1,
            Some("memory") => totals.memories += 1,
            _ => match Line::parse(&line, &Overrides::default()).context("the server sent an odd line")? {
                Line::End(end) => break end,
                Line::Broken(why) => bail!("the export broke off: {why}"),
                Line::Record(_) => {}
            },
        }
        sink.write(&line)?;
        bytes += line.len() as u64 + 1;
        if totals.all().is_multiple_of(500) {
            progress.show(bytes, format!("{} messages, {} memories", totals.messages, totals.memories));
        }
    };
    progress.finish();
    if end != totals {
        bail!("the server counted {} records, but {} arrived", end.all(), totals.all());
    }
    sink.write(Value::Object(crate::transfer::end_line(end)).to_string().as_bytes())?;
    sink.finish()?;
    eprintln!("{} messages and {} memories", totals.messages, totals.memories);
    Ok(ExitCode::SUCCESS)
}

/// The kind of a line as the server writes it: the first member. Saves parsing every text once more.
fn kind_of(line: &[u8]) -> Option<&'static str> {
    let kinds: [(&[u8], &str); 2] = [(br#"{"kind":"message","#, "message"), (br#"{"kind":"memory","#, "memory")];
    kinds.into_iter().find(|(begins, _)| line.starts_with(begins)).map(|(_, kind)| kind)
}

/// Standard output, or a file that is named only when it is whole.
enum Sink {
    Out(std::io::BufWriter<std::io::Stdout>),
    File { file: std::io::BufWriter<std::fs::File>, aside: PathBuf, path: PathBuf },
}

impl Sink {
    fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path.filter(|path| path.as_os_str() != "-") else {
            return Ok(Self::Out(std::io::BufWriter::new(std::io::stdout())));
        };
        let mut name = path.file_name().context("the output has no name")?.to_owned();
        name.push(".part");
        let aside = path.with_file_name(name);
        let file = std::fs::File::create(&aside).with_context(|| format!("cannot write {}", aside.display()))?;
        Ok(Self::File { file: std::io::BufWriter::new(file), aside, path: path.to_owned() })
    }

    fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        let out: &mut dyn Write = match self {
            Self::Out(out) => out,
            Self::File { file, .. } => file,
        };
        out.write_all(line)?;
        out.write_all(b"\n")
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Out(mut out) => Ok(out.flush()?),
            Self::File { mut file, aside, path } => {
                file.flush()?;
                file.get_ref().sync_all()?;
                Ok(std::fs::rename(&aside, &path).with_context(|| format!("cannot write {}", path.display()))?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_without_parsing() {
        assert_eq!(kind_of(br#"{"kind":"message","bot_id":"a"}"#), Some("message"));
        assert_eq!(kind_of(br#"{"kind":"memory","bot_id":"a"}"#), Some("memory"));
        assert_eq!(kind_of(br#"{"kind":"end","messages":1}"#), None);
    }
}
