//! Where a model runs: on the threads of a team, or on a device where this was built for one.

use std::sync::Arc;

use fearless_simd::Level;

use super::{Broken, Model, Team};
use crate::error::GgufError;

/// A model that runs somewhere.
pub(crate) enum Backend {
    Team(Box<Team>),
    #[cfg(feature = "candle")]
    Device(Box<super::device::DeviceModel>),
}

impl Backend {
    /// Sets a model up with room for `context` positions.
    pub(crate) fn start(model: &Arc<Model>, threads: usize, context: usize) -> Result<Self, GgufError> {
        #[cfg(feature = "candle")]
        if let Some(device) = super::device::DeviceModel::on_cuda(&model.file, model.shape.architecture)? {
            return Ok(Self::Device(Box::new(device)));
        }
        let team = Team::start(model.clone(), Level::new(), threads, context);
        team.map(|team| Self::Team(Box::new(team))).map_err(|error| GgufError::Failed(error.to_string()))
    }

    /// How many of the tokens that a new prompt shares with the last one need not be run again.
    pub(crate) fn resumes_at(&self, same: usize) -> usize {
        match self {
            Self::Team(_) => same,
            #[cfg(feature = "candle")]
            Self::Device(device) => device.resumes_at(same),
        }
    }

    /// Runs tokens from position `start` on; what lay behind is forgotten.
    pub(crate) fn pass(&mut self, tokens: &[u32], start: usize, wants_logits: bool) -> Result<(), Broken> {
        match self {
            Self::Team(team) => team.pass(tokens, start, wants_logits),
            #[cfg(feature = "candle")]
            Self::Device(device) => device.pass(tokens, start, wants_logits),
        }
    }

    /// What comes after the last token of the last pass that was to tell.
    pub(crate) fn logits(&mut self) -> &mut [f32] {
        match self {
            Self::Team(team) => team.logits(),
            #[cfg(feature = "candle")]
            Self::Device(device) => device.logits(),
        }
    }
}
