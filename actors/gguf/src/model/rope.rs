//! The angles by which positions rotate queries and keys.

use super::shape::Rope;
use crate::kernels::Rotation;

/// Computes the rotations of a batch.
#[derive(Debug)]
pub(crate) struct Angles {
    /// For each pair, by how much it turns from one position to the next.
    steps: Vec<f32>,
    magnitude: f32,
    neighbours: bool,
}

impl Angles {
    /// For layers without a window, or for those with one. `factors` divide the angle of each pair.
    pub(super) fn new(rope: &Rope, with_window: bool, factors: Option<&[f32]>) -> Self {
        let (base, scale) = if with_window { (rope.window_base, 1.0) } else { (rope.base, rope.scale) };
        let ratio = base.powf(-2.0 / rope.width as f32);
        let mut step = scale;
        let steps = (0..rope.width / 2).map(|pair| {
            let this = step / factors.and_then(|factors| factors.get(pair)).copied().unwrap_or(1.0);
            step *= ratio;
            this
        });
        Self { steps: steps.collect(), magnitude: rope.magnitude, neighbours: rope.neighbours }
    }

    /// The rotation of `count` positions from `start` on.
    pub(super) fn fill(&self, start: usize, count: usize, rotation: &mut Rotation) {
        rotation.cos.clear();
        rotation.sin.clear();
        (rotation.pairs, rotation.neighbours) = (self.steps.len(), self.neighbours);
        for position in start..start + count {
            for step in &self.steps {
                let (sin, cos) = (position as f32 * step).sin_cos();
                rotation.cos.push(cos * self.magnitude);
                rotation.sin.push(sin * self.magnitude);
            }
        }
    }
}
