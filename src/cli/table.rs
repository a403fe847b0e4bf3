//! Rows for people to read, and asking before something is deleted.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

use serde_json::Value;

use super::terminal::{Style, one_line, say};

/// Widest a column gets, but for the last one.
const WIDEST: usize = 40;

/// A table being filled.
#[derive(Debug)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these columns.
    #[must_use]
    pub fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; every cell becomes one harmless line, the last one as long as `most`.
    pub fn row(&mut self, cells: &[String], most: usize) {
        let last = cells.len().saturating_sub(1);
        let cells = cells.iter().enumerate();
        self.rows.push(cells.map(|(at, cell)| one_line(cell, if at == last { most } else { WIDEST })).collect());
    }

    /// The text; a sentence when there is no row.
    #[must_use]
    pub fn render(&self, style: Style, nothing: &str) -> String {
        if self.rows.is_empty() {
            return format!("{nothing}\n");
        }
        let width = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
            cells.chain([self.head[at].len()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded = cells
                .zip(&widths)
                .map(|(cell, width)| format!("{cell}{}", " ".repeat(width.saturating_sub(cell.chars().count()))));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let mut text = format!("{}\n", style.dim(&line(&mut self.head.iter().copied())));
        for row in &self.rows {
            text.push_str(&line(&mut row.iter().map(String::as_str)));
            text.push('\n');
        }
        text
    }
}

/// A value as a cell: text without quotes, nothing for null.
#[must_use]
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// A number with two decimals.
#[must_use]
pub fn decimal(value: &Value) -> String {
    value.as_f64().map(|number| format!("{number:.2}")).unwrap_or_default()
}

/// Unix seconds as a date and a minute.
#[must_use]
pub fn minute(value: &Value) -> String {
    let at = value.as_f64().and_then(|seconds| crate::transfer::moment(&seconds.to_string()));
    at.map(|at| at.strftime("%Y-%m-%d %H:%M").to_string()).unwrap_or_default()
}

/// The first digits of an id: enough to name it.
#[must_use]
pub fn short(id: &Value) -> String {
    id.as_str().unwrap_or_default().chars().take(8).collect()
}

/// Members of an answer's list.
#[must_use]
pub fn items<'a>(answer: &'a Value, member: &str) -> &'a [Value] {
    answer[member].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// An answer as JSON, or in words.
///
/// # Errors
/// When nothing can be written.
pub fn tell(answer: &Value, as_json: bool, words: impl FnOnce() -> String) -> anyhow::Result<ExitCode> {
    let text = if as_json { format!("{answer:#}\n") } else { words() };
    say(&text)?;
    let failed = answer["success"] == false || !items(answer, "errors").is_empty();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Whether to go on with something that deletes. Without a person to ask, only `yes` means yes.
///
/// # Errors
/// When there is nobody to ask, or the answer cannot be read.
pub fn confirmed(question: &str, yes: bool) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        anyhow::bail!("{question}: there is nobody to ask; add --yes to do it");
    }
    eprint!("{question}? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_line_up_and_control_characters_do_not_pass() {
        let mut table = Table::new(&["id", "text"]);
        table.row(&["1".into(), "a\u{1b}[2J\nb".into()], 80);
        table.row(&["1234567890".into(), "ü".repeat(9)], 4);
        assert_eq!(table.render(Style::bare(), "none"), "id          text\n1           a[2J b\n1234567890  üüüü…\n");
        assert_eq!(Table::new(&["id"]).render(Style::bare(), "none"), "none\n");
    }

    #[test]
    fn values_become_cells() {
        assert_eq!(cell(&json!(["a", 1, null])), "a,1,");
        assert_eq!((decimal(&json!(0.456)), decimal(&json!(null))), ("0.46".into(), String::new()));
        assert_eq!((minute(&json!(60.5)), short(&json!("0123456789"))), ("1970-01-01 00:01".into(), "01234567".into()));
    }
}
