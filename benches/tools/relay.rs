//! What a piece of text takes through the server while many streams are open: the model writes the time into each piece,
//! the reader takes it off the time at which it has the piece.
//!
//! Pieces are paced: of all streams together one at a time, evenly spread, so that what is measured is the way of a piece
//! and not a queue of the rig's own making. The bare proxy shows what any step in between costs on this machine.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use greenroom_test_support::load::{Part, Row, median, quantile, say};

use crate::house::House;
use crate::line::{Line, chat};
use crate::model::Model;
use crate::options::Options;

/// Microseconds that a piece may take longer than from the model itself, at the 99th percentile.
const BUDGET: f64 = 50.0;
/// Pieces of each stream that are not counted.
const WARM: usize = 10;
/// Rest between the opening of the streams and their first piece.
const SETTLE: Duration = Duration::from_millis(500);

/// Microseconds on the way in each round: the median and the 99th percentile.
#[derive(Debug, Default)]
struct Way {
    middle: Vec<f64>,
    late: Vec<f64>,
}

/// Measures and gives the lines of the table.
///
/// # Errors
/// When a stream does not open or loses a piece.
pub async fn measure(options: &Options, house: &House, model: &Model) -> anyhow::Result<Vec<Row>> {
    let (proxy_part, proxy) = Part::proxy(model.address()).await?;
    let targets = [model.address(), proxy, house.address()];
    let (streams, rounds) = (options.streams, options.rounds(5));
    let pieces = WARM + options.amount(90, 15);
    let every = Duration::from_millis(options.every as u64);
    let mut ways = [const { Way { middle: Vec::new(), late: Vec::new() } }; 3];
    for round in 0..=rounds {
        for (way, target) in ways.iter_mut().zip(targets) {
            let pieces = if round == 0 { WARM + 1 } else { pieces };
            let model = model.clone();
            let took = crate::apart(move || carry(target, &model, (streams, pieces), every)).await?;
            if round > 0 {
                way.middle.push(median(&took));
                way.late.push(quantile(&took, 0.99));
            }
        }
        if round > 0 {
            let late = ways.each_ref().map(|way| way.late.last().map_or(0.0, |late| *late));
            say(&format!("tools: relay, round {round}: p99 {:.0}, {:.0} and {:.0} µs", late[0], late[1], late[2]));
        }
    }
    proxy_part.stop().await?;
    let [direct, proxy, ours] = ways;
    let added = |ours: &[f64], direct: &[f64]| {
        median(&ours.iter().zip(direct).map(|(ours, direct)| ours - direct).collect::<Vec<_>>())
    };
    let told = |times: &[f64]| format!("{:.0} µs", median(times));
    let row = |name: &str, of: &[f64], direct: &[f64]| Row {
        ratio: format!("{:+.0} µs", added(of, direct)),
        ..Row::note(name, told(direct), told(of))
    };
    let late = added(&ours.late, &direct.late);
    let rate = 1.0 / every.as_secs_f64();
    Ok(vec![
        Row {
            budget: format!("≤ +{BUDGET:.0} µs"),
            kept: Some(late <= BUDGET),
            figure: Some(("relay_added_p99_us", late)),
            ..row(&format!("a piece on its way, {streams} streams × {rate:.0}/s, p99"), &ours.late, &direct.late)
        },
        row("the same, p50", &ours.middle, &direct.middle),
        Row {
            figure: Some(("bare_proxy_added_p99_us", added(&proxy.late, &direct.late))),
            ..row("the same through a bare proxy instead, p99", &proxy.late, &direct.late)
        },
        row("the same through a bare proxy instead, p50", &proxy.middle, &direct.middle),
    ])
}

/// Opens the streams, says all pieces, and gives the microseconds that each took.
fn carry(
    target: SocketAddr,
    model: &Model,
    (streams, pieces): (usize, usize),
    every: Duration,
) -> anyhow::Result<Vec<f64>> {
    let origin = Instant::now();
    std::thread::scope(|scope| {
        let readers: Vec<_> =
            (0..streams).map(|number| scope.spawn(move || read(target, number, origin, pieces))).collect();
        let spoken = speak(model, streams, pieces, every, origin);
        let mut took = Vec::with_capacity(streams * pieces);
        for reader in readers {
            took.extend(reader.join().map_err(|_| anyhow!("a reader panicked"))??);
        }
        spoken.map(|()| took)
    })
}

fn speak(model: &Model, streams: usize, pieces: usize, every: Duration, origin: Instant) -> anyhow::Result<()> {
    let mut puppets = model.puppets(streams)?;
    std::thread::sleep(SETTLE);
    let step = every / u32::try_from(streams)?;
    let mut due = Instant::now();
    for _ in 0..pieces {
        for puppet in &mut puppets {
            // A late piece puts off those behind it instead of crowding them.
            due = (due + step).max(Instant::now());
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            puppet.say(&format!("{} ", origin.elapsed().as_nanos()))?;
        }
    }
    puppets.into_iter().try_for_each(|puppet| puppet.end().context("the end of a stream"))
}

fn read(target: SocketAddr, number: usize, origin: Instant, pieces: usize) -> anyhow::Result<Vec<f64>> {
    let mut line = Line::open(target)?;
    let mut answer = line.ask(&chat("native", &format!("user-{number}"), "[[puppet]] Talk for a while."))?;
    let (mut took, mut before) = (Vec::with_capacity(pieces), 0);
    while let Some(piece) = answer.next()? {
        let at = (piece.at - origin).as_nanos();
        for stamp in piece.text.split_whitespace() {
            let stamp: u128 = stamp.parse().with_context(|| format!("'{}' is no time", piece.text))?;
            ensure!(before < stamp && stamp <= at, "a piece came twice, too early or out of order");
            before = stamp;
            took.push((at - stamp) as f64 / 1e3);
        }
    }
    ensure!(took.len() == pieces, "{} pieces of {pieces} arrived", took.len());
    Ok(took.split_off(WARM))
}
