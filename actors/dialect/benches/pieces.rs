//! What taking apart and sanitising costs per piece of a stream: they stand in the way of every one.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use greenroom_dialect::{LeakFilter, Splitter, ToolFormat};

const PIECES: usize = 256;
const WORDS: [&str; 8] = ["It", " was", " to", " be", " expected", ",", " so\n", "<i>"];

fn pieces(words: &[&str]) -> Vec<String> {
    words.iter().cycle().take(PIECES).map(|word| (*word).to_owned()).collect()
}

fn split(c: &mut Criterion) {
    let names: Arc<[String]> = ["memory", "history", "search", "time"].map(str::to_owned).into();
    let mut group = c.benchmark_group("pieces");
    group.throughput(Throughput::Elements(PIECES as u64));
    for (what, words) in [("prose", &WORDS[..6]), ("prose, lines and tags", &WORDS[..])] {
        for format in [ToolFormat::None, ToolFormat::Native, ToolFormat::React] {
            group.bench_function(format!("{what}, {}", format.as_str()), |b| {
                b.iter_batched(
                    || (Splitter::new(format, names.clone()), pieces(words)),
                    |(mut splitter, pieces)| {
                        for piece in pieces {
                            black_box(splitter.push(piece));
                        }
                        splitter
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    let text = pieces(&WORDS).concat();
    group.bench_function("whole", |b| b.iter(|| LeakFilter::whole(black_box(&text))));
    group.finish();
}

criterion_group!(benches, split);
criterion_main!(benches);
