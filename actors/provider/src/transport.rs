//! The HTTP clients that all providers share: connections are kept and reused per host.
//!
//! Two of them: servers on this machine or network are never called through a proxy. Redirects are not followed, so that
//! neither a prompt nor a key ends up elsewhere. Certificates come from the system, or from the built-in list where the
//! system has none.

use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, redirect, retry};
use tokio_util::task::TaskTracker;

use crate::error::ProvidersError;
use crate::settings::Timeouts;

/// Idle connections kept per host.
const IDLE_PER_HOST: usize = 256;
/// How long a finished answer's body may take to end, so that its connection can be used again.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// Shared HTTP clients.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    hosted: Client,
    local: Client,
    errands: TaskTracker,
}

impl Transport {
    pub(crate) fn new(timeouts: &Timeouts) -> Result<Self, ProvidersError> {
        // an error means that a provider is installed already, which is as good
        let _ = rustls::crypto::ring::default_provider().install_default();
        let common = || {
            Client::builder()
                .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(timeouts.connect)
                .redirect(redirect::Policy::none())
                .retry(retry::never())
                .referer(false)
                .tcp_nodelay(true)
                .pool_max_idle_per_host(IDLE_PER_HOST)
        };
        Ok(Self { hosted: build(common)?, local: build(|| common().no_proxy())?, errands: TaskTracker::new() })
    }

    pub(crate) fn client(&self, local: bool) -> &Client {
        if local { &self.local } else { &self.hosted }
    }

    /// Reads the rest of a finished answer in the background, which lets its connection be used again.
    pub(crate) fn drain(&self, mut body: reqwest::Body) {
        self.errand(async move {
            let end = async {
                while let Some(Ok(_)) =
                    std::future::poll_fn(|cx| http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx)).await
                {
                }
            };
            let _ = tokio::time::timeout(DRAIN_LIMIT, end).await;
        });
    }

    /// Does something small in the background that ends by itself.
    pub(crate) fn errand(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.errands.spawn(work);
    }
}

fn build(builder: impl Fn() -> ClientBuilder) -> Result<Client, ProvidersError> {
    match builder().build() {
        Ok(client) => Ok(client),
        Err(_) => {
            tracing::warn!("no certificates found on this system, using the built-in list");
            with_built_in_roots(builder()).map_err(|error| ProvidersError::Client(error.to_string()))
        }
    }
}

fn with_built_in_roots(builder: ClientBuilder) -> reqwest::Result<Client> {
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    builder.tls_certs_only(roots.filter_map(|der| Certificate::from_der(der).ok())).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_certificates_is_no_obstacle() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        assert!(with_built_in_roots(Client::builder()).is_ok());
    }
}
