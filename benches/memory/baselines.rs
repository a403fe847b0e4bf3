//! What recall is compared with: plain BM25 over raw and over stemmed words, over windows of messages, vectors, rank fusion and
//! a weighted sum of standardised scores. Small and slow on purpose; every score is an array over all messages.

use std::collections::HashMap;

/// Words in lower case, nothing else done to them.
pub fn raw_words(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    text.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// BM25 (k1 = 1.2, b = 0.75) of every document for a query.
pub fn bm25(documents: &[Vec<String>], query: &[String]) -> Vec<f32> {
    let (n, (k1, b)) = (documents.len() as f32, (1.2, 0.75));
    let average = documents.iter().map(Vec::len).sum::<usize>() as f32 / n.max(1.0);
    let mut query: Vec<&str> = query.iter().map(String::as_str).collect();
    query.sort_unstable();
    query.dedup();
    let counts: Vec<HashMap<&str, f32>> = documents
        .iter()
        .map(|words| {
            let mut counts = HashMap::new();
            words.iter().for_each(|word| *counts.entry(word.as_str()).or_default() += 1.0);
            counts
        })
        .collect();
    let mut scores = vec![0.0; documents.len()];
    for word in query {
        let with = counts.iter().filter(|counts| counts.contains_key(word)).count() as f32;
        let idf = ((n - with + 0.5) / (with + 0.5)).ln_1p();
        for ((score, counts), words) in scores.iter_mut().zip(&counts).zip(documents) {
            let count = counts.get(word).copied().unwrap_or(0.0);
            *score += idf * count * (k1 + 1.0) / (count + k1 * (1.0 - b + b * words.len() as f32 / average));
        }
    }
    scores
}

/// Each document with `around` neighbours of the same session on each side.
pub fn windows(documents: &[Vec<String>], sessions: &[u64], around: usize) -> Vec<Vec<String>> {
    let window = |at: usize| {
        let near = at.saturating_sub(around)..(at + around + 1).min(documents.len());
        near.filter(|other| sessions[*other] == sessions[at])
            .flat_map(|other| documents[other].iter().cloned())
            .collect()
    };
    (0..documents.len()).map(window).collect()
}

/// Scores with their mean taken off, in standard deviations.
pub fn standardised(scores: &[f32]) -> Vec<f32> {
    let n = scores.len().max(1) as f32;
    let mean = scores.iter().sum::<f32>() / n;
    let deviation = (scores.iter().map(|score| (score - mean).powi(2)).sum::<f32>() / n).sqrt().max(1e-6);
    scores.iter().map(|score| (score - mean) / deviation).collect()
}

/// Reciprocal rank fusion with k = 60.
pub fn fused(legs: &[&[f32]]) -> Vec<f32> {
    let mut sums = vec![0.0; legs.first().map_or(0, |leg| leg.len())];
    for leg in legs {
        for (rank, document) in order(leg).into_iter().enumerate() {
            sums[document] += 1.0 / (61.0 + rank as f32);
        }
    }
    sums
}

/// Documents from the highest score to the lowest, equal ones in their order.
pub fn order(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|one, other| scores[*other].total_cmp(&scores[*one]));
    order
}

/// Share of the evidence among the first `k`.
pub fn recall(order: &[usize], evidence: &[usize], k: usize) -> f64 {
    let found = evidence.iter().filter(|wanted| order.iter().take(k).any(|found| found == *wanted)).count();
    found as f64 / evidence.len().max(1) as f64
}
