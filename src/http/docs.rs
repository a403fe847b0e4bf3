//! The interface, described: the OpenAPI document and a browser for it. The browser's files are compiled in.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use utoipa_swagger_ui::Config;

use super::answer::{self, Answer};
use super::call::Call;
use super::error::ApiError;
use super::openapi;

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| openapi::document().to_json().unwrap_or_default().into());
static BROWSER: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from("/openapi.json").use_base_layout().try_it_out_enabled(true)));

/// Swagger UI sets styles from its scripts and draws its icons from data URIs; nothing comes from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /`: people who type the address want to see the house.
pub async fn root(_: Call) -> Answer {
    Ok(answer::redirect("/status"))
}

/// `GET /openapi.json`.
pub async fn openapi(_: Call) -> Answer {
    Ok(answer::whole(StatusCode::OK, "application/json", DOCUMENT.clone()))
}

/// `GET /docs`: the page's files stand beside it, so its address needs the slash.
pub async fn index(_: Call) -> Answer {
    Ok(answer::redirect("/docs/index.html"))
}

/// `GET /redoc`.
pub async fn redoc(_: Call) -> Answer {
    Ok(answer::redirect("/docs/index.html"))
}

/// `GET /docs/{file}`.
pub async fn file(call: Call) -> Answer {
    let found = utoipa_swagger_ui::serve(call.param("file"), BROWSER.clone());
    let file = found.map_err(|error| ApiError::Internal(error.to_string()))?.ok_or(ApiError::NoRoute)?;
    let mut response = answer::whole(StatusCode::OK, "application/octet-stream", file.bytes.into_owned());
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(&file.content_type) {
        headers.insert(CONTENT_TYPE, kind);
    }
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    Ok(response)
}
