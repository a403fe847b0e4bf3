//! `greenroom status`: the live tree of a running server, as text. Its exit code says how the server is: 0 well,
//! 1 degraded, 2 not reachable.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::Status;
use super::client::Client;
use super::terminal::{Style, one_line, say};
use crate::config::Surroundings;

const DEGRADED: u8 = 1;
const UNREACHABLE: u8 = 2;
const EVERY: Duration = Duration::from_secs(1);

/// Runs the command.
///
/// # Errors
/// When the client cannot be built.
pub async fn run(status: Status, around: &Surroundings) -> anyhow::Result<ExitCode> {
    let client = Client::new(&status.place.url, around)?;
    let style = Style::detect(false, around);
    loop {
        let code = once(&client, &status, style).await?;
        if !status.watch {
            return Ok(code);
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(code),
        }
    }
}

async fn once(client: &Client, status: &Status, style: Style) -> anyhow::Result<ExitCode> {
    let (text, code) = match client.get("/status").await {
        Ok(seen) => {
            let code = if seen["healthy"] == true { ExitCode::SUCCESS } else { ExitCode::from(DEGRADED) };
            let text = if status.json { serde_json::to_string_pretty(&seen)? } else { render(&seen, style) };
            (text, code)
        }
        Err(error) if status.watch => (style.bad(&error.to_string()), ExitCode::from(UNREACHABLE)),
        Err(error) => {
            eprintln!("{error}");
            return Ok(ExitCode::from(UNREACHABLE));
        }
    };
    // Clears the screen and goes to its corner.
    let clear = if status.watch && !status.json { "\u{1b}[2J\u{1b}[H" } else { "" };
    say(&format!("{clear}{}\n", text.trim_end()))?;
    Ok(code)
}

fn render(seen: &Value, style: Style) -> String {
    let mut out = String::new();
    let word = seen["status"].as_str().unwrap_or("?");
    let word = if word == "ok" { style.good(word) } else { style.bad(word) };
    let turns = (&seen["turns"]["active"], &seen["turns"]["streaming"]);
    let pool = &seen["store"]["pool"];
    let _ = writeln!(
        out,
        "{} {word}   version {}   up {:.0} s   turns {} ({} streaming)   connections {}   pool {}/{}",
        style.bold("greenroom"),
        text(&seen["version"]),
        seen["uptime_seconds"].as_f64().unwrap_or_default(),
        turns.0,
        turns.1,
        seen["connections"],
        pool["in_use"],
        pool["max"],
    );
    let actors = seen["actors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let width = actors.iter().map(|actor| indent(actor) + text(&actor["name"]).len()).max().unwrap_or_default();
    for actor in actors {
        let name = format!("{:pad$}{}", "", text(&actor["name"]), pad = indent(actor));
        let state = text(&actor["state"]);
        let padded = format!("{state:10}");
        let state = match state.as_str() {
            "up" => style.good(&padded),
            "down" => style.bad(&padded),
            _ => style.warn(&padded),
        };
        let _ = write!(out, "{name:width$}  {state}  handled {}", actor["handled"]);
        for (word, value) in
            [("restarts", &actor["restarts"]), ("waiting", &actor["mailbox_depth"]), ("in flight", &actor["in_flight"])]
        {
            if value.as_i64().unwrap_or_default() != 0 {
                let _ = write!(out, "  {word} {value}");
            }
        }
        for note in [&actor["note"], &actor["last_failure"]] {
            if let Some(note) = note.as_str() {
                let _ = write!(out, "  {}", style.dim(&one_line(note, 120)));
            }
        }
        out.push('\n');
    }
    if let Some(more) = seen["turns_not_shown"].as_u64().filter(|more| *more > 0) {
        let _ = writeln!(out, "and {more} more turns");
    }
    out
}

fn indent(actor: &Value) -> usize {
    actor["depth"].as_u64().and_then(|depth| usize::try_from(depth).ok()).unwrap_or_default().min(8) * 2
}

fn text(value: &Value) -> String {
    one_line(value.as_str().unwrap_or_default(), 80)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_tree_is_indented_and_troubles_are_named() {
        let seen = json!({
            "status": "degraded", "version": "1", "uptime_seconds": 5.4, "turns": {"active": 2, "streaming": 1},
            "connections": 3, "store": {"pool": {"in_use": 1, "max": 16}}, "turns_not_shown": 7,
            "actors": [
                {"name": "root", "depth": 0, "state": "up", "handled": 4, "restarts": 0, "mailbox_depth": 0},
                {"name": "bot:nova\u{1b}[2J", "depth": 1, "state": "down", "handled": 9, "restarts": 2, "mailbox_depth": 1,
                 "last_failure": "it broke\nbadly"},
            ],
        });
        let text = render(&seen, Style::bare());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("greenroom degraded") && lines[0].contains("turns 2 (1 streaming)"), "{text}");
        assert!(lines[1].starts_with("root "));
        assert!(lines[2].starts_with("  bot:nova[2J") && lines[2].contains("restarts 2  waiting 1  it broke badly"));
        assert_eq!(lines[3], "and 7 more turns");
    }
}
