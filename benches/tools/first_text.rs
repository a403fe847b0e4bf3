//! After how many characters the user sees the first, where tools are taught in the prompt and any text may turn out to be
//! a call: counted, not timed.
//!
//! The count is of what takes the text apart in a turn, letter by letter. The server is held to it: the model says so many
//! characters and then nothing more until the first of them is on the client's screen.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, ensure};
use greenroom_dialect::{Splitter, ToolFormat};
use greenroom_test_support::load::{Row, median, quantile};

use crate::house::House;
use crate::line::{Line, chat};
use crate::model::{FORMATS, Model};
use crate::openings::{ANSWERS, LOOK_ALIKES, Opening};

/// Characters that the model may have said behind its first when the first text is seen.
const BUDGET: f64 = 20.0;
/// All tools that there are.
const NAMES: [&str; 10] =
    ["memory", "history", "profile", "self", "time", "search", "news", "web_fetch", "home", "model"];

/// Measures and gives the lines of the table.
///
/// # Errors
/// When an answer is not shown as it should be.
pub async fn measure(house: &House, model: &Model) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (alias, name) in FORMATS {
        let format = ToolFormat::parse(alias).context("a format that dialect does not know")?;
        if !format.is_text() {
            continue;
        }
        let counted = |openings: &[Opening]| {
            let counts = openings.iter().map(|opening| characters(format, opening).map(|count| (count - 1) as f64));
            counts.collect::<anyhow::Result<Vec<_>>>()
        };
        let (answers, look_alikes) = (counted(ANSWERS)?, counted(LOOK_ALIKES)?);
        let (server, model) = (house.address(), model.clone());
        let shown = crate::apart(move || {
            ANSWERS.iter().chain(LOOK_ALIKES).try_for_each(|opening| show(server, &model, alias, format, opening))
        });
        shown.await.with_context(|| format!("answers in {name}"))?;
        let worst = quantile(&answers, 1.0);
        let told = |count: f64| format!("{count:.0} characters");
        rows.push(Row {
            budget: format!("≤ {BUDGET:.0}"),
            kept: Some(worst <= BUDGET),
            figure: Some(match format {
                ToolFormat::React => ("react_first_text_characters", worst),
                _ => ("xml_first_text_characters", worst),
            }),
            ..Row::note(&format!("first text of {} answers in {name}, worst", answers.len()), told(0.0), told(worst))
        });
        rows.push(Row::note("the same, in the middle", told(0.0), told(median(&answers))));
        let latest = told(quantile(&look_alikes, 1.0));
        rows.push(Row::note("worst of answers that look like a call", told(0.0), latest));
    }
    Ok(rows)
}

/// Characters of the answer that the model has said when its first is shown.
fn characters(format: ToolFormat, opening: &Opening) -> anyhow::Result<usize> {
    let names: Arc<[String]> = NAMES.map(str::to_owned).into();
    let mut splitter = Splitter::new(format, names);
    let before = opening.said.chars().count() - opening.answer.chars().count();
    for (at, letter) in opening.said.chars().enumerate() {
        if !splitter.push(letter.to_string()).prose.is_empty() {
            ensure!(at >= before, "something is shown before the answer of '{}'", opening.said);
            return Ok(at + 1 - before);
        }
    }
    // It is too short for a decision: the end of the pass decides.
    ensure!(!splitter.finish().prose_rest.is_empty(), "nothing is shown of '{}'", opening.said);
    Ok(opening.answer.chars().count())
}

/// Lets the model say an answer, and waits behind the character with which it has to be seen.
fn show(server: SocketAddr, model: &Model, alias: &str, format: ToolFormat, opening: &Opening) -> anyhow::Result<()> {
    let count = characters(format, opening)? + opening.said.chars().count() - opening.answer.chars().count();
    let mut line = Line::open(server)?;
    let mut answer = line.ask(&chat(alias, "ben", "[[puppet]] What time is it there?"))?;
    let mut puppet = model.puppets(1)?.pop().context("no stream")?;
    let mut letters = opening.said.chars().map(|letter| letter.to_string());
    for letter in letters.by_ref().take(count) {
        puppet.say(&letter)?;
    }
    let first = answer.next().with_context(|| format!("nothing is seen of '{}'", opening.said))?;
    let first = first.context("an answer without text")?.text;
    for letter in letters {
        puppet.say(&letter)?;
    }
    puppet.end()?;
    let text = first + &answer.rest()?;
    ensure!(text.trim() == opening.answer, "'{text}' instead of '{}'", opening.answer);
    Ok(())
}
