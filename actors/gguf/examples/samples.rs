//! Writes the model files of the tests into a folder: `cargo run -p greenroom-gguf --features testing --example samples -- DIR`.

use std::path::Path;

use greenroom_gguf::sample::Sample;
use greenroom_gguf::{Architecture, Quant};

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    for family in [
        Architecture::Llama,
        Architecture::Qwen2,
        Architecture::Qwen3,
        Architecture::Gemma,
        Architecture::Gemma2,
        Architecture::Gemma3,
        Architecture::Phi2,
        Architecture::Phi3,
    ] {
        Sample::tiny(family).write(&folder.join(format!("{}.gguf", family.name())))?;
    }
    Sample { quant: Quant::F32, ..Sample::tiny(Architecture::Llama) }.write(&folder.join("llama-f32.gguf"))
}
