//! A server as users run it, on a data directory of its own, and the calls that the measurements make to it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use greenroom_test_support::load::{Scratch, Server, ServerSetup};
use reqwest::Method;
use serde_json::{Value, json};

use crate::options::Options;

/// Tokens of the scripted model's window: small, so that a past of a thousand messages is already too long for it.
pub const WINDOW: u64 = 8192;
/// Records of one import.
const RECORDS: usize = 5000;
/// How often the statistics are asked while something is waited for.
const GLANCE: Duration = Duration::from_millis(250);
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(150);

/// A running server.
pub struct House {
    server: Server,
    client: reqwest::Client,
}

/// The name of a server's folder and whether it has an embedder.
#[derive(Debug, Clone, Copy)]
pub struct Plot {
    /// Folder.
    pub name: &'static str,
    /// With the model.
    pub embedder: bool,
}

impl Plot {
    /// Where its data are.
    pub fn data_dir(&self, scratch: &Scratch) -> PathBuf {
        scratch.path(self.name)
    }
}

impl House {
    /// Starts one. Background jobs are off, so that what is measured is what is asked for.
    ///
    /// # Errors
    /// When it does not start; with the end of its log.
    pub async fn open(options: &Options, scratch: &Scratch, plot: Plot) -> anyhow::Result<Self> {
        let config = scratch.path(&format!("{}.toml", plot.name));
        let embedder = match plot.embedder {
            true => {
                let weights = options.weights();
                ensure!(weights.is_dir(), "no weights in {}: make setup installs them", weights.display());
                format!("dir = {:?}", weights.display().to_string())
            }
            false => "model = \"off\"".to_owned(),
        };
        std::fs::write(&config, format!("[scheduler]\nenabled = false\n\n[embedder]\n{embedder}\n"))?;
        let setup = ServerSetup {
            binary: options.server.clone(),
            data_dir: plot.data_dir(scratch),
            config: Some(config),
            environment: Vec::new(),
        };
        let server = Server::start(&setup).await.with_context(|| setup.last_words())?;
        let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
        Ok(Self { server, client })
    }

    /// Its address as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Stops it.
    ///
    /// # Errors
    /// When it does not stop.
    pub async fn close(self) -> anyhow::Result<()> {
        self.server.stop().await?;
        Ok(())
    }

    async fn call(&self, method: Method, path: &str, body: String) -> anyhow::Result<Value> {
        let request = self.client.request(method, self.url() + path).header("content-type", "application/json");
        let response = request.body(body).send().await?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            bail!("{path}: status {status}: {}", text.chars().take(300).collect::<String>());
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// Reads.
    ///
    /// # Errors
    /// For any status but success.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, String::new()).await
    }

    /// Posts JSON.
    ///
    /// # Errors
    /// For any status but success.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, body.to_string()).await
    }

    /// Makes a bot that remembers.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn create_bot(&self, slug: &str) -> anyhow::Result<()> {
        let profile = json!({"slug": slug, "name": slug, "requires_memory": true, "include_summaries": true,
            "system_prompt": "You are a patient companion who remembers what was said."});
        self.post("/v1/bots", &profile).await?;
        Ok(())
    }

    /// Makes the model `name`, which is the scripted upstream.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn define_model(&self, name: &str, upstream: SocketAddr, window: u64) -> anyhow::Result<()> {
        let model = json!({"type": "openai", "model_id": "scripted", "extra": {"base_url": format!("http://{upstream}/v1"),
            "api_key": "bench", "context_window": window, "max_tokens": 1024}});
        self.call(Method::PUT, &format!("/v1/models/definitions/{name}"), model.to_string()).await?;
        Ok(())
    }

    /// Imports records; the time it took.
    ///
    /// # Errors
    /// When any of them is not stored.
    pub async fn import(&self, records: &[Value]) -> anyhow::Result<Duration> {
        let bodies: Vec<(usize, String)> = records
            .chunks(RECORDS)
            .map(|part| (part.len(), part.iter().map(|record| format!("{record}\n")).collect()))
            .collect();
        let begun = Instant::now();
        for (count, body) in bodies {
            let told = self.call(Method::POST, "/v1/import", body).await?;
            let stored = |kind: &str| told["stored"][kind].as_u64().unwrap_or_default();
            ensure!(stored("messages") + stored("memories") == count as u64, "not all was stored: {told}");
        }
        Ok(begun.elapsed())
    }

    /// The statistics of a bot's memory.
    ///
    /// # Errors
    /// When they cannot be had.
    pub async fn stats(&self, bot: &str) -> anyhow::Result<Value> {
        self.get(&format!("/v1/memory/stats?bot_id={bot}")).await
    }

    /// Waits until the statistics are as wanted; the time it took.
    ///
    /// # Errors
    /// When it takes minutes.
    pub async fn wait_until(&self, bot: &str, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        loop {
            let asked = Instant::now();
            let stats = self.stats(bot).await?;
            if wanted(&stats) {
                return Ok(begun.elapsed());
            }
            ensure!(begun.elapsed() < PATIENCE, "waited in vain: {stats}");
            // Counting a large table must not become the work that is waited for.
            tokio::time::sleep(GLANCE.max(asked.elapsed() * 2)).await;
        }
    }

    /// Waits until everything of a bot has its vectors.
    ///
    /// # Errors
    /// When it takes minutes.
    pub async fn embedded(&self, bot: &str) -> anyhow::Result<Duration> {
        self.wait_until(bot, |stats| {
            stats["messages"]["unembedded_count"] == 0 && stats["memories"]["unembedded_count"] == 0
        })
        .await
    }

    /// Brings both word indexes of a bot into memory; the time it took.
    ///
    /// # Errors
    /// When it takes minutes.
    pub async fn indexed(&self, bot: &str) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let ask = json!({"query": "bicycle", "bot_id": bot, "limit": 1, "mode": "vector"});
        self.post("/v1/history/search", &ask).await?;
        let ask = json!({"query": "bicycle", "bot_id": bot, "limit": 1, "method": "all"});
        self.post("/v1/memory/search", &ask).await?;
        let ready = |stats: &Value, kind: &str| stats["index"][kind]["state"] == "ready";
        self.wait_until(bot, |stats| ready(stats, "messages") && ready(stats, "memories")).await?;
        Ok(begun.elapsed())
    }
}
