//! The program's commands, run as a person runs them: exit codes, what goes to which output, and that only our own server
//! is ever stopped.

use std::process::Stdio;

use greenroom_store::testing::{TestDataDir, database};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::common::{House, soon};

pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub fn program(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
    command.args(words).env_clear().current_dir(std::env::temp_dir());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

pub async fn said(child: Child) -> Said {
    let output = soon(child.wait_with_output()).await.unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub async fn run(words: &[&str], environment: &[(&str, &str)]) -> Said {
    said(program(words).envs(environment.iter().copied()).spawn().unwrap()).await
}

#[tokio::test]
async fn a_question_is_answered_on_standard_output_alone() {
    let house = House::open().await;
    let url = house.running.url();
    let ask = async |words: &[&str]| {
        run(&[&["chat", "--url", &url, "-m", "scripted", "-b", "spark"], words].concat(), &[]).await
    };
    let answer = ask(&["[[chunks=3]]"]).await;
    assert_eq!((answer.code, answer.out.as_str()), (0, "t0 t1 t2 \n"), "{}", answer.err);
    assert!(answer.err.contains("spark · scripted") && answer.err.contains("tokens"), "{}", answer.err);
    let plain = ask(&["--plain", "say", "[[text=a\u{1b}[2Jb]]"]).await;
    assert_eq!((plain.code, plain.out.as_str(), plain.err.as_str()), (0, "a[2Jb\n", ""));
    let broken = ask(&["--plain", "[[cut=1]][[chunks=3]]"]).await;
    assert_eq!((broken.code, broken.out.as_str()), (1, "t0 \n"));
    assert!(!broken.err.is_empty());
    let refused = ask(&["[[status=400]]"]).await;
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));

    let mut piped = program(&["chat", "--plain", "-m", "echo"]);
    let mut child = piped.env("GREENROOM_URL", &url).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"from a pipe\n").await.unwrap();
    drop(stdin);
    let piped = said(child).await;
    assert_eq!((piped.code, piped.out.as_str()), (0, "from a pipe\n"), "{}", piped.err);
    house.close().await;
}

#[tokio::test]
async fn ctrl_c_stops_the_turn_on_the_server() {
    let house = House::open().await;
    let words = ["chat", "--plain", "-m", "scripted", "-b", "spark", "[[hold=2]][[chunks=3]]"];
    let mut child = program(&words).env("GREENROOM_URL", house.running.url()).spawn().unwrap();
    let mut first = [0; 6];
    soon(child.stdout.as_mut().unwrap().read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"t0 t1 ");
    interrupt(&child);
    soon(house.upstream.wait_for_abort()).await;
    assert_eq!(said(child).await.code, 130);
    let (_, logs) = house.get("/v1/turn-logs").await;
    assert_eq!(
        (&logs["turns"][0]["status"], &logs["turns"][0]["response_preview"]),
        (&json!("aborted"), &json!("t0 t1 "))
    );
    house.close().await;
}

fn interrupt(child: &Child) {
    let pid = child.id().unwrap().to_string();
    std::process::Command::new("kill").args(["-s", "INT", &pid]).status().unwrap();
}

#[tokio::test]
async fn a_key_comes_from_the_environment() {
    let house = House::open_with(|config| config.auth.admin_key = Some("0123456789".into())).await;
    let url = house.running.url();
    let without = run(&["chat", "--url", &url, "-m", "echo", "hi"], &[]).await;
    assert_eq!(without.code, 1);
    assert!(without.err.contains("An API key is required (status 401"), "{}", without.err);
    let with = run(&["chat", "--url", &url, "-m", "echo", "hi"], &[("GREENROOM_API_KEY", "0123456789")]).await;
    assert_eq!((with.code, with.out.as_str()), (0, "hi\n"), "{}", with.err);
    house.close().await;
}

#[tokio::test]
async fn status_tells_with_words_json_and_exit_code() {
    let house = House::open().await;
    let url = house.running.url();
    let words = run(&["status", "--url", &url], &[]).await;
    assert!(words.code == 0 && words.out.contains("\n    provider:echo"), "{}", words.out);
    let json = run(&["status", "--json", "--url", &url], &[]).await;
    assert_eq!(serde_json::from_str::<Value>(&json.out).unwrap()["status"], "ok");
    house.close().await;
    let gone = run(&["status", "--url", &url], &[]).await;
    assert!(gone.code == 2 && gone.err.contains("greenroom serve"), "{}", gone.err);
}

#[tokio::test]
async fn config_shows_sources_and_no_secrets() {
    let environment = [("OPENAI_API_KEY", "sesame-open"), ("PORT", "1234"), ("GREENROOM_LIMITS__DRAIN", "3s")];
    let shown = run(&["config", "--json"], &environment).await;
    assert_eq!(shown.code, 0, "{}", shown.err);
    let settings: Vec<Value> = serde_json::from_str(&shown.out).unwrap();
    let of = |key: &str| settings.iter().find(|setting| setting["key"] == key).unwrap();
    assert_eq!(of("server.port"), &json!({"key": "server.port", "value": 1234, "source": "environment PORT"}));
    assert_eq!(of("limits.drain")["source"], "environment GREENROOM_LIMITS__DRAIN");
    assert!(!shown.out.contains("sesame"));
    let wrong = run(&["config"], &[("HOST", "0.0.0.0")]).await;
    assert!(
        wrong.code == 1 && wrong.out.contains("server.host") && wrong.err.contains("auth.admin_key"),
        "{}",
        wrong.err
    );
    let unknown = run(&["serve"], &[("GREENROOM_SERVER__PROT", "1")]).await;
    assert!(unknown.code == 1 && unknown.err.contains("prot"), "{}", unknown.err);
}

/// The program as a server with a database of the test's own; gives it once it listens.
async fn serve(words: &[&str], dir: &TestDataDir, url: &str) -> (Child, String) {
    let dir = dir.path().display().to_string();
    let mut command = program(&[&["serve", "--port", "0", "--data-dir", &dir], words].concat());
    let mut child = command.env("DATABASE_URL", url).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = soon(lines.next_line()).await.unwrap().expect("the server listens");
    (child, line.strip_prefix("listening on ").unwrap().to_owned())
}

#[tokio::test]
async fn one_server_for_a_data_directory_and_only_that_one_is_stopped() {
    let (database, dir) = (database().await, TestDataDir::new());
    let place = dir.path().display().to_string();
    let stop = async || run(&["serve", "--stop", "--data-dir", &place], &[]).await;
    assert_eq!(stop().await.code, 0);

    let (first, url) = serve(&[], &dir, &database.url).await;
    let second = run(&["serve", "--port", "0", "--data-dir", &place], &[("DATABASE_URL", &database.url)]).await;
    assert_eq!((second.code, second.out.as_str()), (0, ""));
    assert!(second.err.contains("already running") && second.err.contains(&url), "{}", second.err);
    let doctor = run(&["doctor", "--data-dir", &place], &[("DATABASE_URL", &database.url)]).await;
    assert!(doctor.out.contains("running as process"), "{}", doctor.out);

    let (third, new_url) = serve(&["--restart"], &dir, &database.url).await;
    assert_eq!(said(first).await.code, 0);
    assert_ne!(new_url, url);
    let stopped = stop().await;
    assert_eq!(stopped.code, 0, "{}", stopped.err);
    assert_eq!(said(third).await.code, 0);
    assert_eq!(run(&["status", "--url", &new_url], &[]).await.code, 2);

    // Somebody else's process holds the lock: it is not touched.
    let lock = std::fs::File::options().write(true).open(dir.path().join("greenroom.lock")).unwrap();
    lock.lock().unwrap();
    let mut stranger = Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
    std::fs::write(dir.path().join("greenroom.lock"), json!({"pid": stranger.id().unwrap()}).to_string()).unwrap();
    let refused = stop().await;
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(stranger.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn migrate_tells_and_does() {
    let (url, dir) = (greenroom_store::testing::empty_database().await, TestDataDir::new());
    let place = dir.path().display().to_string();
    let migrate = async |words: &[&str]| {
        run(&[&["migrate", "--data-dir", &place], words].concat(), &[("DATABASE_URL", &url)]).await
    };
    let plan = migrate(&["--dry-run"]).await;
    assert!(plan.code == 0 && plan.out.starts_with("pending  V1 "), "{}{}", plan.out, plan.err);
    let done = migrate(&[]).await;
    assert!(done.code == 0 && done.out.starts_with("applied  V1 "), "{}{}", done.out, done.err);
    assert_eq!(migrate(&[]).await.out, "the database is up to date\n");
}
