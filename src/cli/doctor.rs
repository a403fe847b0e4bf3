//! `greenroom doctor`: looks at everything a server needs and says how to mend what is missing. It changes nothing.

use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

use greenroom_embedder::Choice;
use greenroom_store::{DataDirLock, Verdict};
use nix::sys::resource::{Resource, getrlimit};

use super::terminal::{Style, one_line, say};
use super::{Doctor, data_dir_flag};
use crate::config::{self, Config, Surroundings};
use crate::rooms;

/// Files that thousands of streams need.
const GOOD_FILE_LIMIT: u64 = 16_384;

/// One thing looked at.
#[derive(Debug)]
struct Finding {
    subject: String,
    verdict: Verdict,
    detail: String,
    remedy: Option<String>,
}

impl Finding {
    fn new(subject: &str, verdict: Verdict, detail: impl Into<String>, remedy: Option<&str>) -> Self {
        Self { subject: subject.into(), verdict, detail: detail.into(), remedy: remedy.map(str::to_owned) }
    }
}

/// Runs the command. It fails when something keeps a server from working.
///
/// # Errors
/// When the configuration cannot be read at all.
pub async fn run(doctor: Doctor, mut around: Surroundings) -> anyhow::Result<ExitCode> {
    around.flags = data_dir_flag(doctor.data_dir.as_ref());
    let loaded = config::load_unchecked(&around)?;
    let mut findings = vec![configuration(&loaded.config)];
    findings.extend(loaded.notes.iter().map(|note| Finding::new("configuration", Verdict::Notice, note, None)));
    findings.extend(files(&loaded.config));
    findings.push(address(&loaded.config));
    findings.push(open_files());
    findings.extend(models(&loaded.config));
    findings.push(embedder(&loaded.config));
    let of_store = greenroom_store::doctor(&rooms::store(&loaded.config)).await;
    findings.extend(of_store.into_iter().map(|finding| Finding {
        subject: finding.subject.to_owned(),
        verdict: finding.verdict,
        detail: finding.detail,
        remedy: finding.remedy,
    }));
    let style = Style::detect(false, &around);
    for finding in &findings {
        print(finding, style)?;
    }
    let problems = findings.iter().filter(|finding| finding.verdict == Verdict::Problem).count();
    if problems == 0 {
        say("\nnothing keeps the server from working\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("\n{problems} to mend\n"))?;
    Ok(ExitCode::FAILURE)
}

fn print(finding: &Finding, style: Style) -> std::io::Result<()> {
    let mark = match finding.verdict {
        Verdict::Ok => style.good("ok    "),
        Verdict::Notice => style.warn("note  "),
        Verdict::Problem => style.bad("broken"),
    };
    say(&format!("{mark}  {}: {}\n", style.bold(&finding.subject), one_line(&finding.detail, 400)))?;
    match &finding.remedy {
        Some(remedy) => say(&format!("        {}\n", style.dim(&one_line(remedy, 400)))),
        None => Ok(()),
    }
}

fn configuration(config: &Config) -> Finding {
    match config.check() {
        Ok(()) => Finding::new("configuration", Verdict::Ok, "every value makes sense", None),
        Err(error) => Finding::new(
            "configuration",
            Verdict::Problem,
            error.to_string(),
            Some("`greenroom config` shows where each value comes from"),
        ),
    }
}

fn files(config: &Config) -> Vec<Finding> {
    let named = [
        ("bot seeds", &config.bots.seeds),
        ("model seeds", &config.providers.models),
        ("speech rules", &config.bots.tts_instructions),
    ];
    let looked = named.into_iter().filter_map(|(subject, path)| Some((subject, path.as_ref()?)));
    looked
        .map(|(subject, path)| match std::fs::read_to_string(path) {
            Ok(_) => Finding::new(subject, Verdict::Ok, path, None),
            Err(error) => Finding::new(
                subject,
                Verdict::Problem,
                format!("{path}: {error}"),
                Some("name another file, or leave the setting away to use what is built in"),
            ),
        })
        .collect()
}

/// Whether the port is free. That our own server has it is as good.
fn address(config: &Config) -> Finding {
    let (host, port) = (config.server.host.as_str(), config.server.port);
    if let Some(holder) = DataDirLock::holder(&config.data_dir()) {
        let place = holder.http.unwrap_or_else(|| "not yet listening".into());
        return Finding::new("server", Verdict::Ok, format!("running as process {} ({place})", holder.pid), None);
    }
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
    match addresses.first().map(std::net::TcpListener::bind) {
        Some(Ok(_)) => Finding::new("address", Verdict::Ok, format!("{host}:{port} is free"), None),
        Some(Err(error)) => Finding::new(
            "address",
            Verdict::Problem,
            format!("{host}:{port} cannot be bound: {error}"),
            Some("stop what listens there, or choose another port with --port or PORT"),
        ),
        None => Finding::new("address", Verdict::Problem, format!("'{host}' cannot be resolved"), None),
    }
}

fn open_files() -> Finding {
    let hard = getrlimit(Resource::RLIMIT_NOFILE).map(|(_, hard)| hard).unwrap_or_default();
    if hard >= GOOD_FILE_LIMIT {
        return Finding::new("open files", Verdict::Ok, format!("up to {hard}"), None);
    }
    let detail = format!("up to {hard}; each stream needs about two");
    Finding::new("open files", Verdict::Notice, detail, Some("raise the limit (`ulimit -Hn`, LimitNOFILE= in systemd)"))
}

/// Whether the embedding model's files are there; without them searches go by words alone.
fn embedder(config: &Config) -> Finding {
    const SUBJECT: &str = "embedding model";
    match rooms::embedder_choice(&config.embedder) {
        Some(Choice::MiniLm { dir }) if dir.join("model.safetensors").is_file() => {
            Finding::new(SUBJECT, Verdict::Ok, format!("all-MiniLM-L6-v2 in {}", dir.display()), None)
        }
        Some(Choice::MiniLm { dir }) => Finding::new(
            SUBJECT,
            Verdict::Notice,
            format!("{} has no model.safetensors, so searches go by words alone", dir.display()),
            Some("run `make setup`, or name the folder of all-MiniLM-L6-v2 in embedder.dir"),
        ),
        Some(Choice::TestHash) => Finding::new(SUBJECT, Verdict::Notice, "test-hash, which knows no meaning", None),
        Some(Choice::Off) => Finding::new(SUBJECT, Verdict::Ok, "off: searches go by words alone", None),
        None => Finding::new(SUBJECT, Verdict::Problem, "embedder.model names no known model", None),
    }
}

fn models(config: &Config) -> Vec<Finding> {
    let section = &config.providers;
    let keys = [
        ("OPENAI_API_KEY", section.openai_api_key.is_some()),
        ("OPENROUTER_API_KEY", section.openrouter_api_key.is_some()),
        ("XAI_API_KEY", section.xai_api_key.is_some()),
    ];
    let set: Vec<&str> = keys.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
    let endpoints = [&section.openai_base_url, &section.ollama_host];
    let reachable = endpoints.into_iter().flatten().map(String::as_str);
    let known: Vec<&str> = set.into_iter().chain(reachable).collect();
    if known.is_empty() {
        return vec![Finding::new(
            "models",
            Verdict::Notice,
            "no provider is configured, so only the built-in echo model answers",
            Some("set OPENAI_API_KEY, OPENAI_BASE_URL, OPENROUTER_API_KEY, XAI_API_KEY or OLLAMA_HOST"),
        )];
    }
    vec![Finding::new("models", Verdict::Ok, known.join(", "), None)]
}
