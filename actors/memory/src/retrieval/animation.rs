//! Which animation of an avatar fits an answer (http-api.md §3.12): the nearest description by meaning. Any failure means
//! none: an avatar that stands still harms nobody.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use greenroom_embedder::{Embedder, Lane, Vector};
use greenroom_kit::lock;
use greenroom_protocol::Animation;
use lru::LruCache;

/// Least cosine of an answer and the animation that goes with it.
const LEAST: f32 = 0.20;
/// Catalogues whose vectors are kept.
const CATALOGUES: NonZeroUsize = NonZeroUsize::new(32).unwrap();
/// Bounds of a catalogue: entries, bytes of a name, bytes of a description.
const BOUNDS: (usize, usize, usize) = (512, 255, 2_000);

fn text_of(animation: &Animation) -> String {
    if animation.description.trim().is_empty() {
        return animation.name.clone();
    }
    format!("{}. {}", animation.name, animation.description)
}

fn fits(animation: &Animation) -> bool {
    let (name, description) = (&animation.name, &animation.description);
    !name.trim().is_empty() && name.chars().count() <= BOUNDS.1 && description.len() <= BOUNDS.2
}

type Catalogue = Arc<Vec<Option<Vector>>>;

/// Picks animations; keeps the vectors of the catalogues last used.
#[derive(Clone)]
pub struct Animations {
    embedder: Embedder,
    known: Arc<Mutex<LruCache<Vec<Animation>, Catalogue>>>,
}

impl std::fmt::Debug for Animations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Animations").field("catalogues", &lock(&self.known).len()).finish()
    }
}

impl Animations {
    /// Nothing is embedded before the first pick.
    #[must_use]
    pub fn new(embedder: Embedder) -> Self {
        Self { embedder, known: Arc::new(Mutex::new(LruCache::new(CATALOGUES))) }
    }

    /// The animation that fits a text best, if one fits. Entries without a name or with one longer than 255 characters
    /// are passed over, as are all beyond the 512th.
    pub async fn pick(&self, catalogue: &[Animation], text: &str) -> Option<String> {
        let usable: Vec<Animation> =
            catalogue.iter().filter(|animation| fits(animation)).take(BOUNDS.0).cloned().collect();
        if usable.is_empty() || text.trim().is_empty() {
            return None;
        }
        let vectors = self.vectors(&usable).await?;
        let said = self.embedder.embed(vec![text.to_owned()], Lane::Interactive).await.ok()?.pop().flatten()?;
        let scored = usable.iter().zip(vectors.iter()).filter_map(|(animation, vector)| {
            let score = vector.as_ref()?.cosine(&said);
            (score >= LEAST).then_some((score, &animation.name))
        });
        // The first of equals, as a catalogue is ordered.
        let best = scored.reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map(|(_, name)| name.clone())
    }

    async fn vectors(&self, catalogue: &[Animation]) -> Option<Catalogue> {
        if let Some(known) = lock(&self.known).get(catalogue) {
            return Some(known.clone());
        }
        let texts = catalogue.iter().map(text_of).collect();
        let vectors = Arc::new(self.embedder.embed(texts, Lane::Interactive).await.ok()?);
        lock(&self.known).put(catalogue.to_vec(), vectors.clone());
        Some(vectors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue() -> Vec<Animation> {
        [("wave", "waving hello with one hand"), ("dance", "dancing to loud music"), ("shrug", "")]
            .map(|(name, description)| Animation { name: name.into(), description: description.into() })
            .to_vec()
    }

    #[tokio::test]
    async fn the_nearest_description_wins_and_nothing_fits_nonsense() {
        let animations = Animations::new(Embedder::test_hash());
        let pick = |text: &'static str| {
            let animations = animations.clone();
            async move { animations.pick(&catalogue(), text).await }
        };
        assert_eq!(pick("waving hello hello with one hand").await.as_deref(), Some("wave"));
        assert_eq!(pick("dancing music").await.as_deref(), Some("dance"));
        assert_eq!(pick("shrug").await.as_deref(), Some("shrug"));
        assert_eq!(pick("quantum chromodynamics lattice").await, None);
        assert_eq!(pick("  ").await, None);
        assert_eq!(animations.pick(&[], "waving").await, None);
        assert_eq!(Animations::new(Embedder::off()).pick(&catalogue(), "waving hello").await, None);
    }

    #[tokio::test]
    async fn catalogues_are_bounded() {
        let animations = Animations::new(Embedder::test_hash());
        for n in 0..40 {
            let one = [Animation { name: format!("move {n}"), description: String::new() }];
            animations.pick(&one, "move").await;
        }
        assert_eq!(lock(&animations.known).len(), 32);
        let long = [Animation { name: "wave".repeat(100), description: String::new() }];
        assert_eq!(animations.pick(&long, "wave").await, None);
    }
}
