//! The program as a child process, with a data directory of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use greenroom_test_support::upstream::Upstream;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A running server, its data directory and the upstream that plays its models.
pub struct Server {
    pub url: String,
    pub upstream: Upstream,
    child: Option<Child>,
    data_dir: PathBuf,
    extra: String,
    /// Everything is logged, into this file.
    log: Option<PathBuf>,
}

/// An HTTP client of its own, with no connections yet.
pub fn http() -> reqwest::Client {
    greenroom::install_crypto();
    reqwest::Client::new()
}

/// Settings that make faults quick: short waits, small limits.
const CONFIG: &str = r#"
[limits]
keep_alive = "300ms"
viewer_stall_timeout = "2s"
drain = "2s"
"#;

impl Server {
    /// A fresh server whose models `scripted` and `refused` lead to the scripted upstream and to nobody.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// The same with more configuration.
    pub async fn start_with(extra: &str) -> Self {
        Self::new(extra).await.ready().await
    }

    /// The same with everything logged, see [`Self::logged`].
    pub async fn start_logged(extra: &str) -> Self {
        let mut server = Self::new(&format!("[log]\ndebug = true\n{extra}")).await;
        server.log = Some(server.data_dir.join("test.log"));
        server.ready().await
    }

    async fn new(extra: &str) -> Self {
        let upstream = Upstream::start().await;
        let unique = format!("greenroom-faults-{}-{}", std::process::id(), uuid::Uuid::new_v4().simple());
        let data_dir = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&data_dir).expect("a data directory");
        // The cluster may have to run as another user than root.
        #[cfg(unix)]
        std::fs::set_permissions(&data_dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions");
        Self { url: String::new(), upstream, child: None, data_dir, extra: extra.to_owned(), log: None }
    }

    async fn ready(mut self) -> Self {
        self.boot().await;
        self.define("scripted", &self.upstream.base_url()).await;
        self
    }

    /// What was logged so far.
    pub fn logged(&self) -> String {
        let bytes = self.log.as_ref().and_then(|path| std::fs::read(path).ok()).expect("a log");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Starts the program on the data directory and waits until it is ready.
    pub async fn boot(&mut self) {
        let config = self.data_dir.join("test.toml");
        std::fs::write(&config, format!("{CONFIG}{}", self.extra)).expect("a config file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
        match &self.log {
            Some(path) => {
                let file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("a log file");
                command.env_remove("RUST_LOG").stderr(file);
            }
            None => {
                let filter = std::env::var("GREENROOM_TEST_LOG").unwrap_or_else(|_| "error".into());
                command.env("RUST_LOG", filter);
            }
        }
        let mut child = command
            .args(["serve", "--port", "0", "--data-dir"])
            .arg(&self.data_dir)
            .arg("--config")
            .arg(&config)
            .env_remove("DATABASE_URL")
            .env_remove("OPENAI_API_KEY")
            .env_remove("GREENROOM_CONFIG")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let ready = async {
            loop {
                let line = lines.next_line().await.expect("readable").expect("the program says where it listens");
                if let Some(url) = line.strip_prefix("listening on ") {
                    return url.trim().to_owned();
                }
            }
        };
        self.url = tokio::time::timeout(Duration::from_secs(60), ready).await.expect("ready in time");
        self.child = Some(child);
    }

    /// Defines a model of the openai kind.
    pub async fn define(&self, alias: &str, base_url: &str) {
        let body = json!({"type": "openai", "model_id": alias,
            "extra": {"base_url": base_url, "api_key": "scripted", "context_window": 32000, "max_tokens": 4096,
                      "supports_images": true, "first_token_timeout_s": 1}});
        let answer = http()
            .put(format!("{}/v1/models/definitions/{alias}", self.url))
            .json(&body)
            .send()
            .await
            .expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
    }

    /// Kills the program like a power cut and waits until it is gone.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().expect("running");
        child.kill().await.expect("killed");
    }

    /// Sends SIGTERM without waiting.
    pub fn ask_to_end(&self) {
        signal(self.child.as_ref().and_then(Child::id).expect("a pid"), "TERM");
    }

    /// Waits for the program to end by itself.
    pub async fn ended(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("running");
        tokio::time::timeout(Duration::from_secs(60), child.wait()).await.expect("ends in time").expect("waited").code()
    }

    /// Kills the server's PostgreSQL.
    pub fn kill_postgres(&self) {
        let pid_file = self.postgres_dir().join("postmaster.pid");
        let text = std::fs::read_to_string(&pid_file).expect("the postmaster's pid file");
        let pid: u32 = text.lines().next().and_then(|line| line.trim().parse().ok()).expect("a pid");
        signal(pid, "KILL");
    }

    fn postgres_dir(&self) -> PathBuf {
        self.data_dir.join("postgres")
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        let answer = http().get(format!("{}{path}", self.url)).send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// Polls a turn's log until `wanted` holds.
    pub async fn until_turn(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let (status, turn) = self.get(&format!("/v1/turn-logs/{id}")).await;
            if status == 200 && wanted(&turn) {
                return turn;
            }
            assert!(began.elapsed() < Duration::from_secs(40), "waited in vain: {status} {turn}");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // A polite end first, so that PostgreSQL is not left behind.
            if let Some(pid) = child.id() {
                signal(pid, "TERM");
                let began = Instant::now();
                while began.elapsed() < Duration::from_secs(10) && !matches!(child.try_wait(), Ok(Some(_))) {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        } else if let Ok(text) = std::fs::read_to_string(self.postgres_dir().join("postmaster.pid"))
            && let Some(pid) = text.lines().next().and_then(|line| line.trim().parse().ok())
        {
            signal(pid, "INT");
        }
        let _ = std::fs::remove_dir_all(&self.data_dir);
    }
}

fn signal(pid: u32, name: &str) {
    let _ = std::process::Command::new("kill").args(["-s", name, &pid.to_string()]).status();
}
