//! What memory adds to the time to the first token: a bot with memories, vectors and summaries against the stateless one,
//! in the same run, over the same upstream that answers at once. Every prompt is new, so that each is embedded.

use greenroom_test_support::load::{Part, Row, Scratch, quantile, say};
use serde_json::json;

use crate::corpus::{Dice, conversation, memories};
use crate::house::{House, Plot, WINDOW};
use crate::options::Options;
use crate::turns::{self, Asked};

/// Milliseconds more than the stateless bot.
const BUDGET: f64 = 8.0;
/// A window as large models have it.
const LARGE_WINDOW: u64 = 128_000;
/// Turns of a block on each side.
const PER_BLOCK: usize = 25;

const SPARK: Asked = Asked { bot: "spark", model: "scripted", user: "ann" };
const KEEPER: Asked = Asked { bot: "keeper", model: "scripted", user: "ann" };
const WIDE: Asked = Asked { bot: "keeper", model: "wide", user: "ann" };
const BRIEF: Asked = Asked { bot: "brief", model: "wide", user: "ann" };

/// Measures and gives the lines of the table.
///
/// # Errors
/// When there is no model or no server, or an answer is wrong.
pub async fn measure(options: &Options, scratch: &Scratch) -> anyhow::Result<Vec<Row>> {
    let (upstream_part, upstream) = Part::upstream().await?;
    let house = House::open(options, scratch, Plot { name: "first-token", embedder: true }).await?;
    house.define_model("scripted", upstream, WINDOW).await?;
    house.define_model("wide", upstream, LARGE_WINDOW).await?;
    let (mut dice, now) = (Dice(5), jiff::Timestamp::now().as_second());
    for (bot, said) in [("keeper", options.amount(2000, 500)), ("brief", 10)] {
        house.create_bot(bot).await?;
        house.import(&conversation(bot, said, now - 600, &mut dice)).await?;
    }
    house.import(&memories("keeper", 400, &mut dice)).await?;
    house.embedded("keeper").await?;
    house.post("/v1/history/summarize?bot_id=keeper&use_heuristic=true", &json!({})).await?;
    let stats = house.stats("keeper").await?;
    say(&format!(
        "memory: first-token: {} messages, {} of them summarised, {} memories",
        stats["messages"]["total_count"], stats["messages"]["summarized_count"], stats["memories"]["total_count"],
    ));
    house.indexed("keeper").await?;
    house.indexed("brief").await?;
    let amount = (options.amount(options.rounds, 2), PER_BLOCK);
    let times = turns::ask(&house, upstream, &[SPARK, KEEPER, WIDE, BRIEF], amount).await?;
    house.close().await?;
    upstream_part.stop().await?;
    let added = times.difference(1, 0);
    let note = |name: &str, of: usize| Row {
        ratio: format!("{:+.2} ms", times.difference(of, 0)),
        ..Row::note(name, format!("{:.2} ms", times.middle(0)), format!("{:.2} ms", times.middle(of)))
    };
    let ninth = |of: usize| format!("{:.2} ms", quantile(&times.all(of), 0.9));
    Ok(vec![
        Row {
            budget: format!("≤ +{BUDGET:.0} ms"),
            kept: Some(added <= BUDGET),
            figure: Some(("memory_first_token_added_ms", added)),
            ..note("first token with memory, p50", 1)
        },
        Row::note("first token with memory, p90", ninth(0), ninth(1)),
        note("the same with a window of 128,000 tokens", 2),
        note("short history, nothing to recall", 3),
    ])
}
