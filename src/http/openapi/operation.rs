//! A short way to describe one operation.

use http::Method;
use serde_json::{Value, json};
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{ContentBuilder, Required, Response, ResponseBuilder};

use super::read;

/// An operation being described.
pub struct Op {
    method: Method,
    path: &'static str,
    pub(super) summary: &'static str,
    pub(super) builder: OperationBuilder,
    /// Statuses it answers besides what its route implies, with what they mean.
    pub(super) refusals: Vec<(u16, &'static str)>,
    pub(super) answered: Vec<u16>,
    /// Whether it reads parameters or a body that can be wrong.
    pub(super) reads: bool,
}

/// A reference to a named schema.
pub fn named(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Any JSON value.
pub fn anything() -> Value {
    json!({"type": ["string", "number", "boolean", "object", "array", "null"]})
}

/// An object all of whose members are there.
pub fn object(members: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let properties: serde_json::Map<String, Value> =
        members.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({"type": "object", "required": names, "properties": properties})
}

impl Op {
    /// Begins with what identifies it.
    pub fn new(method: Method, path: &'static str, id: &'static str, tag: &'static str, summary: &'static str) -> Self {
        let mut builder = OperationBuilder::new().operation_id(Some(id)).tag(tag).summary(Some(summary));
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let name = name.trim_start_matches('*');
            builder =
                builder.parameter(parameter(ParameterIn::Path, name, json!({"type": "string", "minLength": 1}), ""));
        }
        Self { method, path, summary, builder, refusals: Vec::new(), answered: Vec::new(), reads: false }
    }

    /// Whether this describes the route.
    pub fn is(&self, method: &Method, path: &str) -> bool {
        self.method == *method && self.path == path
    }

    /// For comparing with the tables.
    #[cfg(test)]
    pub fn key(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// A query parameter.
    pub fn query(mut self, name: &str, schema: Value, about: &str) -> Self {
        self.builder = self.builder.parameter(parameter(ParameterIn::Query, name, schema, about));
        self.reads = true;
        self
    }

    /// A query parameter that must be there.
    pub fn required_query(mut self, name: &str, schema: Value, about: &str) -> Self {
        let mut found = parameter(ParameterIn::Query, name, schema, about);
        found.required = Required::True;
        self.builder = self.builder.parameter(found);
        self.reads = true;
        self
    }

    /// A header.
    pub fn header(mut self, name: &str, schema: Value, about: &str) -> Self {
        self.builder = self.builder.parameter(parameter(ParameterIn::Header, name, schema, about));
        self.reads = true;
        self
    }

    /// A JSON body.
    pub fn body(self, schema: &str) -> Self {
        self.with_body(schema, Required::True)
    }

    /// A JSON body that may be left out.
    pub fn optional_body(self, schema: &str) -> Self {
        self.with_body(schema, Required::False)
    }

    /// A body of many lines, each of this schema.
    pub fn body_of_lines(self, schema: &str) -> Self {
        self.with_body_of("application/x-ndjson", schema, Required::True)
    }

    fn with_body(self, schema: &str, required: Required) -> Self {
        self.with_body_of("application/json", schema, required)
    }

    fn with_body_of(mut self, kind: &str, schema: &str, required: Required) -> Self {
        let content = ContentBuilder::new().schema(Some(read(named(schema)))).build();
        let body = RequestBodyBuilder::new().content(kind, content).required(Some(required)).build();
        self.builder = self.builder.request_body(Some(body));
        self.reads = true;
        self
    }

    /// The JSON answer.
    pub fn gives(self, about: &str, schema: &str) -> Self {
        self.answers(200, about, "application/json", named(schema))
    }

    /// An answer of any type.
    pub fn answers(self, status: u16, about: &str, content_type: &str, schema: Value) -> Self {
        self.answers_either(status, about, &[(content_type, schema)])
    }

    /// An answer of several types.
    pub fn answers_either(mut self, status: u16, about: &str, kinds: &[(&str, Value)]) -> Self {
        self.answered.push(status);
        self.builder = self.builder.response(status.to_string(), response(about, kinds));
        self
    }

    /// An answer without a body.
    pub fn turns_away(self, status: u16, about: &str) -> Self {
        self.answers_either(status, about, &[])
    }

    /// A refusal of the operation's own.
    pub fn refuses(mut self, status: u16, about: &'static str) -> Self {
        self.refusals.push((status, about));
        self
    }
}

/// A response with its contents.
pub fn response(about: &str, kinds: &[(&str, Value)]) -> Response {
    let mut builder = ResponseBuilder::new().description(about);
    for (kind, schema) in kinds {
        builder = builder.content(*kind, ContentBuilder::new().schema(Some(read(schema.clone()))).build());
    }
    builder.build()
}

fn parameter(place: ParameterIn, name: &str, schema: Value, about: &str) -> Parameter {
    let required = if place == ParameterIn::Path { Required::True } else { Required::False };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description((!about.is_empty()).then_some(about))
        .schema(Some(read(schema)))
        .build()
}
