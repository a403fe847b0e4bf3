//! The server as users run it, with a bot that has tools and keeps nothing, and the scripted model in each format.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use greenroom_test_support::load::{Scratch, Server, ServerSetup};
use reqwest::Method;
use serde_json::{Value, json};

use crate::model::FORMATS;
use crate::options::Options;

/// The bot that is asked.
pub const BOT: &str = "scout";

/// Background jobs and the embedder are off: what is measured is what is asked for.
const CONFIG: &str = "[scheduler]\nenabled = false\n\n[embedder]\nmodel = \"off\"\n";

/// A running server.
pub struct House {
    server: Server,
    client: reqwest::Client,
}

impl House {
    /// Starts it on a data directory of its own.
    ///
    /// # Errors
    /// When it does not start (with the end of its log), or refuses the bot or a model.
    pub async fn open(options: &Options, scratch: &Scratch, model: SocketAddr) -> anyhow::Result<Self> {
        let config = scratch.path("tools.toml");
        std::fs::write(&config, CONFIG)?;
        let setup = ServerSetup {
            binary: options.server.clone(),
            data_dir: scratch.path("tools"),
            config: Some(config),
            environment: Vec::new(),
        };
        let server = Server::start(&setup).await.with_context(|| setup.last_words())?;
        let house = Self { server, client: reqwest::Client::new() };
        let bot = json!({"slug": BOT, "name": "Scout", "requires_memory": false, "uses_tools": true,
            "system_prompt": "You are Scout. Look at the clock before you say what time it is."});
        house.call(Method::POST, "/v1/bots", &bot).await?;
        for (format, _) in FORMATS {
            let extra = json!({"base_url": format!("http://{model}/v1"), "api_key": "bench", "context_window": 32_768,
                "max_tokens": 1024});
            let model = json!({"type": "openai", "model_id": format, "tool_support": format, "extra": extra});
            house.call(Method::PUT, &format!("/v1/models/definitions/{format}"), &model).await?;
        }
        Ok(house)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Stops it.
    ///
    /// # Errors
    /// When it does not stop.
    pub async fn close(self) -> anyhow::Result<()> {
        self.server.stop().await?;
        Ok(())
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<()> {
        let url = format!("http://{}{path}", self.address());
        let request = self.client.request(method, url).header("content-type", "application/json");
        let response = request.body(body.to_string()).send().await?;
        let status = response.status();
        if !status.is_success() {
            let text = response.text().await?;
            bail!("{path}: status {status}: {}", text.chars().take(300).collect::<String>());
        }
        Ok(())
    }
}
