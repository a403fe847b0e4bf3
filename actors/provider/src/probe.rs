//! Whether providers can be reached, for `/status`. Probes run at most every few seconds and all at once; a status page
//! never waits long and never floods a provider.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::catalogue::Catalogue;
use crate::provider::{Health, ProviderHandle};
use crate::transport::Transport;
use crate::windows;

/// How long a result is shown.
const KEPT: Duration = Duration::from_secs(15);

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
    /// Most calls it may have open.
    pub most_calls: usize,
    /// What calls have shown.
    pub health: Health,
}

/// Kept results. What calls have shown is read anew each time: it costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    kept: Mutex<Option<(Instant, u64, Vec<Kept>)>>,
}

type Kept = (Weak<ProviderHandle>, ProviderProbe);

impl Probes {
    pub(crate) async fn get(&self, catalogue: &Catalogue, transport: &Transport) -> Vec<ProviderProbe> {
        let mut kept = self.kept.lock().await;
        if let Some((at, revision, probes)) = &*kept
            && at.elapsed() < KEPT
            && *revision == catalogue.revision()
        {
            return probes.iter().map(fresh).collect();
        }
        let mut served: Vec<(Arc<ProviderHandle>, Vec<String>)> = Vec::new();
        for entry in catalogue.entries() {
            let Ok(serving) = &entry.serving else { continue };
            let alias = entry.definition.alias.clone();
            match served.iter_mut().find(|(provider, _)| Arc::ptr_eq(provider, serving)) {
                Some((_, models)) => models.push(alias),
                None => served.push((serving.clone(), vec![alias])),
            }
        }
        let probes = join_all(served.into_iter().map(|(provider, models)| probe(provider, models, transport))).await;
        let shown = probes.iter().map(|(_, probe)| probe.clone()).collect();
        *kept = Some((Instant::now(), catalogue.revision(), probes));
        shown
    }
}

fn fresh((provider, probe): &Kept) -> ProviderProbe {
    let mut probe = probe.clone();
    if let Some(provider) = provider.upgrade() {
        (probe.open_calls, probe.health) = (provider.shared.in_use(), provider.shared.health());
    }
    probe
}

async fn probe(provider: Arc<ProviderHandle>, models: Vec<String>, transport: &Transport) -> Kept {
    let began = Instant::now();
    let reachable = windows::look(&provider, transport).await;
    let probe = ProviderProbe {
        name: provider.name.clone(),
        models,
        reachable,
        latency_ms: began.elapsed().as_secs_f64() * 1e3,
        open_calls: provider.shared.in_use(),
        most_calls: provider.shared.limit(),
        health: provider.shared.health(),
    };
    (Arc::downgrade(&provider), probe)
}
