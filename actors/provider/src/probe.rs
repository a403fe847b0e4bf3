//! Whether providers can be reached, for `/status`. Probes run at most every few seconds and all at once; a status page
//! never waits long and never floods a provider.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use secrecy::ExposeSecret;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::catalogue::Catalogue;
use crate::provider::{Health, ProviderHandle};
use crate::transport::Transport;

/// How long a result is shown.
const KEPT: Duration = Duration::from_secs(15);
/// How long one probe may take.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// What `/status` shows of a provider.
#[derive(Debug, Clone, Serialize)]
pub struct ProviderProbe {
    /// The actor's name, `provider:<name>`.
    pub name: String,
    /// Models that it serves.
    pub models: Vec<String>,
    /// Whether it answered at all, with whatever status.
    pub reachable: bool,
    /// How long that took.
    pub latency_ms: f64,
    /// Calls open now.
    pub open_calls: usize,
    /// What calls have shown.
    pub health: Health,
}

/// Kept results.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    kept: Mutex<Option<(Instant, u64, Vec<ProviderProbe>)>>,
}

impl Probes {
    pub(crate) async fn get(&self, catalogue: &Catalogue, transport: &Transport) -> Vec<ProviderProbe> {
        let mut kept = self.kept.lock().await;
        if let Some((at, revision, probes)) = &*kept
            && at.elapsed() < KEPT
            && *revision == catalogue.revision()
        {
            return probes.clone();
        }
        let mut served: Vec<(Arc<ProviderHandle>, Vec<String>)> = Vec::new();
        for entry in catalogue.entries() {
            let Ok(serving) = &entry.serving else { continue };
            let alias = entry.definition.alias.clone();
            match served.iter_mut().find(|(provider, _)| Arc::ptr_eq(provider, &serving.provider)) {
                Some((_, models)) => models.push(alias),
                None => served.push((serving.provider.clone(), vec![alias])),
            }
        }
        let probes = join_all(served.into_iter().map(|(provider, models)| probe(provider, models, transport))).await;
        *kept = Some((Instant::now(), catalogue.revision(), probes.clone()));
        probes
    }
}

async fn probe(provider: Arc<ProviderHandle>, models: Vec<String>, transport: &Transport) -> ProviderProbe {
    let began = Instant::now();
    let reachable = match provider.endpoint() {
        None => true,
        Some(endpoint) => match endpoint.base.join("models") {
            None => false,
            Some(url) => {
                let request =
                    transport.client(endpoint.base.is_local()).get(url).bearer_auth(endpoint.key.expose_secret());
                matches!(tokio::time::timeout(PROBE_LIMIT, request.send()).await, Ok(Ok(_)))
            }
        },
    };
    ProviderProbe {
        name: provider.name.clone(),
        models,
        reachable,
        latency_ms: began.elapsed().as_secs_f64() * 1e3,
        open_calls: provider.shared.in_use(),
        health: provider.shared.health(),
    }
}
