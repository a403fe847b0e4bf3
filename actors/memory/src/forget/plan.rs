//! What forgetting messages means for memories, and how to undo it: pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Value, json};
use uuid::Uuid;

/// What is to be done with the memories that came from forgotten messages.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Nothing of what they came from is left.
    pub(super) doomed: Vec<Uuid>,
    /// What is left of the sources of the others.
    pub(super) trimmed: Vec<(Uuid, Vec<Uuid>)>,
    /// For the tombstone of each message: in which memories it stood, and where.
    pub(super) links: HashMap<Uuid, Value>,
}

/// `memories` as id, sources, and whether it also came from summaries.
pub(super) fn plan(memories: Vec<(Uuid, Vec<Uuid>, bool)>, forgotten: &[Uuid]) -> Plan {
    let forgotten: HashSet<Uuid> = forgotten.iter().copied().collect();
    let mut plan = Plan::default();
    for (id, sources, has_summaries) in memories {
        let left: Vec<Uuid> = sources.iter().filter(|source| !forgotten.contains(source)).copied().collect();
        if left.is_empty() && !has_summaries {
            plan.doomed.push(id);
            continue;
        }
        for (at, source) in sources.iter().enumerate().filter(|(_, source)| forgotten.contains(source)) {
            let links = plan.links.entry(*source).or_insert_with(|| json!({"memories": []}));
            if let Some(list) = links["memories"].as_array_mut() {
                list.push(json!({"id": id, "at": at}));
            }
        }
        plan.trimmed.push((id, left));
    }
    plan
}

/// Where restored messages belong: for each memory the places and ids, by place. `links` as [`plan`] made them.
pub(super) fn places<'a>(
    restored: impl IntoIterator<Item = (Uuid, Option<&'a Value>)>,
) -> BTreeMap<Uuid, Vec<(usize, Uuid)>> {
    let mut places: BTreeMap<Uuid, Vec<(usize, Uuid)>> = BTreeMap::new();
    for (message, links) in restored {
        let list = links.and_then(|links| links.get("memories")).and_then(Value::as_array);
        for link in list.into_iter().flatten() {
            let memory = link.get("id").and_then(Value::as_str).and_then(|id| Uuid::parse_str(id).ok());
            let at = link.get("at").and_then(Value::as_u64).and_then(|at| usize::try_from(at).ok());
            if let (Some(memory), Some(at)) = (memory, at) {
                places.entry(memory).or_default().push((at, message));
            }
        }
    }
    for list in places.values_mut() {
        list.sort_unstable();
    }
    places
}

/// Puts ids back into a list of sources, in ascending order of their places.
pub(super) fn spliced(mut sources: Vec<Uuid>, places: &[(usize, Uuid)]) -> Vec<Uuid> {
    for (at, id) in places {
        if !sources.contains(id) {
            sources.insert((*at).min(sources.len()), *id);
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_trimmed_can_be_put_back(
            sources in prop::collection::vec(prop::collection::btree_set(0u128..12, 0..8), 0..6),
            forgotten in prop::collection::btree_set(0u128..12, 0..12),
        ) {
            let forgotten: Vec<Uuid> = forgotten.into_iter().map(Uuid::from_u128).collect();
            let memories: Vec<(Uuid, Vec<Uuid>, bool)> = sources
                .into_iter()
                .enumerate()
                .map(|(n, set)| {
                    let list = set.into_iter().map(Uuid::from_u128).rev().collect();
                    (Uuid::from_u128(100 + n as u128), list, n % 2 == 0)
                })
                .collect();
            let before: HashMap<Uuid, Vec<Uuid>> = memories.iter().map(|m| (m.0, m.1.clone())).collect();
            let plan = plan(memories, &forgotten);
            let places = places(forgotten.iter().map(|id| (*id, plan.links.get(id))));
            for (id, left) in plan.trimmed {
                prop_assert!(left.iter().all(|source| !forgotten.contains(source)));
                let back = spliced(left, places.get(&id).map_or(&[], Vec::as_slice));
                prop_assert_eq!(&back, &before[&id]);
            }
        }
    }
}
