//! The forward pass.
//!
//! Sequences lie one after the other, without padding: products run over all their rows at once, attention over each
//! sequence by itself. A pass is done by one worker, or by a [`team`](super::team) whose members each have a part of the
//! heads and of the feed-forward columns. Rows go through in blocks that stay in the cache.

use std::ops::Range;
use std::path::Path;

use pulp::Arch;
use serde::Deserialize;

use super::aligned::Aligned;
use super::attention::{Attention, HEAD, Heads};
use super::elementwise::{AddNorm, Norm};
use super::gemm::{Packed, Product, Right, panel_width};
use super::pieces::{LONGEST, Pieces};
use super::team::Seat;
use super::weights::{Table, Weights};
use crate::DIMENSION;

/// Rows that go through the products at a time.
const BLOCK: usize = 96;

/// What of `config.json` must be as it is here.
#[derive(Deserialize)]
struct Config {
    model_type: String,
    hidden_act: String,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    vocab_size: usize,
    type_vocab_size: usize,
    layer_norm_eps: f32,
}

/// The packed weights.
pub(crate) struct Model {
    arch: Arch,
    width: usize,
    words: Table,
    /// Of each place, with the embedding of the first segment added.
    places: Vec<f32>,
    first: Norm,
    layers: Vec<Layer>,
    heads: usize,
    epsilon: f32,
}

struct Layer {
    /// 384 → per head query, key and value.
    qkv: Packed,
    mixed: Packed,
    after_attention: Norm,
    up: Packed,
    down: Packed,
    after_feed: Norm,
}

/// The buffers of a pass. They grow to what the largest pass needed.
#[derive(Default)]
pub(crate) struct Workspace {
    x: Aligned,
    qkv: Aligned,
    context: Aligned,
    change: Aligned,
    wide: Aligned,
    heads: Heads,
    bytes: Vec<u8>,
}

/// A worker's part of each layer.
struct Part {
    heads: Range<usize>,
    panels: Range<usize>,
    /// The first member adds the biases.
    is_first: bool,
}

impl Model {
    /// Reads the weights in `dir` and packs them for the instruction set `arch`.
    pub(crate) fn load(dir: &Path, arch: Arch) -> Result<Self, String> {
        let text = std::fs::read(dir.join("config.json")).map_err(|error| format!("config.json: {error}"))?;
        let config: Config = serde_json::from_slice(&text).map_err(|error| format!("config.json: {error}"))?;
        let known = config.model_type == "bert" && config.hidden_act == "gelu" && config.hidden_size == DIMENSION;
        let fits = config.num_attention_heads * HEAD == DIMENSION && config.max_position_embeddings >= LONGEST;
        if !known || !fits || !config.intermediate_size.is_multiple_of(96) || config.num_hidden_layers > 48 {
            return Err("config.json: not all-MiniLM-L6-v2 or a model of its shape".into());
        }
        let weights = Weights::open(&dir.join("model.safetensors"))?;
        let width = panel_width(arch);
        let segment =
            weights.tensor("embeddings.token_type_embeddings.weight", &[config.type_vocab_size, DIMENSION])?;
        let mut places =
            weights.tensor("embeddings.position_embeddings.weight", &[config.max_position_embeddings, DIMENSION])?;
        for place in places.chunks_exact_mut(DIMENSION) {
            place.iter_mut().zip(&segment).for_each(|(place, segment)| *place += segment);
        }
        let first = norm(&weights, "embeddings.LayerNorm")?;
        let layers = (0..config.num_hidden_layers)
            .map(|n| Layer::read(&weights, &format!("encoder.layer.{n}"), width, config.intermediate_size))
            .collect::<Result<_, _>>()?;
        let words = weights.table("embeddings.word_embeddings.weight", config.vocab_size, DIMENSION)?;
        let (heads, epsilon) = (config.num_attention_heads, config.layer_norm_eps);
        Ok(Self { arch, width, words, places, first, layers, heads, epsilon })
    }

    fn part(&self, seat: Option<&Seat>) -> Part {
        let (index, members) = seat.map_or((0, 1), Seat::place);
        let share = |all: usize| all * index / members..all * (index + 1) / members;
        let panels = self.layers.first().map_or(0, |layer| layer.up.panels());
        Part { heads: share(self.heads), panels: share(panels), is_first: index == 0 }
    }

    /// Embeds sequences of at most [`LONGEST`] pieces: the mean of the last layer's rows, not yet scaled, 384 numbers
    /// for each. With a seat it does its member's part, and every member gets the whole result. `interrupt` is called
    /// every few milliseconds.
    pub(crate) fn embed(
        &self,
        pieces: &Pieces,
        mut seat: Option<&mut Seat>,
        room: &mut Workspace,
        interrupt: &mut dyn FnMut(),
    ) -> Result<Vec<Vec<f32>>, String> {
        let part = self.part(seat.as_deref());
        let rows = pieces.ids().len();
        room.change.at_least(rows * DIMENSION);
        self.read_words(pieces, room)?;
        for layer in &self.layers {
            self.attend(layer, &part, pieces, room, interrupt);
            self.mix(layer, &part, rows, seat.as_deref_mut(), room)?;
            self.feed(layer, &part, rows, seat.as_deref_mut(), room, interrupt)?;
        }
        Ok(pieces.ranges().map(|range| mean(&room.x[range.start * DIMENSION..range.end * DIMENSION])).collect())
    }

    fn read_words(&self, pieces: &Pieces, room: &mut Workspace) -> Result<(), String> {
        let (x, ids) = (room.x.at_least(pieces.ids().len() * DIMENSION), pieces.ids());
        for range in pieces.ranges() {
            let rows = range.start * DIMENSION..range.end * DIMENSION;
            for (row, id) in x[rows.clone()].chunks_exact_mut(DIMENSION).zip(&ids[range]) {
                self.words.read(*id, &mut room.bytes, row)?;
            }
            let places = self.places.get(..rows.len()).ok_or("the sequence is too long")?;
            self.arch.dispatch(AddNorm { x: &mut x[rows], change: places, norm: &self.first, epsilon: self.epsilon });
        }
        Ok(())
    }

    fn attend(&self, layer: &Layer, part: &Part, pieces: &Pieces, room: &mut Workspace, interrupt: &mut dyn FnMut()) {
        let rows = pieces.ids().len();
        let (heads, per_head) = (part.heads.len(), 3 * HEAD / self.width.min(3 * HEAD));
        let columns = 3 * HEAD * heads;
        let qkv = room.qkv.at_least(rows * columns);
        let panels = part.heads.start * per_head..part.heads.end * per_head;
        for block in blocks(rows) {
            self.arch.dispatch(Product {
                left: &room.x[block.start * DIMENSION..],
                left_stride: DIMENSION,
                right: layer.qkv.part(panels.clone(), 0..DIMENSION, true),
                out: &mut qkv[block.start * columns..],
                out_stride: columns,
                rows: block.len(),
                columns,
                with_gelu: false,
            });
            interrupt();
        }
        let context = room.context.at_least(rows * HEAD * heads);
        for range in pieces.ranges() {
            let attention = Attention {
                arch: self.arch,
                width: self.width,
                qkv: &qkv[range.start * columns..range.end * columns],
                out: &mut context[range.start * HEAD * heads..range.end * HEAD * heads],
                heads,
            };
            attention.run(&mut room.heads);
        }
        interrupt();
    }

    /// The heads' findings are mixed and added.
    fn mix(
        &self,
        layer: &Layer,
        part: &Part,
        rows: usize,
        seat: Option<&mut Seat>,
        room: &mut Workspace,
    ) -> Result<(), String> {
        let depth = part.heads.start * HEAD..part.heads.end * HEAD;
        let right = layer.mixed.part(0..layer.mixed.panels(), depth.clone(), part.is_first);
        for block in blocks(rows) {
            let left = &room.context[block.start * depth.len()..];
            self.narrow(left, depth.len(), right.clone(), block, &mut room.change);
        }
        self.add(rows, &layer.after_attention, seat, room)
    }

    fn feed(
        &self,
        layer: &Layer,
        part: &Part,
        rows: usize,
        seat: Option<&mut Seat>,
        room: &mut Workspace,
        interrupt: &mut dyn FnMut(),
    ) -> Result<(), String> {
        let columns = part.panels.len() * self.width;
        let depth = part.panels.start * self.width..part.panels.end * self.width;
        let wide = room.wide.at_least(BLOCK.min(rows) * columns);
        for block in blocks(rows) {
            self.arch.dispatch(Product {
                left: &room.x[block.start * DIMENSION..],
                left_stride: DIMENSION,
                right: layer.up.part(part.panels.clone(), 0..DIMENSION, true),
                out: wide,
                out_stride: columns,
                rows: block.len(),
                columns,
                with_gelu: true,
            });
            let right = layer.down.part(0..layer.down.panels(), depth.clone(), part.is_first);
            self.narrow(wide, columns, right, block, &mut room.change);
            interrupt();
        }
        self.add(rows, &layer.after_feed, seat, room)
    }

    /// A product with 384 columns, into the rows `block` of `change`.
    fn narrow(&self, left: &[f32], left_stride: usize, right: Right<'_>, block: Range<usize>, change: &mut [f32]) {
        self.arch.dispatch(Product {
            left,
            left_stride,
            right,
            out: &mut change[block.start * DIMENSION..],
            out_stride: DIMENSION,
            rows: block.len(),
            columns: DIMENSION,
            with_gelu: false,
        });
    }

    fn add(&self, rows: usize, norm: &Norm, seat: Option<&mut Seat>, room: &mut Workspace) -> Result<(), String> {
        let change = &mut room.change[..rows * DIMENSION];
        if let Some(seat) = seat {
            seat.exchange(change).map_err(|_| "another worker was lost".to_owned())?;
        }
        let x = &mut room.x[..rows * DIMENSION];
        self.arch.dispatch(AddNorm { x, change, norm, epsilon: self.epsilon });
        Ok(())
    }
}

impl Layer {
    fn read(weights: &Weights, name: &str, width: usize, wide: usize) -> Result<Self, String> {
        let linear = |what: &str, outputs: usize, inputs: usize| {
            let weight = weights.tensor(&format!("{name}.{what}.weight"), &[outputs, inputs])?;
            let bias = weights.tensor(&format!("{name}.{what}.bias"), &[outputs])?;
            Ok::<_, String>((weight, bias))
        };
        let pack = |what: &str, outputs: usize, inputs: usize| {
            let (weight, bias) = linear(what, outputs, inputs)?;
            let row = |n: usize| &weight[n * inputs..(n + 1) * inputs];
            Ok::<_, String>(Packed::new(width, inputs, outputs, row, |n| bias[n], |_| 1.0))
        };
        let three = [
            linear("attention.self.query", DIMENSION, DIMENSION)?,
            linear("attention.self.key", DIMENSION, DIMENSION)?,
            linear("attention.self.value", DIMENSION, DIMENSION)?,
        ];
        // Column n of the product belongs to head n / 96, there to query, key or value. Queries are divided by √32 here.
        let which = |n: usize| (n / HEAD % 3, n / (3 * HEAD) * HEAD + n % HEAD);
        let row = |n: usize| {
            let (one, row) = which(n);
            &three[one].0[row * DIMENSION..(row + 1) * DIMENSION]
        };
        let bias = |n: usize| three[which(n).0].1[which(n).1];
        let scale = |n: usize| if which(n).0 == 0 { 1.0 / (HEAD as f32).sqrt() } else { 1.0 };
        Ok(Self {
            qkv: Packed::new(width, DIMENSION, 3 * DIMENSION, row, bias, scale),
            mixed: pack("attention.output.dense", DIMENSION, DIMENSION)?,
            after_attention: norm(weights, &format!("{name}.attention.output.LayerNorm"))?,
            up: pack("intermediate.dense", wide, DIMENSION)?,
            down: pack("output.dense", DIMENSION, wide)?,
            after_feed: norm(weights, &format!("{name}.output.LayerNorm"))?,
        })
    }
}

fn norm(weights: &Weights, name: &str) -> Result<Norm, String> {
    Ok(Norm {
        gain: weights.tensor(&format!("{name}.weight"), &[DIMENSION])?,
        bias: weights.tensor(&format!("{name}.bias"), &[DIMENSION])?,
    })
}

fn blocks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let count = rows.div_ceil(BLOCK).max(1);
    (0..count).map(move |n| rows * n / count..rows * (n + 1) / count)
}

fn mean(rows: &[f32]) -> Vec<f32> {
    let mut sum = vec![0.0; DIMENSION];
    for row in rows.chunks_exact(DIMENSION) {
        sum.iter_mut().zip(row).for_each(|(sum, number)| *sum += number);
    }
    let count = (rows.len() / DIMENSION).max(1) as f32;
    sum.iter_mut().for_each(|sum| *sum /= count);
    sum
}
