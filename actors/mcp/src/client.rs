//! The HTTP client of one connection. Redirects are not followed, so that the token ends up nowhere else, and there is no
//! limit on the whole of an answer: streams last, and each call has its own limit.

use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Url, redirect, retry};

use crate::settings::is_local;

/// How long opening a TCP connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A client for the server at `url`.
pub(crate) fn client(url: &Url) -> reqwest::Result<Client> {
    // an error means that a provider is installed already, which is as good
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        let builder = Client::builder()
            .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_LIMIT)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .tcp_nodelay(true)
            // A kept connection may be dying when a call is sent on it, and then nobody knows whether the call ran.
            .pool_max_idle_per_host(0);
        if is_local(url) { builder.no_proxy() } else { builder }
    };
    builder().build().or_else(|_| with_built_in_roots(builder()))
}

/// For systems that have no certificates of their own.
fn with_built_in_roots(builder: ClientBuilder) -> reqwest::Result<Client> {
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    builder.tls_certs_only(roots.filter_map(|der| Certificate::from_der(der).ok())).build()
}
