//! Whole processes that own a cluster and are killed, and the same as an ordinary user. The processes are this very test
//! program, started again with a word about what to be.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use greenroom_store::testing::{SHARED_CLUSTER, TestDataDir};
use greenroom_store::{DataDirLock, StoreSettings};
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use super::common::{Tree, is_alive, postmaster_of, remember, remembered, signal, start, until, wheel};

const ROLE: &str = "GREENROOM_STORE_ROLE";
const DATA_DIR: &str = "GREENROOM_STORE_DATA_DIR";
const PROGRAMS: &str = "GREENROOM_STORE_PROGRAMS";

/// Not a test by itself: what the other process does when it is started by a test of this file.
#[tokio::test]
async fn role() {
    let (Some(role), Some(data_dir)) = (std::env::var_os(ROLE), std::env::var_os(DATA_DIR)) else { return };
    let settings =
        StoreSettings { postgres_dir: std::env::var_os(PROGRAMS).map(PathBuf::from), ..StoreSettings::new(data_dir) };
    let tree = Tree::grow().await;
    let store = match tree.start(settings).await {
        Ok(store) => store,
        Err(error) => {
            println!("\nrefused {error}");
            return;
        }
    };
    remember(&store, role.to_str().unwrap()).await;
    println!("\nready {}", store.facts().postgres_pid.unwrap());
    let until_told = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    until_told.await.unwrap().unwrap();
    println!("\nwords {}", remembered(&store).await.join(" "));
    store.close().await;
}

struct Other {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Other {
    fn start(role: &str, data_dir: &Path, prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        Self::run(&mut command, role, data_dir, prepare)
    }

    fn run(command: &mut Command, role: &str, data_dir: &Path, prepare: impl FnOnce(&mut Command)) -> Self {
        command.args(["processes::role", "--exact", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, role).env(DATA_DIR, data_dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        prepare(command);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The rest of the first line that starts with a word.
    async fn says(&mut self, word: &str) -> String {
        let mut heard = Vec::new();
        while let Some(line) = self.lines.next_line().await.unwrap() {
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
            heard.push(line);
        }
        panic!("never said {word}: {heard:#?}");
    }

    async fn ready(&mut self) -> i32 {
        self.says("ready").await.parse().unwrap()
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id().unwrap()).unwrap()
    }

    async fn finish(mut self) -> String {
        self.child.stdin.take().unwrap().write_all(b"\n").await.unwrap();
        let words = self.says("words").await;
        assert!(self.child.wait().await.unwrap().success());
        words
    }
}

/// The guard of a server: the shell that names its process id.
fn guard_of(postgres: i32) -> Option<i32> {
    let wanted = postgres.to_string();
    fs::read_dir("/proc").ok()?.filter_map(Result::ok).find_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let is_guard = words.contains(&b"greenroom-guard".as_slice()) && words.contains(&wanted.as_bytes());
        is_guard.then(|| entry.file_name().to_str()?.parse().ok())?
    })
}

#[tokio::test]
async fn a_killed_owner_leaves_no_server_and_loses_nothing() {
    let dir = TestDataDir::new();
    let mut other = Other::start("victim", dir.path(), |_| {});
    let postgres = other.ready().await;
    assert_eq!(DataDirLock::holder(dir.path()).map(|holder| holder.pid), other.child.id());
    signal(other.pid(), Signal::SIGKILL);
    assert_eq!(other.child.wait().await.unwrap().signal(), Some(9));
    assert_eq!(DataDirLock::holder(dir.path()), None);
    until("the guard stops postgres", async || !is_alive(postgres)).await;
    assert_eq!(postmaster_of(dir.path()), None, "the cluster was not closed cleanly");
    let (_tree, store) = start(dir.path()).await;
    assert_eq!(remembered(&store).await, ["victim"]);
    store.close().await;
}

#[tokio::test]
async fn a_start_right_after_a_kill_waits_for_the_old_server() {
    let dir = TestDataDir::new();
    for round in 0..3 {
        let mut other = Other::start("victim", dir.path(), |_| {});
        let postgres = other.ready().await;
        signal(other.pid(), Signal::SIGKILL);
        other.child.wait().await.unwrap();
        let begun = Instant::now();
        let (_tree, store) = start(dir.path()).await;
        assert!(!is_alive(postgres), "two servers on one cluster");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!(remembered(&store).await.len(), round + 1);
        store.close().await;
    }
}

#[tokio::test]
async fn a_leftover_server_without_a_guard_is_recognised_and_stopped() {
    let dir = TestDataDir::new();
    let mut other = Other::start("victim", dir.path(), |_| {});
    let postgres = other.ready().await;
    signal(guard_of(postgres).expect("a guard"), Signal::SIGKILL);
    signal(other.pid(), Signal::SIGKILL);
    other.child.wait().await.unwrap();
    assert!(is_alive(postgres), "postgres should have been left over");
    let (_tree, store) = start(dir.path()).await;
    assert!(!is_alive(postgres));
    assert_eq!(remembered(&store).await, ["victim"]);
    store.close().await;
}

#[tokio::test]
async fn server_and_owner_killed_together_are_recovered_from() {
    let dir = TestDataDir::new();
    let mut other = Other::start("victim", dir.path(), |_| {});
    let postgres = other.ready().await;
    signal(other.pid(), Signal::SIGKILL);
    signal(postgres, Signal::SIGKILL);
    other.child.wait().await.unwrap();
    let (_tree, store) = start(dir.path()).await;
    assert_eq!(remembered(&store).await, ["victim"]);
    store.close().await;
}

#[tokio::test]
async fn an_owner_killed_at_any_moment_of_its_first_start_does_no_harm() {
    for pause_ms in [60, 250, 500] {
        let dir = TestDataDir::new();
        let mut other = Other::start("victim", dir.path(), |_| {});
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        signal(other.pid(), Signal::SIGKILL);
        other.child.wait().await.unwrap();
        let (_tree, store) = start(dir.path()).await;
        remember(&store, "works").await;
        store.close().await;
    }
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let dir = TestDataDir::new();
    let (_tree, store) = start(dir.path()).await;
    remember(&store, "first").await;
    let mut other = Other::start("second", dir.path(), |_| {});
    let refusal = other.says("refused").await;
    assert!(refusal.contains("in use") && refusal.contains(&std::process::id().to_string()), "{refusal}");
    assert_eq!(remembered(&store).await, ["first"]);
    store.close().await;
}

#[tokio::test]
async fn ctrl_c_at_the_terminal_does_not_reach_the_server() {
    let dir = TestDataDir::new();
    let mut other = Other::start("steady", dir.path(), |command| {
        command.process_group(0);
    });
    let postgres = other.ready().await;
    // What a terminal does: the signal goes to the whole foreground group. SIGURG stands in for it and harms nobody; the
    // question is only who is in the group.
    let group = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.split(' ').nth(2).unwrap().parse::<i32>().unwrap()
    };
    assert_eq!(group(other.pid()), other.pid());
    assert_ne!(group(postgres), other.pid());
    assert_ne!(group(guard_of(postgres).expect("a guard")), other.pid());
    assert_eq!(other.finish().await, "steady");
}

#[tokio::test]
async fn our_secrets_are_not_in_the_servers_environment() {
    let dir = TestDataDir::new();
    let mut other = Other::start("victim", dir.path(), |command| {
        command.env("OPENAI_API_KEY", "hush");
    });
    let postgres = other.ready().await;
    let readable = fs::read(format!("/proc/{postgres}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&readable).contains("hush"));
    other.finish().await;
}

/// As root: programs in a closed folder are copied to where the server's account can run them.
#[tokio::test]
async fn root_with_a_closed_checkout_works() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let dir = TestDataDir::new();
    let closed = dir.path().join("closed");
    copy_wheel(&closed);
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    let settings = StoreSettings { postgres_dir: Some(closed), ..StoreSettings::new(dir.path().join("data")) };
    let tree = Tree::grow().await;
    let store = tree.start(settings).await.unwrap();
    remember(&store, "works").await;
    store.close().await;

    let shut = dir.path().join("shut");
    fs::create_dir(&shut).unwrap();
    fs::set_permissions(&shut, Permissions::from_mode(0o700)).unwrap();
    let text = tree.start(StoreSettings::new(shut.join("data"))).await.unwrap_err().to_string();
    assert!(text.contains("cannot reach the data directory") && text.contains("DATABASE_URL"), "{text}");
}

/// As root: a data directory that is itself closed, such as `mktemp -d` makes, is opened for passing through.
#[tokio::test]
async fn root_with_a_closed_data_directory_works() {
    let dir = TestDataDir::new();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
    let (_tree, store) = start(dir.path()).await;
    store.close().await;
}

/// When the tests run as root, the ordinary user is `nobody` or `postgres`; otherwise it is whoever runs them, everywhere.
#[tokio::test]
async fn an_ordinary_user_runs_it_as_themselves_and_root_takes_it_over() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let uid: u32 =
        passwd.lines().find(|line| line.starts_with("nobody:")).unwrap().split(':').nth(2).unwrap().parse().unwrap();
    let dir = TestDataDir::new();
    let (program, programs, home) = (dir.path().join("program"), dir.path().join("programs"), dir.path().join("home"));
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    copy_wheel(&programs);
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(uid), Some(uid)).unwrap();

    let data_dir = home.join("data");
    let ordinary = |command: &mut Command| {
        command.uid(uid).gid(uid).env(PROGRAMS, &programs).current_dir("/").env_remove(SHARED_CLUSTER);
    };
    let mut other = Other::run(&mut Command::new(&program), "ordinary", &data_dir, ordinary);
    let postgres = other.ready().await;
    let owner = fs::read_to_string(format!("/proc/{postgres}/status")).unwrap();
    assert!(owner.lines().any(|line| line.starts_with("Uid:") && line.contains(&uid.to_string())), "{owner}");
    assert_eq!(fs::metadata(&data_dir).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(other.finish().await, "ordinary");

    let tree = Tree::grow().await;
    let store = tree.start(StoreSettings::new(&data_dir)).await.unwrap();
    assert_eq!(remembered(&store).await, ["ordinary"]);
    store.close().await;

    let mut again = Other::run(&mut Command::new(&program), "ordinary", &data_dir, ordinary);
    again.ready().await;
    assert_eq!(again.finish().await, "ordinary ordinary");
}

fn copy_wheel(to: &Path) {
    let status = std::process::Command::new("cp").arg("-r").arg(wheel()).arg(to).status().unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn the_test_cluster_lends_itself_to_a_command_and_is_gone_afterwards() {
    let lent = test_cluster(&format!("echo ${SHARED_CLUSTER}; exit 7")).output().await.unwrap();
    assert_eq!(lent.status.code(), Some(7));
    let url = String::from_utf8(lent.stdout).unwrap();
    let dir = folder_of(&url);
    assert!(!dir.exists(), "{} is still there", dir.display());
}

#[tokio::test]
async fn a_killed_test_cluster_is_gone_too() {
    let mut lender = test_cluster(&format!("echo ${SHARED_CLUSTER}; exec cat")).spawn().unwrap();
    let mut lines = BufReader::new(lender.stdout.take().unwrap()).lines();
    let dir = folder_of(&lines.next_line().await.unwrap().unwrap());
    assert!(dir.exists());
    lender.kill().await.unwrap();
    until("the folder is removed", async || !dir.exists()).await;
}

fn test_cluster(script: &str) -> Command {
    // Cargo builds examples along with the tests, next to the folder of test programs.
    let example = std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples").join("test-cluster");
    let mut command = Command::new(example);
    command.args(["sh", "-c", script]).env_remove(SHARED_CLUSTER).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// The cluster's folder, from an address with an encoded socket path.
fn folder_of(url: &str) -> PathBuf {
    let (_, place) = url.trim().split_once('@').unwrap();
    let (socket, _) = place.split_once('/').unwrap();
    PathBuf::from(socket.replace("%2F", "/").replace("%25", "%")).parent().unwrap().to_owned()
}
