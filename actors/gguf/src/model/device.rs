//! Models on a CUDA device, run by candle's own forward passes; the weights are copied there.
//!
//! What candle does not offer (Gemma 1 and 2) stays on the CPU, as does everything where there is no device. Its passes cannot
//! go back: a conversation that does not go on where the last one ended is read from the beginning.

use std::io::Cursor;

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Result, Tensor};
use candle_transformers::models::{
    quantized_gemma3, quantized_llama, quantized_phi, quantized_phi3, quantized_qwen2, quantized_qwen3,
};

use super::{Architecture, Broken};
use crate::error::GgufError;
use crate::file::GgufFile;

/// A model on a device.
pub(crate) struct DeviceModel {
    weights: Weights,
    device: Device,
    logits: Vec<f32>,
    /// Tokens in its cache.
    length: usize,
}

enum Weights {
    Llama(quantized_llama::ModelWeights),
    Qwen2(quantized_qwen2::ModelWeights),
    Qwen3(quantized_qwen3::ModelWeights),
    Gemma3(quantized_gemma3::ModelWeights),
    Phi2(quantized_phi::ModelWeights),
    Phi3(quantized_phi3::ModelWeights),
}

impl DeviceModel {
    /// The model on the first CUDA device; `None` where there is none, or where candle does not offer the family.
    pub(crate) fn on_cuda(file: &GgufFile, family: Architecture) -> std::result::Result<Option<Self>, GgufError> {
        match Device::cuda_if_available(0) {
            Ok(device) if device.is_cuda() => Self::on(device, file, family),
            _ => Ok(None),
        }
    }

    /// The model on a device.
    fn on(device: Device, file: &GgufFile, family: Architecture) -> std::result::Result<Option<Self>, GgufError> {
        let load = || -> Result<Option<Weights>> {
            let mut bytes = Cursor::new(file.bytes());
            let content = Content::read(&mut bytes)?;
            Ok(Some(match family {
                Architecture::Llama => {
                    Weights::Llama(quantized_llama::ModelWeights::from_gguf(content, &mut bytes, &device)?)
                }
                Architecture::Qwen2 => {
                    Weights::Qwen2(quantized_qwen2::ModelWeights::from_gguf(content, &mut bytes, &device)?)
                }
                Architecture::Qwen3 => {
                    Weights::Qwen3(quantized_qwen3::ModelWeights::from_gguf(content, &mut bytes, &device)?)
                }
                Architecture::Gemma3 => {
                    Weights::Gemma3(quantized_gemma3::ModelWeights::from_gguf(content, &mut bytes, &device)?)
                }
                Architecture::Phi2 => {
                    Weights::Phi2(quantized_phi::ModelWeights::from_gguf(content, &mut bytes, &device)?)
                }
                Architecture::Phi3 => {
                    Weights::Phi3(quantized_phi3::ModelWeights::from_gguf(false, content, &mut bytes, &device)?)
                }
                Architecture::Gemma | Architecture::Gemma2 => return Ok(None),
            }))
        };
        let weights = load().map_err(|error| GgufError::Failed(error.to_string()))?;
        Ok(weights.map(|weights| Self { weights, device, logits: Vec::new(), length: 0 }))
    }

    /// From how many of `same` known tokens it can go on.
    pub(super) fn resumes_at(&self, same: usize) -> usize {
        if same == self.length { same } else { 0 }
    }

    pub(super) fn pass(&mut self, tokens: &[u32], start: usize, wants_logits: bool) -> std::result::Result<(), Broken> {
        self.run(tokens, start, wants_logits).map_err(|error| {
            tracing::error!(%error, "a pass on the device failed");
            Broken
        })
    }

    pub(super) fn logits(&mut self) -> &mut [f32] {
        &mut self.logits
    }

    fn run(&mut self, tokens: &[u32], start: usize, wants_logits: bool) -> Result<()> {
        let input = Tensor::new(tokens, &self.device)?.unsqueeze(0)?;
        let output = match &mut self.weights {
            Weights::Llama(model) => model.forward(&input, start)?,
            Weights::Qwen2(model) => model.forward(&input, start)?,
            Weights::Qwen3(model) => {
                if start == 0 {
                    model.clear_kv_cache();
                }
                model.forward(&input, start)?
            }
            Weights::Gemma3(model) => model.forward(&input, start)?,
            Weights::Phi2(model) => model.forward(&input, start)?,
            Weights::Phi3(model) => model.forward(&input, start)?,
        };
        self.length = start + tokens.len();
        if wants_logits {
            self.logits = output.flatten_all()?.to_dtype(candle_core::DType::F32)?.to_vec1()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fearless_simd::Level;

    use crate::model::{Model, Team};
    use crate::sample::Sample;

    /// On the CPU, which is a device as well, candle comes to about the same logits.
    #[test]
    fn candle_computes_what_the_kernels_do() {
        let folder = tempfile::tempdir().expect("a folder");
        for family in [Architecture::Qwen2, Architecture::Qwen3, Architecture::Phi2] {
            let path = folder.path().join(family.name());
            Sample::tiny(family).write(&path).expect("written");
            let file = GgufFile::open(&path).expect("a model");
            let mut candle = DeviceModel::on(Device::Cpu, &file, family).expect("loaded").expect("offered");
            let model = Model::new(file, 512).expect("a model");
            let mut team = Team::start(model.into(), Level::new(), 1, 512).expect("a team");
            let tokens: Vec<u32> = (0..40).map(|n| n * 13 % 600).collect();
            for range in [0..38, 38..39, 39..40] {
                candle.pass(&tokens[range.clone()], range.start, true).expect("a pass");
                team.pass(&tokens[range.clone()], range.start, true).expect("a pass");
            }
            assert_eq!((candle.resumes_at(40), candle.resumes_at(39)), (40, 0));
            let pairs = candle.logits().iter().zip(team.logits());
            let off = pairs.map(|(theirs, ours)| (*theirs - *ours).abs()).fold(0.0, f32::max);
            assert!(off < 1.0, "{}: logits are {off} off", family.name());
        }
    }
}
