//! The real model in this process, for baselines and for vectors that are put into a database directly.

use anyhow::{Context, bail};
use greenroom_embedder::{Availability, Choice, Embedder, EmbedderSettings, Lane, Vector};
use greenroom_kit::Supervisor;

use crate::options::Options;

/// Texts of one call.
const BATCH: usize = 512;

/// Starts it below `group` and waits until it is loaded.
///
/// # Errors
/// When there are no weights.
pub async fn start(options: &Options, group: &Supervisor) -> anyhow::Result<Embedder> {
    let model = Choice::MiniLm { dir: options.weights() };
    let embedder = Embedder::start(group, EmbedderSettings { model, ..EmbedderSettings::default() }).await?;
    match embedder.ready().await {
        Availability::Ready => Ok(embedder),
        Availability::Unavailable(reason) => bail!("{reason}"),
        Availability::Loading => bail!("the model is still being loaded"),
    }
}

/// The vectors of texts, none of which is blank.
///
/// # Errors
/// When the model fails.
pub async fn vectors(embedder: &Embedder, texts: &[String]) -> anyhow::Result<Vec<Vector>> {
    let mut vectors = Vec::with_capacity(texts.len());
    for part in texts.chunks(BATCH) {
        let found = embedder.embed(part.to_vec(), Lane::Background).await?;
        vectors.extend(found.into_iter().collect::<Option<Vec<_>>>().context("a text is blank")?);
    }
    Ok(vectors)
}
