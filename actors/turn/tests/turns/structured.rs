//! Answers of a wanted shape: passed on where a provider takes the wish, seen to here where it does not.

use greenroom_protocol::{ErrorClass, TurnEvent, TurnStatus};
use greenroom_test_support::upstream::Script;
use greenroom_tools::Effects;
use greenroom_turn::TurnPlan;
use serde_json::{Value, json};

use crate::hands::{Deed, Hand, bodies, ended};
use crate::house::{House, complete_of, text_of};

fn wish() -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "person", "schema": {
        "type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"], "additionalProperties": false,
    }}})
}

fn shaped(mut plan: TurnPlan, wish: Value) -> TurnPlan {
    plan.sampling.response_format = Some(wish);
    plan
}

async fn house() -> House {
    House::with_tools(vec![Hand::new("look", Effects::ReadOnly, Deed::Say("Ann is 7".into()))]).await
}

#[tokio::test]
async fn a_provider_that_takes_the_wish_gets_it() {
    let house = house().await;
    house.upstream.script(Script::text("{\"name\": \"Ann\"}"));
    let (_, events) = house.run(shaped(house.tool_plan("scripted", "who?"), wish())).await;
    assert_eq!(text_of(&events), "{\"name\": \"Ann\"}");
    assert_eq!(bodies(&house)[0]["response_format"], wish());
}

#[tokio::test]
async fn a_text_models_answer_is_checked_behind_its_calls_and_mended_once() {
    let house = house().await;
    house.upstream.script(Script::text("Thought: look\nAction: look\nAction Input: {\"n\": 1}\n"));
    house.upstream.script(Script::text("Final Answer: {\"name\": \"Ann\"}"));
    house.upstream.script(Script::text("```json\n{\"name\": \"Ann\", \"age\": 7,}\n```"));
    let (turn, events) = house.run(shaped(house.tool_plan("react", "who?"), wish())).await;
    assert_eq!(serde_json::from_str::<Value>(&text_of(&events)).ok(), Some(json!({"name": "Ann", "age": 7})));
    assert!(ended(&events)[0].ok && complete_of(&events).status == TurnStatus::Ok);
    let asked = bodies(&house);
    assert!(asked.iter().all(|body| body.get("response_format").is_none()));
    assert!(asked[0]["messages"][0]["content"].as_str().is_some_and(|text| text.contains("JSON Schema")));
    assert!(asked[2]["messages"].to_string().contains("age"), "it is told what is missing");
    let detail = house.turns.logs().get(turn.id()).await.expect("stored");
    assert_eq!(detail.response.as_deref(), Some(text_of(&events).as_str()));
}

#[tokio::test]
async fn what_does_not_fit_twice_is_an_error_and_no_answer() {
    let house = house().await;
    house.upstream.script(Script::text("Final Answer: Ann."));
    house.upstream.script(Script::text("Ann, I said."));
    let (_, events) = house.run(shaped(house.tool_plan("react", "who?"), wish())).await;
    assert_eq!((text_of(&events).as_str(), complete_of(&events).status), ("", TurnStatus::Error));
    // A schema that is none never reaches the model.
    let bad = json!({"type": "json_schema", "json_schema": {"schema": {"type": "no such type"}}});
    let (_, events) = house.run(shaped(house.tool_plan("react", "who?"), bad)).await;
    let error = events.iter().find_map(|event| match event {
        TurnEvent::Finish(finish) => finish.error.clone(),
        _ => None,
    });
    assert_eq!(error.and_then(|error| error.code).as_deref(), Some(ErrorClass::InvalidRequest.code()));
    assert_eq!(bodies(&house).len(), 2);
}

#[tokio::test]
async fn the_echo_cannot_and_says_so() {
    let house = house().await;
    let plan = TurnPlan { engine: house.engine("echo"), ..house.plan("{\"name\": \"Ann\", \"age\": 7}") };
    let (_, events) = house.run(shaped(plan, json!({"type": "text"}))).await;
    assert_eq!(complete_of(&events).status, TurnStatus::Ok);
    let plan = TurnPlan { engine: house.engine("echo"), ..house.plan("no JSON here") };
    let (_, events) = house.run(shaped(plan, wish())).await;
    assert_eq!(complete_of(&events).status, TurnStatus::Error);
}
