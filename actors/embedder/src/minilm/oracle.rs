//! The forward pass against a plain one with candle, on small models with random weights, so that no test needs the real
//! ones.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{D, Device, Result, Tensor};
use pulp::Arch;

use super::model::{Model, Workspace};
use super::pieces::{Pieces, Reader};
use super::team::Seat;

const LAYERS: usize = 2;
const WORDS: usize = 50;

/// A folder with a model, gone with its holder.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("greenroom-embedder-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary folder");
        Self(dir)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn shapes() -> Vec<(String, Vec<usize>, f32)> {
    let mut shapes = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![WORDS, 384], 0.5),
        ("embeddings.position_embeddings.weight".to_owned(), vec![512, 384], 0.3),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, 384], 0.1),
        ("embeddings.LayerNorm.weight".to_owned(), vec![384], 1.0),
        ("embeddings.LayerNorm.bias".to_owned(), vec![384], 0.1),
    ];
    for n in 0..LAYERS {
        for (what, outputs, inputs) in [
            ("attention.self.query", 384, 384),
            ("attention.self.key", 384, 384),
            ("attention.self.value", 384, 384),
            ("attention.output.dense", 384, 384),
            ("intermediate.dense", 1536, 384),
            ("output.dense", 384, 1536),
        ] {
            shapes.push((format!("encoder.layer.{n}.{what}.weight"), vec![outputs, inputs], 0.08));
            shapes.push((format!("encoder.layer.{n}.{what}.bias"), vec![outputs], 0.1));
        }
        for what in ["attention.output.LayerNorm", "output.LayerNorm"] {
            shapes.push((format!("encoder.layer.{n}.{what}.weight"), vec![384], 1.0));
            shapes.push((format!("encoder.layer.{n}.{what}.bias"), vec![384], 0.1));
        }
    }
    shapes
}

/// Writes a model with reproducible numbers, and gives its tensors.
fn write(dir: &Path) -> Result<HashMap<String, Tensor>> {
    let mut seed = 7u32;
    let mut tensors = HashMap::new();
    for (name, shape, size) in shapes() {
        let numbers: Vec<f32> = (0..shape.iter().product::<usize>())
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((seed >> 8) as f32 / (1u32 << 23) as f32 - 1.0) * size
            })
            .collect();
        tensors.insert(name, Tensor::from_vec(numbers, shape, &Device::Cpu)?);
    }
    candle_core::safetensors::save(&tensors, dir.join("model.safetensors"))?;
    let config = serde_json::json!({
        "model_type": "bert", "hidden_act": "gelu", "hidden_size": 384, "intermediate_size": 1536,
        "num_hidden_layers": LAYERS, "num_attention_heads": 12, "max_position_embeddings": 512, "vocab_size": WORDS,
        "type_vocab_size": 2, "layer_norm_eps": 1e-12,
    });
    std::fs::write(dir.join("config.json"), config.to_string())?;
    Ok(tensors)
}

struct Plain(HashMap<String, Tensor>);

impl Plain {
    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let x = x.broadcast_div(&(x.sqr()?.mean_keepdim(D::Minus1)? + 1e-12)?.sqrt()?)?;
        x.broadcast_mul(&self.0[&format!("{name}.weight")])?.broadcast_add(&self.0[&format!("{name}.bias")])
    }

    fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        x.matmul(&self.0[&format!("{name}.weight")].t()?)?.broadcast_add(&self.0[&format!("{name}.bias")])
    }

    fn embed(&self, ids: &[u32]) -> Result<Vec<f32>> {
        let length = ids.len();
        let ids = Tensor::new(ids, &Device::Cpu)?;
        let x = self.0["embeddings.word_embeddings.weight"]
            .index_select(&ids, 0)?
            .add(&self.0["embeddings.position_embeddings.weight"].narrow(0, 0, length)?)?
            .broadcast_add(&self.0["embeddings.token_type_embeddings.weight"].get(0)?)?;
        let mut x = self.norm(&x, "embeddings.LayerNorm")?;
        for n in 0..LAYERS {
            let name = |what: &str| format!("encoder.layer.{n}.{what}");
            let heads = |what: &str| {
                let all = self.linear(&x, &name(&format!("attention.self.{what}")))?;
                all.reshape((length, 12, 32))?.transpose(0, 1)?.contiguous()
            };
            let (q, k, v) = (heads("query")?, heads("key")?, heads("value")?);
            let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? / 32f64.sqrt())?;
            let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
            let scores = scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)?;
            let mixed = scores.matmul(&v)?.transpose(0, 1)?.contiguous()?.reshape((length, 384))?;
            let mixed = self.linear(&mixed, &name("attention.output.dense"))?;
            x = self.norm(&(x + mixed)?, &name("attention.output.LayerNorm"))?;
            let wide = self.linear(&x, &name("intermediate.dense"))?.gelu_erf()?;
            x = self.norm(&(&x + self.linear(&wide, &name("output.dense"))?)?, &name("output.LayerNorm"))?;
        }
        x.mean(0)?.to_vec1()
    }
}

fn sequence(length: usize, seed: usize) -> Vec<u32> {
    (0..length).map(|n| u32::try_from((n * n * 31 + n * 17 + seed * 7) % WORDS).expect("small")).collect()
}

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 2e-4, "{what}: {found} is not {expected}");
    }
}

/// The instruction sets that this machine has.
fn archs() -> Vec<Arch> {
    let mut archs = vec![Arch::new(), Arch::Scalar];
    #[cfg(target_arch = "x86_64")]
    archs.extend(pulp::x86::V3::try_new().map(Arch::V3));
    archs
}

#[test]
fn the_pass_equals_a_plain_one_on_all_instruction_sets() {
    let folder = Folder::new("plain");
    let plain = Plain(write(&folder.0).expect("a model"));
    let sequences: Vec<Vec<u32>> =
        [1, 2, 47, 48, 49, 13, 131].iter().enumerate().map(|(n, length)| sequence(*length, n)).collect();
    let expected: Vec<Vec<f32>> = sequences.iter().map(|ids| plain.embed(ids).expect("a plain pass")).collect();
    let pieces = Pieces::new(sequences.iter().map(Vec::as_slice));
    for arch in archs() {
        let model = Model::load(&folder.0, arch).expect("the same model");
        let (mut room, mut interrupts) = (Workspace::default(), 0);
        // Twice: buffers that were used before must not show.
        for _ in 0..2 {
            let found = model.embed(&pieces, None, &mut room, &mut || interrupts += 1).expect("a pass");
            for (found, expected) in found.iter().zip(&expected) {
                assert_close(found, expected, &format!("{arch:?}"));
            }
        }
        assert!(interrupts > 4 * LAYERS);
    }
}

#[test]
fn a_team_finds_what_one_worker_finds() {
    let folder = Folder::new("team");
    let plain = Plain(write(&folder.0).expect("a model"));
    let model = Model::load(&folder.0, Arch::new()).expect("the same model");
    for (helpers, length) in [(1, 9), (2, 70), (4, 256)] {
        let ids = sequence(length, helpers);
        let expected = plain.embed(&ids).expect("a plain pass");
        let mut founds = Vec::new();
        // The leader does not wait long for its helpers, and a busy machine may hold them up.
        while founds.is_empty() {
            let (leader, seats) = Seat::team(Pieces::new(std::iter::once(ids.as_slice())), helpers);
            std::thread::scope(|scope| {
                let members: Vec<_> = std::iter::once(leader)
                    .chain(seats)
                    .map(|mut seat| {
                        let model = &model;
                        scope.spawn(move || {
                            let (input, mut room) = (seat.input(), Workspace::default());
                            let found = model.embed(&input, Some(&mut seat), &mut room, &mut || {});
                            seat.finish();
                            found
                        })
                    })
                    .collect();
                let found: std::result::Result<Vec<_>, String> =
                    members.into_iter().map(|member| member.join().expect("no panic")).collect();
                founds = found.unwrap_or_default();
            });
        }
        for found in founds {
            assert_close(&found[0], &expected, &format!("{helpers} helpers"));
        }
    }
}

#[test]
fn a_broken_folder_is_an_error_that_says_what_is_missing() {
    let folder = Folder::new("broken");
    let load = || Model::load(&folder.0, Arch::new()).err().expect("an error");
    assert!(load().contains("config.json"));
    write(&folder.0).expect("a model");
    let file = folder.0.join("model.safetensors");
    let whole = std::fs::read(&file).expect("the weights");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("room");
    assert!(load().contains("cut off"));
    std::fs::write(&file, [255; 64]).expect("room");
    assert!(load().contains("not a safetensors file"));
    std::fs::write(&file, b"\x02\0\0\0\0\0\0\0{}").expect("room");
    assert!(load().contains("missing"));
    std::fs::write(folder.0.join("tokenizer.json"), "{}").expect("room");
    assert!(Reader::load(&folder.0.join("tokenizer.json")).is_err());
}
