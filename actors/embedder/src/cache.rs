//! The vectors of recent queries.

use std::num::NonZeroUsize;
use std::sync::Mutex;

use greenroom_kit::lock;
use lru::LruCache;
use sha2::{Digest, Sha256};

use crate::vector::Vector;

/// Least recently used query vectors, keyed by SHA-256 of model and text. Size 0 keeps none.
pub(crate) struct QueryCache {
    vectors: Option<Mutex<LruCache<[u8; 32], Vector>>>,
}

impl QueryCache {
    pub(crate) fn new(size: usize) -> Self {
        Self { vectors: NonZeroUsize::new(size).map(|size| Mutex::new(LruCache::new(size))) }
    }

    /// The key of a text under a model.
    pub(crate) fn key(model: &str, text: &str) -> [u8; 32] {
        Sha256::new().chain_update(model).chain_update([0]).chain_update(text).finalize().into()
    }

    pub(crate) fn get(&self, key: &[u8; 32]) -> Option<Vector> {
        lock(self.vectors.as_ref()?).get(key).cloned()
    }

    pub(crate) fn put(&self, key: [u8; 32], vector: Vector) {
        if let Some(vectors) = &self.vectors {
            lock(vectors).put(key, vector);
        }
    }
}
