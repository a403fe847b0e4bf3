//! Time and memory of both indexes with made-up texts whose words are as unevenly common as in a language (Zipf).
//!
//! `cargo run --release -p greenroom-lexicon --example speed -- [COUNT …]` (1,000, 100,000 and 1,000,000 by default).

use std::time::{Duration, Instant};

use greenroom_lexicon::{Cast, Episode, EpisodeIndex, Filter, Role, TextIndex};
use jiff::Timestamp;
use uuid::Uuid;

/// Different words in the language.
const WORDS: f64 = 60_000.0;
const QUERIES: usize = 300;

/// A small generator (xorshift64*), so that runs can be compared.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A word, the n-th commonest about n times rarer than the first.
    fn word(&mut self) -> String {
        let rank = WORDS.powf(self.next()) as u64;
        let mut name = String::from("w");
        let mut rest = rank;
        while rest > 0 {
            name.push(char::from(b'b' + (rest % 20) as u8));
            rest /= 20;
        }
        name
    }

    fn text(&mut self, words: usize) -> String {
        (0..words).map(|_| self.word()).collect::<Vec<_>>().join(" ")
    }
}

fn times(mut run: impl FnMut(usize)) -> (Duration, Duration) {
    let mut times: Vec<Duration> = (0..QUERIES)
        .map(|number| {
            let start = Instant::now();
            run(number);
            start.elapsed()
        })
        .collect();
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

fn main() {
    let counts: Vec<usize> = std::env::args().skip(1).filter_map(|count| count.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![1_000, 100_000, 1_000_000] } else { counts };
    println!("{:>9} {:>9} {:>10} {:>9} {:>9} {:>9}", "texts", "kind", "load", "MB", "p50", "p99");
    for count in counts {
        let mut random = Random(42);
        let queries: Vec<String> = (0..QUERIES).map(|_| random.text(6)).collect();
        let start = Instant::now();
        let mut texts = TextIndex::new();
        for number in 0..count {
            texts.insert(Uuid::from_u128(number as u128), &random.text(15));
        }
        let load = start.elapsed();
        let (median, slow) = times(|number| assert!(texts.search(&queries[number], 50).len() <= 50));
        println!("{count:>9} {:>9} {load:>10.1?} {:>9} {median:>9.2?} {slow:>9.2?}", "memories", texts.bytes() >> 20);
        drop(texts);

        let start = Instant::now();
        let mut episodes = EpisodeIndex::new();
        for number in (0..count).rev() {
            episodes.insert(Episode {
                id: Uuid::from_u128(number as u128),
                at: number as i64 * 60_000_000,
                seq: number as i64,
                session: Some(Uuid::from_u128(number as u128 / 20)),
                user: Some("ann"),
                role: if number % 2 == 0 { Role::User } else { Role::Assistant },
                content: &random.text(20),
            });
        }
        let load = start.elapsed();
        let cast = Cast::default();
        let (median, slow) = times(|number| {
            let question = episodes.question(&queries[number], &cast, Timestamp::UNIX_EPOCH);
            let found = episodes.candidates(&question, &Filter::default(), 200);
            let ids: Vec<Uuid> = (0..200).map(|other| Uuid::from_u128((number * 977 + other * 31) as u128)).collect();
            assert!(found.len() + episodes.describe(&question, &Filter::default(), &ids).len() <= 400);
        });
        println!(
            "{count:>9} {:>9} {load:>10.1?} {:>9} {median:>9.2?} {slow:>9.2?}",
            "messages",
            episodes.bytes() >> 20
        );
    }
}
