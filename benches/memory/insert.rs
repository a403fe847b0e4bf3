//! How fast messages are taken in by `POST /v1/import`, one request after the other, without embedding them.

use greenroom_test_support::load::{Row, Scratch, mebibytes, median, memory_of, say};

use crate::corpus::{Dice, conversation};
use crate::house::{House, Plot};
use crate::options::Options;

/// Messages a second.
const BUDGET: f64 = 2000.0;
/// Most rounds; each has a bot of its own.
const ROUNDS: usize = 2;
/// The time of the last message, in seconds since 1970.
const UNTIL: i64 = 1_750_000_000;

/// Measures and gives the lines of the table.
///
/// # Errors
/// When there is no server or a message is not stored.
pub async fn measure(options: &Options, scratch: &Scratch) -> anyhow::Result<Vec<Row>> {
    let messages = options.amount(100_000, 20_000);
    let house = House::open(options, scratch, Plot { name: "insert", embedder: false }).await?;
    let (mut rates, mut dice) = (Vec::new(), Dice(3));
    for round in 0..options.rounds.min(ROUNDS) {
        let bot = format!("clerk-{round}");
        house.create_bot(&bot).await?;
        let records = conversation(&bot, messages, UNTIL, &mut dice);
        let took = house.import(&records).await?.as_secs_f64();
        let rate = messages as f64 / took;
        say(&format!("memory: import, round {}: {messages} messages in {took:.1} s", round + 1));
        rates.push(rate);
    }
    let memory = memory_of(house.pid()).resident as f64;
    house.close().await?;
    let rate = median(&rates);
    let main = Row {
        budget: format!("≥ {BUDGET:.0}/s"),
        kept: Some(rate >= BUDGET),
        figure: Some(("import_per_s", rate)),
        ..Row::note(&format!("import of {messages} messages"), String::new(), format!("{rate:.0}/s"))
    };
    Ok(vec![main, Row::note("memory of the server afterwards", String::new(), mebibytes(memory))])
}
