//! What is in memory, and how much of it there is.

use std::sync::Arc;

use greenroom_kit::Card;

use super::loan::Resident;
use super::model::LocalModel;
use super::shelf::{self, Stage};

/// What is in memory, on its way there or on its way out.
pub(super) enum Place {
    Loading(Arc<LocalModel>, Arc<Card>),
    Ready(Arc<Resident>),
    Leaving(Arc<Resident>),
}

impl Place {
    pub(super) fn model(&self) -> &Arc<LocalModel> {
        match self {
            Self::Loading(model, _) => model,
            Self::Ready(resident) | Self::Leaving(resident) => &resident.model,
        }
    }

    pub(super) fn stage(&self) -> Stage {
        match self {
            Self::Loading(..) => Stage::Loading,
            Self::Ready(resident) => resident.stage(),
            Self::Leaving(_) => Stage::Leaving,
        }
    }
}

/// The model in a place, if it can be lent.
pub(super) fn ready(place: &Place) -> Option<&Arc<Resident>> {
    match place {
        Place::Ready(resident) => Some(resident),
        Place::Loading(..) | Place::Leaving(_) => None,
    }
}

/// Makes the model leave that was unused for longest; true when one leaves or is leaving.
pub(super) fn make_room(places: &[Place]) -> bool {
    let stages: Vec<_> = places.iter().map(|place| ((), place.stage())).collect();
    if let Some(resident) = shelf::idle_longest(&stages).and_then(|place| ready(&places[place])) {
        resident.tell_to_leave();
        return true;
    }
    stages.iter().any(|(_, stage)| *stage == Stage::Leaving)
}

/// Bytes that one more model may take: what the operator allows for all, and nine tenths of what the machine has to
/// spare, each less what the models in memory take (their mapped weights look like spare memory to the machine).
pub(super) fn memory_for_one(limit: Option<u64>, taken: u64, available: Option<u64>) -> Option<u64> {
    let spare = available.map(|bytes| bytes - bytes / 10);
    let least = match (limit, spare) {
        (Some(limit), Some(spare)) => Some(limit.min(spare)),
        (limit, spare) => limit.or(spare),
    };
    least.map(|bytes| bytes.saturating_sub(taken))
}

/// What a model takes, for the status page.
pub(super) fn described(model: &LocalModel, context: u32, threads: usize) -> String {
    let facts = model.facts();
    let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
    format!(
        "{:?} {}, {} MiB of weights, {context} tokens of context in {} MiB, {threads} threads",
        facts.architecture,
        facts.quantization,
        mebibytes(facts.file_bytes),
        mebibytes(model.bytes(context) - facts.file_bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_is_allowed_and_what_there_is() {
        assert_eq!(memory_for_one(None, 10, None), None);
        assert_eq!(memory_for_one(Some(100), 30, None), Some(70));
        assert_eq!(memory_for_one(None, 30, Some(100)), Some(60));
        assert_eq!(memory_for_one(Some(50), 0, Some(1000)), Some(50));
        assert_eq!(memory_for_one(Some(50), 60, Some(1000)), Some(0));
    }
}
