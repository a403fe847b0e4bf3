//! The BM25 ranking function of Robertson and Zaragoza ("The Probabilistic Relevance Framework: BM25 and Beyond", 2009): a
//! term counts the more, the rarer it is, the oftener it occurs and the shorter the document is. Pure arithmetic.

/// Lengths for which the normalisation is computed beforehand.
const COMMON_LENGTHS: usize = 256;

/// The two constants of the function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bm25 {
    /// How slowly repetition stops counting.
    pub(crate) k1: f32,
    /// How much the length of a document counts, from 0 to 1.
    pub(crate) b: f32,
}

impl Bm25 {
    /// ln(1 + (n - d + 0.5) / (d + 0.5)) for a term in d of n documents; never negative.
    #[expect(clippy::cast_precision_loss, reason = "a logarithm of counts")]
    pub(crate) fn idf(all: usize, with: usize) -> f32 {
        let (all, with) = (all as f32, with.min(all) as f32);
        ((all - with + 0.5) / (with + 0.5)).ln_1p()
    }

    /// Tables for a collection whose documents have `average` terms.
    pub(crate) fn tables(self, average: f32) -> Tables {
        let norms = (0..COMMON_LENGTHS).map(|length| self.norm(length, average)).collect::<Vec<_>>();
        let once = norms.iter().map(|norm| (self.k1 + 1.0) / (1.0 + norm)).collect();
        Tables { bm25: self, average, norms, once }
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio of lengths")]
    fn norm(self, length: usize, average: f32) -> f32 {
        self.k1 * (1.0 - self.b + self.b * length.max(1) as f32 / average.max(1.0))
    }
}

/// The function for one collection.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    bm25: Bm25,
    average: f32,
    norms: Vec<f32>,
    once: Vec<f32>,
}

impl Tables {
    /// The saturated frequency of a term, up to k1 + 1; about 1 for one occurrence in a document of average length. The
    /// term's part of the score is this times its idf.
    #[expect(clippy::cast_precision_loss, reason = "a count of at most 31")]
    pub(crate) fn saturated(&self, count: u32, length: u16) -> f32 {
        let length = usize::from(length);
        match (count, self.once.get(length)) {
            (1, Some(once)) => *once,
            _ => {
                let norm = self.norms.get(length).copied().unwrap_or_else(|| self.bm25.norm(length, self.average));
                count as f32 * (self.bm25.k1 + 1.0) / (count as f32 + norm)
            }
        }
    }
}
