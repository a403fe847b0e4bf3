//! A whole house in the test's own process: its own database, port 0, models played by the scripted upstream.

use std::time::Duration;

use greenroom::Running;
use greenroom::config::{Config, Key, KeyRole};
use greenroom_store::testing::{TestDataDir, TestDatabase, database};
use greenroom_test_support::upstream::Upstream;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

/// A running house and what it needs.
pub struct House {
    pub running: Running,
    pub upstream: Upstream,
    pub client: reqwest::Client,
    pub key: Option<String>,
    _database: TestDatabase,
    _data_dir: TestDataDir,
}

impl House {
    /// One with default settings.
    pub async fn open() -> Self {
        Self::open_with(|_| ()).await
    }

    /// One with changed settings. Its model `scripted` is the scripted upstream.
    pub async fn open_with(change: impl FnOnce(&mut Config)) -> Self {
        greenroom::install_crypto();
        let (database, upstream) = (database().await, Upstream::start().await);
        let data_dir = TestDataDir::new();
        let mut config = Config::default();
        config.server.port = 0;
        config.server.data_dir = Some(data_dir.path().display().to_string());
        config.store.database_url = Some(database.url.clone().into());
        // Vectors without weights; the few tests that need the model itself ask for it.
        config.embedder.model = "test-hash".into();
        change(&mut config);
        let key = config.auth.admin_key.as_ref().map(|key| secrecy_text(key).to_owned());
        let running = greenroom::serve(config).await.unwrap();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let house = Self { running, upstream, client, key, _database: database, _data_dir: data_dir };
        let (status, body) = house
            .put(
                "/v1/models/definitions/scripted",
                &json!({
                    "type": "openai", "model_id": "scripted",
                    "extra": {"base_url": house.upstream.base_url(), "api_key": "scripted-key-0123456789",
                              "context_window": 32000, "max_tokens": 4096},
                }),
            )
            .await;
        assert_eq!(status, 200, "{body}");
        house
    }

    /// A request with the operator's key, if the house asks for keys.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.running.url()));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    pub async fn send(&self, request: RequestBuilder) -> (u16, Value) {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or(Value::Null))
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }

    pub async fn delete(&self, path: &str) -> (u16, Value) {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Begins a streamed turn of bot spark.
    pub async fn stream(&self, prompt: &str, user: &str) -> Response {
        let body = json!({"model": "scripted", "bot_id": "spark", "user": user, "stream": true,
            "messages": [{"role": "user", "content": prompt}]});
        self.request(Method::POST, "/v1/chat/completions").json(&body).send().await.unwrap()
    }

    /// Ends the house in order.
    pub async fn close(self) {
        self.running.shutdown().await;
    }
}

fn secrecy_text(secret: &secrecy::SecretString) -> &str {
    secrecy::ExposeSecret::expose_secret(secret)
}

/// A key for the configuration.
pub fn key(name: &str, roles: &[KeyRole], user: Option<&str>) -> Key {
    let text = format!("the-{name}-key");
    Key { name: name.into(), key: Some(text.into()), roles: roles.into(), user: user.map(str::to_owned) }
}

/// The text of one stream's content frames.
pub fn text_of(stream: &str) -> String {
    let frames = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    let frames = frames.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    frames.filter_map(|frame| frame["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
}

/// Fails rather than hang.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("soon")
}

/// Lets held answers go on, again and again until `what` is done: a hold may begin after a release.
pub async fn released<T>(upstream: &Upstream, what: impl Future<Output = T>) -> T {
    let release = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            upstream.release_holds();
        }
    };
    tokio::select! {
        done = soon(what) => done,
        () = release => unreachable!("it never ends"),
    }
}
