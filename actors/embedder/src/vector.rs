//! One embedding.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::DIMENSION;

/// 384 numbers of Euclidean length 1. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Vector(Arc<[f32]>);

impl Vector {
    /// Takes numbers and scales them to length 1; `None` when there are not 384, when one is not finite, or when all are 0.
    #[must_use]
    pub fn new(numbers: Vec<f32>) -> Option<Self> {
        let length = numbers.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        if numbers.len() != DIMENSION || !length.is_finite() || length < 1e-12 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a number of length at most 1")]
        let scaled = numbers.into_iter().map(|x| (f64::from(x) / length) as f32);
        Some(Self(scaled.collect()))
    }

    /// The numbers.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// Cosine of the angle between the two, −1 to 1.
    #[must_use]
    pub fn cosine(&self, other: &Self) -> f32 {
        self.0.iter().zip(other.0.iter()).map(|(a, b)| a * b).sum::<f32>().clamp(-1.0, 1.0)
    }
}

impl Deref for Vector {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl Serialize for Vector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_has_length_one_or_is_none() {
        let vector = Vector::new((0..384u16).map(f32::from).collect()).expect("finite");
        assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
        assert!((vector.cosine(&vector) - 1.0).abs() < 1e-5);
        assert!(Vector::new(vec![0.0; 384]).is_none());
        assert!(Vector::new(vec![f32::NAN; 384]).is_none());
        assert!(Vector::new(vec![f32::MAX; 384]).is_some());
        assert!(Vector::new(vec![1.0; 383]).is_none());
    }
}
