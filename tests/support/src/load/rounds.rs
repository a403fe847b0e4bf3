//! The measurements themselves: alternating rounds against the bare proxy and the server, and the lines they give.
//!
//! Invariant: both sides get the same requests in the same run, one after the other, and a ratio is taken within a
//! round before rounds are compared. Deliberately absent: starting and stopping (`stage.rs`).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::job::{Job, Report, Tally};
use super::measure::{cpu_seconds, descendants, mebibytes, median, memory_of, quantile, to_f64};
use super::process::{Part, plain_request, say};
use super::stage::Options;
use super::table::Row;

/// Milliseconds that the server may add to the first content token.
const FIRST_TOKEN_BUDGET: f64 = 0.5;
/// Share of the bare proxy's turns per second.
const TURNS_BUDGET: f64 = 0.5;
/// Resident memory in terms of the bare proxy's.
const MEMORY_BUDGET: f64 = 1.5;
/// Blocks into which the sequential requests are cut.
const BLOCKS: usize = 8;
/// The longest that any one measurement may take.
const JOB_LIMIT: Duration = Duration::from_secs(300);
/// Rest before memory is read, so that what is passing has passed.
const SETTLE: Duration = Duration::from_secs(1);
/// Streams that are being opened at once.
const OPENING: usize = 128;

/// One of the two that are compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side {
    pub address: SocketAddr,
    pub pid: u32,
}

impl Side {
    fn target(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// What is compared: the bare proxy first, the server second.
pub(super) struct Stage {
    pub options: Options,
    pub upstream: SocketAddr,
    pub sides: [Side; 2],
}

/// What one side shows while its streams are open.
#[derive(Debug, Clone, Default)]
struct Held {
    served: usize,
    finished: usize,
    resident: f64,
    children: f64,
    opened_in: f64,
}

impl Stage {
    /// Time to the first content token of one stream at a time.
    pub async fn latency(&self) -> io::Result<Vec<Row>> {
        let direct = format!("http://{}", self.upstream);
        let targets = vec![direct, self.sides[0].target(), self.sides[1].target()];
        let per_block = self.options.requests.div_ceil(BLOCKS);
        let mut client = Part::client(&Job::Latency { targets, blocks: BLOCKS, per_block })?;
        let Report::Latency { targets } = client.report(JOB_LIMIT).await? else { return Err(out_of_turn()) };
        client.stop().await?;
        let [direct, proxy, ours] = targets.as_slice() else { return Err(out_of_turn()) };
        let middles = |blocks: &[Vec<f64>]| blocks.iter().map(|block| median(block) / 1000.0).collect::<Vec<_>>();
        let ninths = |blocks: &[Vec<f64>]| quantile(&blocks.concat(), 0.9) / 1000.0;
        let (of_direct, of_proxy, of_ours) = (middles(direct), middles(proxy), middles(ours));
        let added: Vec<f64> = of_ours.iter().zip(&of_proxy).map(|(ours, proxy)| ours - proxy).collect();
        let added = median(&added);
        let milliseconds = |value: f64| format!("{value:.3} ms");
        let main = Row {
            ratio: format!("{added:+.3} ms"),
            budget: "≤ +0.5 ms".into(),
            kept: Some(added <= FIRST_TOKEN_BUDGET),
            figure: Some(("first_token_added_ms", added)),
            ..Row::note("first content token, p50", milliseconds(median(&of_proxy)), milliseconds(median(&of_ours)))
        };
        Ok(vec![
            main,
            Row::note("first content token, p90", milliseconds(ninths(proxy)), milliseconds(ninths(ours))),
            Row::note("first content token, no proxy, p50", milliseconds(median(&of_direct)), String::new()),
        ])
    }

    /// Whole turns by many workers.
    pub async fn turns(&self) -> io::Result<Vec<Row>> {
        let Options { turns, workers, chunks, rounds, .. } = self.options;
        let (mut rates, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
        let (mut totals, mut cpu) = ([Tally::default(), Tally::default()], [0.0; 2]);
        for round in 0..rounds {
            let mut rate = [0.0; 2];
            for (index, side) in self.sides.iter().enumerate() {
                let before = cpu_seconds(side.pid);
                let mut client = Part::client(&Job::Turns { target: side.target(), workers, turns, chunks })?;
                let Report::Turns(tally) = client.report(JOB_LIMIT).await? else { return Err(out_of_turn()) };
                client.stop().await?;
                cpu[index] += cpu_seconds(side.pid) - before;
                rate[index] = to_f64(tally.right as u64) / tally.seconds.max(f64::EPSILON);
                totals[index].add(&tally);
                rates[index].push(rate[index]);
            }
            ratios.push(rate[1] / rate[0].max(f64::EPSILON));
            say(&format!("stage: turns, round {}: {:.0}/s and {:.0}/s", round + 1, rate[0], rate[1]));
        }
        let [proxy, ours] = &totals;
        if ours.wrong() > 0 {
            say(&format!("stage: one wrong turn: {}", ours.example));
        }
        let ratio = median(&ratios);
        let all = to_f64((turns * rounds) as u64);
        let main = Row {
            ratio: format!("{ratio:.2}"),
            budget: "≥ 0.5".into(),
            kept: Some(ratio >= TURNS_BUDGET),
            figure: Some(("turns_ratio", ratio)),
            ..Row::note(
                &format!("{chunks}-chunk turns, {workers} streams"),
                format!("{:.0}/s", median(&rates[0])),
                format!("{:.0}/s", median(&rates[1])),
            )
        };
        let exact = Row {
            budget: "0 wrong".into(),
            kept: Some(ours.wrong() == 0),
            vital: true,
            figure: Some(("turns_wrong", to_f64(ours.wrong() as u64))),
            ..Row::note(&format!("of {:.0} turns: exact", all), proxy.right.to_string(), exactness(ours))
        };
        let per_turn = |seconds: f64| format!("{:.3} ms", seconds * 1000.0 / all);
        Ok(vec![main, exact, Row::note("CPU of the process per turn", per_turn(cpu[0]), per_turn(cpu[1]))])
    }

    /// Streams that are all open at once.
    pub async fn hold(&self) -> io::Result<Vec<Row>> {
        let streams = self.options.streams;
        let (mut seen, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
        for round in 0..self.options.rounds.min(2) {
            for (index, side) in self.sides.iter().enumerate() {
                let held = self.hold_one(side).await?;
                say(&format!(
                    "stage: {streams} streams, round {}, {}: {} with a first chunk after {:.1} s, {} finished, {}",
                    round + 1,
                    ["proxy", "server"][index],
                    held.served,
                    held.opened_in,
                    held.finished,
                    mebibytes(held.resident),
                ));
                seen[index].push(held);
            }
            let last = |index: usize| seen[index].last().map_or(0.0, |held| held.resident);
            ratios.push(last(1) / last(0).max(1.0));
        }
        let [proxy, ours] = &seen;
        let middle = |held: &[Held], pick: fn(&Held) -> f64| median(&held.iter().map(pick).collect::<Vec<_>>());
        let least = |held: &[Held], pick: fn(&Held) -> usize| held.iter().map(pick).min().unwrap_or(0);
        let ratio = median(&ratios);
        let all_right = least(ours, |held| held.served) == streams && least(ours, |held| held.finished) == streams;
        let memory = Row {
            ratio: format!("{ratio:.2}"),
            budget: "≤ 1.5".into(),
            kept: Some(ratio <= MEMORY_BUDGET),
            figure: Some(("open_streams_memory_ratio", ratio)),
            ..Row::note(
                &format!("resident memory at {streams} streams"),
                mebibytes(middle(proxy, |held| held.resident)),
                mebibytes(middle(ours, |held| held.resident)),
            )
        };
        let served = Row {
            budget: "all".into(),
            kept: Some(all_right),
            vital: true,
            figure: Some(("open_streams_served", to_f64(least(ours, |held| held.served) as u64))),
            ..Row::note(
                &format!("of {streams} streams: first chunk / finished"),
                format!("{} / {}", least(proxy, |held| held.served), least(proxy, |held| held.finished)),
                format!("{} / {}", least(ours, |held| held.served), least(ours, |held| held.finished)),
            )
        };
        let children = mebibytes(middle(ours, |held| held.children));
        Ok(vec![served, memory, Row::note("its database meanwhile", String::new(), children)])
    }

    async fn hold_one(&self, side: &Side) -> io::Result<Held> {
        let job = Job::Hold { target: side.target(), streams: self.options.streams, opening: OPENING };
        let mut client = Part::client(&job)?;
        let Report::Held { first, seconds, failed, example } = client.report(JOB_LIMIT).await? else {
            return Err(out_of_turn());
        };
        if failed > 0 {
            say(&format!("stage: one stream that did not open: {example}"));
        }
        tokio::time::sleep(SETTLE).await;
        let resident = to_f64(memory_of(side.pid).resident);
        let children: u64 = descendants(side.pid).into_iter().map(|child| memory_of(child).proportional).sum();
        client.go_on().await?;
        plain_request(self.upstream, "POST", "/control/release", "").await?;
        let Report::Turns(tally) = client.report(JOB_LIMIT).await? else { return Err(out_of_turn()) };
        client.stop().await?;
        if tally.wrong() > 0 {
            say(&format!("stage: one stream that did not finish: {}", tally.example));
        }
        Ok(Held { served: first, finished: tally.right, resident, children: to_f64(children), opened_in: seconds })
    }
}

fn exactness(tally: &Tally) -> String {
    match (tally.different, tally.unfinished, tally.failed) {
        (0, 0, 0) => tally.right.to_string(),
        (different, unfinished, failed) => {
            format!("{} ({different} different, {unfinished} unfinished, {failed} failed)", tally.right)
        }
    }
}

fn out_of_turn() -> io::Error {
    io::Error::other("the client reported something else than it was asked for")
}
