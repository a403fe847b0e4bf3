//! Turns that are timed: bots take turns in blocks, so that whatever else the machine does falls on all of them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use greenroom_test_support::load::{Line, median};
use greenroom_test_support::upstream::DEFAULT_ANSWER;
use serde_json::json;

use crate::corpus::Dice;
use crate::house::House;

/// Somebody who is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Bot.
    pub bot: &'static str,
    /// Model alias.
    pub model: &'static str,
    /// Who asks.
    pub user: &'static str,
}

/// Milliseconds to the first content: for each of those asked, block by block.
#[derive(Debug, Default)]
pub struct Times(Vec<Vec<Vec<f64>>>);

impl Times {
    /// The middle of the blocks' middles.
    pub fn middle(&self, of: usize) -> f64 {
        median(&self.middles(of))
    }

    fn middles(&self, of: usize) -> Vec<f64> {
        self.0.get(of).map(|blocks| blocks.iter().map(|block| median(block)).collect()).unwrap_or_default()
    }

    /// All times of one of those asked.
    pub fn all(&self, of: usize) -> Vec<f64> {
        self.0.get(of).map(|blocks| blocks.concat()).unwrap_or_default()
    }

    /// The middle of what one costs more than another, compared within each block.
    pub fn difference(&self, of: usize, than: usize) -> f64 {
        let pairs = self.middles(of).into_iter().zip(self.middles(than));
        median(&pairs.map(|(of, than)| of - than).collect::<Vec<_>>())
    }
}

/// Asks everybody in blocks, each time something new; the first block is thrown away. The direct way to the upstream
/// comes last.
///
/// # Errors
/// When an answer is wrong.
pub async fn ask(
    house: &House,
    upstream: SocketAddr,
    asked: &[Asked],
    (blocks, per_block): (usize, usize),
) -> anyhow::Result<Times> {
    let mut dice = Dice(77);
    let direct = Asked { bot: "spark", model: "scripted", user: "ann" };
    let mut lines = Vec::new();
    for one in asked {
        lines.push((*one, Line::open(&house.url()).await?));
    }
    lines.push((direct, Line::open(&format!("http://{upstream}")).await?));
    let mut times = vec![Vec::new(); lines.len()];
    for block in 0..=blocks {
        for (number, (asked, line)) in lines.iter_mut().enumerate() {
            let mut some = Vec::with_capacity(per_block);
            for _ in 0..per_block {
                let took = line.first_content(body(asked, &dice.question()), DEFAULT_ANSWER).await;
                some.push(milliseconds(took.with_context(|| format!("bot {}", asked.bot))?));
            }
            if let Some(times) = times.get_mut(number).filter(|_| block > 0) {
                times.push(some);
            }
        }
    }
    Ok(Times(times))
}

fn body(asked: &Asked, prompt: &str) -> Bytes {
    let body = json!({"model": asked.model, "bot_id": asked.bot, "user": asked.user, "stream": true,
        "messages": [{"role": "user", "content": prompt}]});
    body.to_string().into()
}

/// A duration in milliseconds.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
