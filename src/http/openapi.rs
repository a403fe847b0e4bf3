//! The OpenAPI document. Every route of the tables has an operation here and every operation a route; a test walks both.
//! What follows from a route's declaration (keys, refusals, limits) is written once, in `common`; the areas below
//! describe only what is their own. Schemas are JSON, read through utoipa's types, and a test sees that none is bent.

mod bots;
mod chat;
mod common;
mod complete;
mod embeddings;
mod history;
mod jobs;
mod memory;
mod models;
mod operation;
mod overview;
mod profiles;
mod prompts;
mod settings;
mod transfer;
mod turn_logs;

use serde_json::Value;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    Components, ComponentsBuilder, Info, InfoBuilder, License, OpenApi, OpenApiBuilder, PathItem, Paths, RefOr, Schema,
};

use self::operation::Op;
use super::health::VERSION;
use super::routes::TABLES;

type Schemas = Vec<(&'static str, Value)>;

/// The document of this version.
#[must_use]
pub fn document() -> OpenApi {
    let mut paths = Paths::new();
    for route in TABLES.iter().copied().flatten() {
        let Some(op) = operations().into_iter().find(|op| op.is(&route.method, route.path)) else { continue };
        let (method, path, operation) = common::finish(op, route);
        let item = paths.paths.entry(path).or_default();
        item.merge_operations(PathItem::new(method, operation));
    }
    OpenApiBuilder::new().info(info()).paths(paths).components(Some(components())).build()
}

fn info() -> Info {
    InfoBuilder::new()
        .title("Greenroom")
        .version(VERSION)
        .description(Some(
            "A self-hosted chat backend behind the OpenAI protocol. Unknown JSON fields are ignored; numbers and \
             booleans may also be sent as text. Every answer carries X-Request-Id. The stream of a turn is made of \
             Chat Completions chunks with ids, between them frames of the service's own kinds, which clients read as \
             chunks that change nothing.",
        ))
        .license(Some(License::new("MIT OR Apache-2.0")))
        .build()
}

fn operations() -> Vec<Op> {
    [
        overview::operations(),
        chat::operations(),
        complete::operations(),
        models::operations(),
        bots::operations(),
        settings::operations(),
        turn_logs::operations(),
        history::operations(),
        memory::operations(),
        embeddings::operations(),
        transfer::operations(),
        profiles::operations(),
        prompts::operations(),
        jobs::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn schemas() -> Schemas {
    [
        common::schemas(),
        overview::schemas(),
        chat::schemas(),
        complete::schemas(),
        models::schemas(),
        bots::schemas(),
        settings::schemas(),
        turn_logs::schemas(),
        history::schemas(),
        memory::schemas(),
        embeddings::schemas(),
        transfer::schemas(),
        profiles::schemas(),
        prompts::schemas(),
        jobs::schemas(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn components() -> Components {
    let mut components = ComponentsBuilder::new()
        .security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)))
        .security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-api-key"))));
    for (name, schema) in schemas() {
        components = components.schema(name, read(schema));
    }
    components.build()
}

/// A schema given as JSON. One that cannot be read would describe nothing, and a test would say so.
fn read(schema: Value) -> RefOr<Schema> {
    serde_json::from_value(schema).unwrap_or_else(|_| RefOr::T(Schema::default()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::json;

    use super::*;

    fn rendered() -> Value {
        serde_json::to_value(document()).unwrap()
    }

    #[test]
    fn every_route_is_described_and_everything_described_is_a_route() {
        let routes: HashSet<String> =
            TABLES.iter().copied().flatten().map(|route| format!("{} {}", route.method, route.path)).collect();
        let described: Vec<String> = operations().iter().map(Op::key).collect();
        assert_eq!(described.iter().collect::<HashSet<_>>().len(), described.len(), "described twice");
        assert_eq!(routes, described.into_iter().collect());
        let count: usize =
            rendered()["paths"].as_object().unwrap().values().map(|item| item.as_object().unwrap().len()).sum();
        assert_eq!(count, routes.len());
    }

    #[test]
    fn schemas_pass_through_the_types_unbent() {
        let bent: Vec<_> = schemas()
            .into_iter()
            .filter(|(_, schema)| serde_json::to_value(read(schema.clone())).unwrap() != *schema)
            .map(|(name, schema)| (name, serde_json::to_value(read(schema)).unwrap()))
            .collect();
        assert!(bent.is_empty(), "{bent:#?}");
    }

    #[test]
    fn no_two_schemas_have_one_name() {
        let mut names = HashSet::new();
        let twice: Vec<_> = schemas().into_iter().map(|(name, _)| name).filter(|name| !names.insert(*name)).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }

    #[test]
    fn references_lead_somewhere_and_operations_have_distinct_ids() {
        let document = rendered();
        let known = document["components"]["schemas"].as_object().unwrap().clone();
        let (mut used, mut ids) = (HashSet::new(), HashSet::new());
        visit(&document, &mut |key, value| match key {
            "$ref" => {
                let name = value.as_str().unwrap().strip_prefix("#/components/schemas/").unwrap().to_owned();
                assert!(known.contains_key(&name), "{name}");
                used.insert(name);
            }
            "operationId" => assert!(ids.insert(value.as_str().unwrap().to_owned()), "{value}"),
            _ => {}
        });
        let unused: Vec<_> = known.keys().filter(|name| !used.contains(*name)).collect();
        assert!(unused.is_empty(), "{unused:?}");
    }

    #[test]
    fn scopes_are_told_and_public_routes_need_no_key() {
        let document = rendered();
        assert_eq!(document["paths"]["/health"]["get"]["security"], json!([]));
        let chat = &document["paths"]["/v1/chat/completions"]["post"];
        assert_eq!(chat["security"], json!([{"bearer": []}, {"api_key": []}]));
        assert!(chat["description"].as_str().unwrap().contains("role `chat`"), "{chat}");
        for status in ["401", "403", "413", "422", "429", "503"] {
            assert!(chat["responses"][status].is_object(), "{status}");
        }
    }

    fn visit(value: &Value, each: &mut impl FnMut(&str, &Value)) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    if value.is_string() {
                        each(key, value);
                    }
                    visit(value, each);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| visit(item, each)),
            _ => {}
        }
    }
}
