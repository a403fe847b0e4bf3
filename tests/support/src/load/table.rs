//! The result table and its machine-readable line.

use serde_json::{Value, json};

/// One measured line.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// The yardstick's figure.
    pub baseline: String,
    /// The server's figure.
    pub ours: String,
    /// How the two relate.
    pub ratio: String,
    /// What is promised.
    pub budget: String,
    /// Kept or not; `None` where nothing is promised.
    pub kept: Option<bool>,
    /// A miss means wrong answers, not slow ones.
    pub vital: bool,
    /// For machines: the figure that the budget is about.
    pub figure: Option<(&'static str, f64)>,
}

impl Row {
    /// A line that only informs.
    #[must_use]
    pub fn note(name: &str, baseline: String, ours: String) -> Self {
        let (ratio, budget) = (String::new(), String::new());
        Self { name: name.into(), baseline, ours, ratio, budget, kept: None, vital: false, figure: None }
    }
}

/// The table as text; `yardstick` heads the column of what is compared with.
#[must_use]
pub fn render(rows: &[Row], yardstick: &str) -> String {
    let verdict = |row: &Row| match row.kept {
        None => "",
        Some(true) => "ok",
        Some(false) => "MISSED",
    };
    let cells = |row: &Row| {
        [
            row.name.clone(),
            row.baseline.clone(),
            row.ours.clone(),
            row.ratio.clone(),
            row.budget.clone(),
            verdict(row).into(),
        ]
    };
    let head = ["what", yardstick, "greenroom", "ratio", "budget", ""].map(String::from);
    let lines: Vec<[String; 6]> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let row: Vec<String> = line
            .iter()
            .zip(widths)
            .enumerate()
            .map(
                |(column, (cell, width))| {
                    if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            )
            .collect();
        text.push_str(row.join("  ").trim_end());
        text.push('\n');
        if number == 0 {
            text.push_str(&"-".repeat(widths.iter().sum::<usize>() + 10));
            text.push('\n');
        }
    }
    text
}

/// All figures as one line of JSON after the name of the rig.
#[must_use]
pub fn machine_line(rows: &[Row], rig: &str) -> String {
    let figures: serde_json::Map<String, Value> = rows
        .iter()
        .filter_map(|row| {
            row.figure.map(|(key, value)| (key.to_owned(), json!({"value": round(value), "ok": row.kept})))
        })
        .collect();
    format!("{rig} {}", Value::Object(figures))
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_misses_are_said() {
        let missed = Row {
            name: "turns".into(),
            baseline: "2950/s".into(),
            ours: "900/s".into(),
            ratio: "0.31".into(),
            budget: "≥ 0.5".into(),
            kept: Some(false),
            vital: false,
            figure: Some(("turns_ratio", 0.305_084)),
        };
        let rows = [Row::note("a longer name than that", "1 ms".into(), "2 ms".into()), missed];
        let text = render(&rows, "bare proxy");
        assert!(text.lines().last().is_some_and(|line| line.ends_with("MISSED")), "{text}");
        assert_eq!(machine_line(&rows, "stage"), r#"stage {"turns_ratio":{"ok":false,"value":0.305}}"#);
    }
}
