//! Our own time for each round of a turn that calls a tool: turns with seven rounds against turns with none, less what the
//! same requests take when a bare client sends them to the model one after the other.
//!
//! What a turn costs anyway is in both kinds of turn and so in no difference; what the model and the reading of it cost is
//! in the repetition, which sends the very bytes that the server sent.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, ensure};
use greenroom_test_support::load::{Row, median, quantile};

use crate::house::House;
use crate::line::{Line, chat};
use crate::model::{ANSWER, FORMATS, MOST_ROUNDS, Model};
use crate::options::Options;

/// Milliseconds of our own for each round.
const BUDGET: f64 = 1.0;
/// Rounds of the turns that call tools: with the answer, as many passes as a turn may have tools in.
const ROUNDS: usize = 7;
const _: () = assert!(ROUNDS < MOST_ROUNDS);
/// Turns of a block on each side.
const PER_BLOCK: usize = 25;

/// Milliseconds of one round, block by block.
#[derive(Debug, Default)]
struct Times {
    server: Vec<f64>,
    model: Vec<f64>,
}

/// Measures and gives the lines of the table.
///
/// # Errors
/// When an answer is wrong or a tool was not called.
pub async fn measure(options: &Options, house: &House, model: &Model) -> anyhow::Result<Vec<Row>> {
    let (blocks, per_block) = (options.rounds(12), options.amount(PER_BLOCK, 3));
    let mut rows = Vec::new();
    for (format, name) in FORMATS {
        let (server, model) = (house.address(), model.clone());
        let times = crate::apart(move || times(server, &model, format, (blocks, per_block)));
        let times = times.await.with_context(|| format!("calls as {name}"))?;
        let added: Vec<f64> = times.server.iter().zip(&times.model).map(|(ours, model)| ours - model).collect();
        let middle = median(&added);
        let told = |times: &[f64]| format!("{:.3} ms", median(times));
        let note = Row {
            ratio: format!("{middle:+.3} ms"),
            ..Row::note(&format!("a round with a tool, {name}"), told(&times.model), told(&times.server))
        };
        rows.push(match format {
            "native" => Row {
                budget: format!("≤ +{BUDGET:.0} ms"),
                kept: Some(middle <= BUDGET),
                figure: Some(("tool_round_trip_ms", middle)),
                ..note
            },
            _ => note,
        });
        if format == "native" {
            let worst = Row::note("worst block of it", String::new(), String::new());
            rows.push(Row { ratio: format!("{:+.3} ms", quantile(&added, 1.0)), ..worst });
        }
    }
    Ok(rows)
}

fn times(server: SocketAddr, model: &Model, format: &str, amount: (usize, usize)) -> anyhow::Result<Times> {
    let (blocks, per_block) = amount;
    let prompt = |rounds: usize| chat(format, "ann", &format!("[[rounds={rounds}]] What time is it there?"));
    let (short, long) = (prompt(0), prompt(ROUNDS));
    let mut ours = Line::open(server)?;
    let mut direct = Line::open(model.address())?;
    let repeat_short = seen(&mut ours, model, &short, 1)?;
    let repeat_long = seen(&mut ours, model, &long, ROUNDS + 1)?;
    let mut times = Times::default();
    // The first block warms connections, caches and branch predictors, and is thrown away.
    for block in 0..=blocks {
        let before = model.asked();
        let mut took = [const { Vec::new() }; 4];
        for _ in 0..per_block {
            took[0].push(turn(&mut ours, &short)?);
            took[1].push(turn(&mut ours, &long)?);
            took[2].push(repeated(&mut direct, &repeat_short)?);
            took[3].push(repeated(&mut direct, &repeat_long)?);
        }
        let asked = model.asked() - before;
        ensure!(asked == per_block * 2 * (ROUNDS + 2), "the model was asked {asked} times: tools were not called");
        model.take_requests();
        if block > 0 {
            let each = |long: &[f64], short: &[f64]| (median(long) - median(short)) / ROUNDS as f64;
            times.server.push(each(&took[1], &took[0]));
            times.model.push(each(&took[3], &took[2]));
        }
    }
    Ok(times)
}

/// Takes a turn; the requests that the model saw in it.
fn seen(line: &mut Line, model: &Model, body: &[u8], count: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    model.take_requests();
    turn(line, body)?;
    let requests = model.take_requests();
    ensure!(requests.len() == count, "{} requests instead of {count} in a turn", requests.len());
    Ok(requests)
}

/// Takes a turn; milliseconds to its first text.
fn turn(line: &mut Line, body: &[u8]) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut answer = line.ask(body)?;
    let first = answer.next()?.context("an answer without text")?;
    let text = first.text + &answer.rest()?;
    ensure!(text.trim() == ANSWER, "a wrong answer: '{text}'");
    Ok((first.at - begun).as_secs_f64() * 1e3)
}

/// Sends requests one after the other, each when the one before is answered; milliseconds to the last one's first text.
fn repeated(line: &mut Line, requests: &[Vec<u8>]) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let (last, before) = requests.split_last().context("nothing to repeat")?;
    for request in before {
        line.ask(request)?.rest()?;
    }
    let mut answer = line.ask(last)?;
    let first = answer.next()?.context("an answer without text")?;
    answer.rest()?;
    Ok((first.at - begun).as_secs_f64() * 1e3)
}
