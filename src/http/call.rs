//! One request on its way through a handler, and reading its parameters.

use std::sync::Arc;

use bytes::Bytes;
use greenroom_protocol::RequestId;
use greenroom_protocol::fields::Fields;
use http::HeaderMap;
use hyper::body::Incoming;
use serde_json::{Map, Value};

use super::auth::Caller;
use super::body::{self, BodyRules};
use super::error::ApiError;
use super::route::{Params, Route, decode};
use crate::house::House;

/// One request.
pub struct Call {
    /// The rooms and the settings.
    pub house: Arc<House>,
    /// The route it came by.
    pub route: &'static Route,
    /// Its id.
    pub request_id: RequestId,
    /// Who calls.
    pub caller: Caller,
    /// Its headers.
    pub headers: HeaderMap,
    pub(super) params: Params,
    pub(super) query: Query,
    pub(super) body: Option<Incoming>,
    pub(super) rules: BodyRules,
}

impl Call {
    /// A path parameter, decoded.
    #[must_use]
    pub fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// A header's text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether a header says yes (`true`, `on`, `1`, `yes`).
    #[must_use]
    pub fn header_is_on(&self, name: &str) -> bool {
        let value = self.header(name).unwrap_or_default().trim().to_ascii_lowercase();
        matches!(value.as_str(), "true" | "on" | "1" | "yes")
    }

    /// The query parameters.
    #[must_use]
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// The JSON body; `None` when there is none.
    ///
    /// # Errors
    /// See [`body::read_json`].
    pub async fn optional_json(&mut self) -> Result<Option<Value>, ApiError> {
        match self.body.take() {
            Some(body) => body::read_json(&self.headers, body, self.rules).await,
            None => Ok(None),
        }
    }

    /// The body as it is; empty when there is none.
    ///
    /// # Errors
    /// See [`body::read_bytes`].
    pub async fn bytes(&mut self) -> Result<Bytes, ApiError> {
        match self.body.take() {
            Some(body) => body::read_bytes(&self.headers, body, self.rules).await,
            None => Ok(Bytes::new()),
        }
    }

    /// Query parameters and the members of an optional JSON body as one object; the body wins. Says where a field that is
    /// wrong was looked for: in the body, if there is one.
    ///
    /// # Errors
    /// See [`body::read_json`].
    pub async fn either(&mut self) -> Result<(&'static str, Map<String, Value>), ApiError> {
        let mut members = self.query.last.clone();
        match self.optional_json().await? {
            None | Some(Value::Null) => Ok(("query", members)),
            Some(Value::Object(body)) => {
                members.extend(body);
                Ok(("body", members))
            }
            Some(other) => Err(ApiError::complaint(
                "dict_type",
                &["body"],
                "Input should be a valid dictionary",
                shortened(&other),
            )),
        }
    }

    /// The JSON body, which must be there.
    ///
    /// # Errors
    /// See [`body::read_json`].
    pub async fn json(&mut self) -> Result<Value, ApiError> {
        let body = self.optional_json().await?;
        body.ok_or_else(|| ApiError::complaint("missing", &["body"], "Field required", Value::Null))
    }
}

/// Only the kind of a value that is not repeated in full.
fn shortened(value: &Value) -> Value {
    match value {
        Value::Array(items) => format!("list of {} items", items.len()).into(),
        Value::String(text) => text.chars().take(200).collect::<String>().into(),
        other => other.clone(),
    }
}

/// Query parameters, in order.
#[derive(Debug, Clone, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
    last: Map<String, Value>,
}

impl Query {
    /// Parses what stands behind the question mark.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let pairs: Vec<(String, String)> = text
            .split('&')
            .filter(|part| !part.is_empty())
            .map(|part| part.split_once('=').unwrap_or((part, "")))
            .map(|(name, value)| (decode(&name.replace('+', " ")), decode(&value.replace('+', " "))))
            .collect();
        let last = pairs.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        Self { pairs, last }
    }

    /// A reader; of a repeated parameter it sees the last value.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        Fields::of_map("query", &self.last)
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The last value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.last.get(name).and_then(Value::as_str)
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::fields::Field;

    use super::*;

    #[test]
    fn parameters_are_decoded_and_may_repeat() {
        let query = Query::parse("a=1&b=x+y%20z&a=2&flag&=odd&n=%00&bad=%ff&&");
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((query.get("a"), query.get("b"), query.get("flag")), (Some("2"), Some("x y z"), Some("")));
        assert_eq!((query.get("n"), query.get("bad")), (Some("\u{fffd}"), Some("\u{fffd}")));
        assert_eq!(query.fields().integer("a", 0, 9), Field::Value(2));
        assert_eq!(Query::parse("").fields().text("a"), Field::Absent);
    }
}
