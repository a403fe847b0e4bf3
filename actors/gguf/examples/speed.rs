//! Temporary.
use std::path::PathBuf;
use std::time::Instant;
use greenroom_gguf::sample::Sample;
use greenroom_gguf::*;
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let path = PathBuf::from("/tmp/gr4/g/rig.gguf");
    if !path.exists() {
        Sample::rig().write(&path).unwrap();
    }
    let args: Vec<usize> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let threads = args.first().copied().unwrap_or(2);
    let began = Instant::now();
    let engine = Engine::load(path, LoadOptions { threads, ..LoadOptions::default() }).await.unwrap();
    println!("load {:?}", began.elapsed());
    let mut best = (f64::MAX, f64::MAX);
    let mut all = vec![];
    for round in 0..args.get(1).copied().unwrap_or(5) {
        let text: String = (0..150).map(|n| format!("word{round} other{n} ")).collect();
        let began = Instant::now();
        let request = Request { prompt: Prompt::Text(text), sampling: Sampling::default(), stops: vec![], max_tokens: Some(128) };
        let mut reply = engine.generate(request, CancellationToken::new()).unwrap();
        let mut first = None;
        while let Some(event) = reply.next().await {
            match event.unwrap() {
                Event::Text(_) => { first.get_or_insert_with(Instant::now); }
                Event::Finish { usage, .. } => {
                    let first = first.unwrap();
                    let prefill = (first - began).as_secs_f64() / f64::from(usage.prompt_tokens - usage.reused_tokens);
                    let decode = first.elapsed().as_secs_f64() / f64::from(usage.completion_tokens - 1);
                    all.push((1.0 / prefill, 1.0 / decode));
                    best = (best.0.min(prefill), best.1.min(decode));
                    if round == 0 { println!("{usage:?}"); }
                }
            }
        }
    }
    println!("all {all:.0?}");
    println!("prefill {:.0} tok/s, decode {:.0} tok/s", 1.0 / best.0, 1.0 / best.1);
}
