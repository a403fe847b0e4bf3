//! Vectors of texts in OpenAI's shape, and what is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::common::House;

#[tokio::test]
async fn vectors_come_as_numbers_or_packed() {
    let house = House::open().await;
    let (status, one) = house.post("/v1/embeddings", &json!({"model": "default", "input": "hello"})).await;
    assert_eq!(
        (status, &one["object"], &one["data"][0]["object"]),
        (200, &json!("list"), &json!("embedding")),
        "{one}"
    );
    let numbers: Vec<f64> = one["data"][0]["embedding"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    let length: f64 = numbers.iter().map(|number| number * number).sum::<f64>().sqrt();
    assert!(numbers.len() == 384 && (length - 1.0).abs() < 1e-3, "{} {length}", numbers.len());
    assert!(one["usage"]["prompt_tokens"].as_u64().unwrap() >= 1, "{one}");
    assert_eq!(one["usage"]["prompt_tokens"], one["usage"]["total_tokens"]);
    let body =
        json!({"model": one["model"], "input": ["other", "hello"], "encoding_format": "base64", "dimensions": 384});
    let (_, two) = house.post("/v1/embeddings", &body).await;
    assert_eq!((&two["data"][0]["index"], &two["data"][1]["index"]), (&json!(0), &json!(1)), "{two}");
    let packed = STANDARD.decode(two["data"][1]["embedding"].as_str().unwrap()).unwrap();
    let unpacked = packed.chunks_exact(4).map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().unwrap())));
    assert!(unpacked.zip(&numbers).all(|(a, b)| (a - b).abs() < 1e-6));
    let (status, plain) = house.post("/v1/memory/embedding", &json!({"text": "hello"})).await;
    assert_eq!((status, &plain["embedding"]), (200, &one["data"][0]["embedding"]), "{plain}");
    house.close().await;
}

#[tokio::test]
async fn what_cannot_be_embedded_is_refused_in_words() {
    let house = House::open().await;
    for (body, status, code) in [
        (json!({"input": "x"}), 422, "invalid_request"),
        (json!({"model": "default"}), 422, "invalid_request"),
        (json!({"model": "default", "input": []}), 422, "invalid_request"),
        (json!({"model": "default", "input": ["a", ""]}), 422, "invalid_request"),
        (json!({"model": "default", "input": "x", "encoding_format": "hex"}), 422, "invalid_request"),
        (json!({"model": "default", "input": [1, 2, 3]}), 400, "invalid_request"),
        (json!({"model": "default", "input": "x", "dimensions": 256}), 400, "invalid_request"),
        (json!({"model": "text-embedding-3-small", "input": "x"}), 404, "not_found"),
    ] {
        let (answered, answer) = house.post("/v1/embeddings", &body).await;
        assert_eq!((answered, answer["error"]["code"].as_str()), (status, Some(code)), "{body}: {answer}");
    }
    assert_eq!(house.post("/v1/memory/embedding", &json!({"text": " "})).await.0, 422);
    house.close().await;
}

#[tokio::test]
async fn without_a_model_clients_are_told_to_come_back() {
    let house = House::open_with(|config| config.embedder.model = "off".into()).await;
    let request =
        house.request(reqwest::Method::POST, "/v1/embeddings").json(&json!({"model": "default", "input": "x"}));
    let response = request.send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers().contains_key("retry-after")), (503, true));
    let body: Value = response.json().await.unwrap();
    assert!(body["error"]["message"].as_str().unwrap().contains("not available"), "{body}");
    house.close().await;
}
