//! One thread's part of a pass: its heads with their keys and values, its rows of every matrix, and a copy of what flows
//! from layer to layer.

use std::ops::Range;

use fearless_simd::Level;

use super::Model;
use super::layout::{Layer, Projection};
use super::shape::Shape;
use super::team::{Broken, Job, Seat};
use crate::file::GgufFile;
use crate::kernels::{
    Acts, Attention, BLOCK, KeyCache, Linear, Norm, Reach, Rotation, ValueCache, add, add_each, gate, norm, rotate,
    soft_cap,
};

/// Rows are shared out in steps of so many: a panel's.
const STEP: usize = 16;

/// A member of a team.
pub(super) struct Member {
    level: Level,
    index: usize,
    members: usize,
    heads: Range<usize>,
    key_heads: Range<usize>,
    /// For each layer, for each head of keys.
    caches: Vec<Vec<(KeyCache, ValueCache)>>,
    desk: Desk,
    /// What flows from layer to layer.
    stream: Vec<f32>,
    normed: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    /// This member's part of something.
    part: Vec<f32>,
    other_part: Vec<f32>,
    /// Something put together from all members' parts.
    whole: Vec<f32>,
    attention: Attention,
    rotation: Rotation,
    window_rotation: Rotation,
}

/// What products need.
struct Desk {
    level: Level,
    linear: Linear,
    acts: Acts,
}

impl Desk {
    /// Gets ready to multiply some matrices with rows of activations.
    fn take(&mut self, floats: &[f32], with: &[&Projection]) {
        if let Some(projection) = with.iter().find(|projection| projection.weights.takes_acts()) {
            self.acts.quantize(self.level, floats, projection.weights.columns());
        }
    }

    /// Some rows of a matrix times what was taken, with their bias.
    fn project(
        &mut self,
        file: &GgufFile,
        projection: &Projection,
        rows: Range<usize>,
        floats: &[f32],
        out: &mut Vec<f32>,
    ) {
        let positions = floats.len() / projection.weights.columns();
        out.resize(positions * rows.len(), 0.0);
        self.linear.multiply(file, &projection.weights, rows.clone(), floats, &self.acts, out);
        add_each(self.level, out, projection.bias.as_ref().map(|bias| &bias[rows]));
    }
}

/// What of `total` things belongs to a member.
fn share(total: usize, step: usize, members: usize, index: usize) -> Range<usize> {
    let steps = total.div_ceil(step);
    let edge = |index: usize| (steps * index / members * step).min(total);
    edge(index)..edge(index + 1)
}

impl Member {
    pub(super) fn new(shape: &Shape, level: Level, index: usize, members: usize, context: usize) -> Self {
        let heads = share(shape.heads, 1, members, index);
        let group = shape.heads / shape.key_heads;
        let key_heads = heads.start / group..(heads.end - 1) / group + 1;
        let positions = context.next_multiple_of(BLOCK);
        let cache = |_| (KeyCache::new(positions, shape.width), ValueCache::new(positions, shape.width));
        Self {
            level,
            index,
            members,
            caches: (0..shape.layers).map(|_| key_heads.clone().map(cache).collect()).collect(),
            heads,
            key_heads,
            desk: Desk { level, linear: Linear::new(level), acts: Acts::default() },
            stream: Vec::new(),
            normed: Vec::new(),
            query: Vec::new(),
            key: Vec::new(),
            value: Vec::new(),
            part: Vec::new(),
            other_part: Vec::new(),
            whole: Vec::new(),
            attention: Attention::default(),
            rotation: Rotation::default(),
            window_rotation: Rotation::default(),
        }
    }

    /// This member's part of a pass. The leader brings room for the logits.
    pub(super) fn run(&mut self, model: &Model, job: &Job, seat: &mut Seat, logits: &mut [f32]) -> Result<(), Broken> {
        let Shape { hidden, vocabulary, .. } = model.shape;
        self.stream.resize(job.tokens.len() * hidden, 0.0);
        for (token, row) in job.tokens.iter().zip(self.stream.chunks_exact_mut(hidden)) {
            self.desk.linear.row(&model.file, &model.embedding, *token as usize, row);
            row.iter_mut().for_each(|number| *number *= model.shape.embedding_scale);
        }
        model.angles.fill(job.start, job.tokens.len(), &mut self.rotation);
        model.window_angles.fill(job.start, job.tokens.len(), &mut self.window_rotation);
        for (index, layer) in model.layers.iter().enumerate() {
            self.attend(model, layer, index, job.start, seat)?;
            self.feed_forward(model, layer, seat)?;
        }
        if !job.wants_logits {
            return Ok(());
        }
        let last = &self.stream[self.stream.len() - hidden..];
        self.normed.resize(hidden, 0.0);
        norm(self.level, &model.output_norm, last, &mut self.normed);
        self.desk.take(&self.normed, &[&model.output]);
        let (members, index) = (self.members, self.index);
        let rows = |member| share(vocabulary, STEP, members, member);
        self.desk.project(&model.file, &model.output, rows(index), &self.normed, &mut self.part);
        if let Some(cap) = model.shape.output_cap {
            soft_cap(self.level, cap, &mut self.part);
        }
        seat.gather(&self.part, rows, vocabulary, logits)
    }

    fn attend(
        &mut self,
        model: &Model,
        layer: &Layer,
        index: usize,
        start: usize,
        seat: &mut Seat,
    ) -> Result<(), Broken> {
        let Shape { hidden, heads: all_heads, width, .. } = model.shape;
        let file = &model.file;
        self.normed.resize(self.stream.len(), 0.0);
        norm(self.level, &layer.attention_norm, &self.stream, &mut self.normed);
        let (heads, key_heads) = (self.heads.clone(), self.key_heads.clone());
        let keys = key_heads.start * width..key_heads.end * width;
        self.desk.take(&self.normed, &[&layer.query, &layer.key, &layer.value]);
        self.desk.project(file, &layer.query, heads.start * width..heads.end * width, &self.normed, &mut self.query);
        self.desk.project(file, &layer.key, keys.clone(), &self.normed, &mut self.key);
        self.desk.project(file, &layer.value, keys, &self.normed, &mut self.value);
        norm_heads(self.level, layer.query_norm.as_ref(), &mut self.query, &mut self.part);
        norm_heads(self.level, layer.key_norm.as_ref(), &mut self.key, &mut self.part);
        let window = model.shape.window.filter(|_| model.shape.has_window(index));
        let rotation = if window.is_some() { &self.window_rotation } else { &self.rotation };
        rotate(self.level, rotation, &mut self.query, heads.len(), width);
        rotate(self.level, rotation, &mut self.key, key_heads.len(), width);
        self.query.iter_mut().for_each(|number| *number *= model.shape.query_scale);

        let caches = &mut self.caches[index];
        for (n, (key_cache, value_cache)) in caches.iter_mut().enumerate() {
            let at = n * width..(n + 1) * width;
            let rows =
                self.key.chunks_exact(key_heads.len() * width).zip(self.value.chunks_exact(key_heads.len() * width));
            for (position, (key, value)) in rows.enumerate() {
                key_cache.put(start + position, &key[at.clone()]);
                value_cache.put(start + position, &value[at.clone()]);
            }
        }
        let reach = Reach { start, window, cap: model.shape.attention_cap };
        let group = all_heads / model.shape.key_heads;
        self.part.resize(self.query.len(), 0.0);
        for ((key_cache, value_cache), key_head) in caches.iter().zip(key_heads) {
            let first = (key_head * group).max(heads.start) - heads.start;
            let end = ((key_head + 1) * group).min(heads.end) - heads.start;
            let (queries, out) = (&self.query, &mut self.part);
            self.attention.run(self.level, key_cache, value_cache, reach, first..end, heads.len(), queries, out);
        }

        let members = self.members;
        let columns = |member| {
            let heads = share(all_heads, 1, members, member);
            heads.start * width..heads.end * width
        };
        let positions = self.stream.len() / hidden;
        self.whole.resize(positions * all_heads * width, 0.0);
        seat.gather(&self.part, columns, all_heads * width, &mut self.whole)?;
        self.finish(model, &layer.attention_output, layer.attention_post_norm.as_ref(), seat)
    }

    fn feed_forward(&mut self, model: &Model, layer: &Layer, seat: &mut Seat) -> Result<(), Broken> {
        let Shape { hidden, feed_forward, .. } = model.shape;
        // Without a norm of its own, it takes what attention took.
        if let Some(own) = &layer.feed_forward_norm {
            norm(self.level, own, &self.stream, &mut self.normed);
        }
        let both: Vec<_> = layer.gate.iter().chain([&layer.up]).collect();
        self.desk.take(&self.normed, &both);
        let (members, index) = (self.members, self.index);
        let rows = |member| share(feed_forward, STEP, members, member);
        self.desk.project(&model.file, &layer.up, rows(index), &self.normed, &mut self.part);
        match &layer.gate {
            Some(gated) => {
                self.desk.project(&model.file, gated, rows(index), &self.normed, &mut self.other_part);
                std::mem::swap(&mut self.part, &mut self.other_part);
                gate(self.level, model.shape.gate, &mut self.part, Some(&self.other_part));
            }
            None => gate(self.level, model.shape.gate, &mut self.part, None),
        }
        self.whole.resize(self.stream.len() / hidden * feed_forward, 0.0);
        seat.gather(&self.part, rows, feed_forward, &mut self.whole)?;
        self.finish(model, &layer.down, layer.feed_forward_post_norm.as_ref(), seat)
    }

    /// Projects what was put together back and adds it to the stream.
    fn finish(
        &mut self,
        model: &Model,
        projection: &Projection,
        post_norm: Option<&Norm>,
        seat: &mut Seat,
    ) -> Result<(), Broken> {
        let hidden = model.shape.hidden;
        let (members, index) = (self.members, self.index);
        let rows = |member| share(hidden, STEP, members, member);
        self.desk.take(&self.whole, &[projection]);
        self.desk.project(&model.file, projection, rows(index), &self.whole, &mut self.part);
        self.whole.resize(self.stream.len(), 0.0);
        seat.gather(&self.part, rows, hidden, &mut self.whole)?;
        if let Some(post_norm) = post_norm {
            self.other_part.resize(self.whole.len(), 0.0);
            norm(self.level, post_norm, &self.whole, &mut self.other_part);
            std::mem::swap(&mut self.whole, &mut self.other_part);
        }
        add(self.level, &mut self.stream, &self.whole);
        Ok(())
    }
}

/// Norms every head for itself.
fn norm_heads(level: Level, with: Option<&Norm>, heads: &mut Vec<f32>, spare: &mut Vec<f32>) {
    if let Some(with) = with {
        spare.resize(heads.len(), 0.0);
        norm(level, with, heads, spare);
        std::mem::swap(heads, spare);
    }
}
