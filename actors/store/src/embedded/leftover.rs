//! A server that outlived its owner. Whoever holds the data directory's lock is the only owner, so a postmaster that still
//! works on the cluster is a leftover of a killed one: it is asked to go, then told to. Deliberately absent: touching a
//! process that does not name our cluster, whatever the pid file says.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::layout::Layout;
use crate::error::StoreError;
use crate::target::SOCKET_PORT;

/// Fast shutdown, immediate shutdown, and the last resort; PostgreSQL loses nothing by any of them.
const STEPS: [(Signal, Duration); 3] = [
    (Signal::SIGINT, Duration::from_secs(10)),
    (Signal::SIGQUIT, Duration::from_secs(5)),
    (Signal::SIGKILL, Duration::from_secs(5)),
];

/// What a pid file means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leftover {
    /// Nobody is there, and nothing stands in the way.
    None,
    /// The file names a process that is gone or has nothing to do with us; the file would only mislead PostgreSQL.
    StaleFile,
    /// A postmaster of ours.
    Ours(i32),
}

/// Pure: what the pid file's text and the arguments of the process it names (none: it is gone) say.
fn judge(pid_file: Option<&str>, arguments_of: impl Fn(i32) -> Option<Vec<String>>, cluster: &Path) -> Leftover {
    let Some(text) = pid_file else { return Leftover::None };
    let pid = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok());
    let Some(pid) = pid.filter(|pid| *pid > 1) else { return Leftover::StaleFile };
    let Some(arguments) = arguments_of(pid) else { return Leftover::StaleFile };
    let is_postgres = arguments
        .first()
        .and_then(|program| Path::new(program).file_name())
        .is_some_and(|name| name == "postgres" || name == "postmaster");
    let is_here = arguments.windows(2).any(|pair| pair[0] == "-D" && Path::new(&pair[1]) == cluster);
    if is_postgres && is_here { Leftover::Ours(pid) } else { Leftover::StaleFile }
}

pub(crate) fn look(cluster: &Path) -> Leftover {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).ok();
    judge(text.as_deref(), arguments_of, cluster)
}

/// Leaves the cluster without a server and without the files that would make PostgreSQL believe there is one: it asks
/// whether a process of that number exists, and one that nobody collects, or a stranger, does.
pub(crate) async fn clear(layout: &Layout) -> Result<(), StoreError> {
    if let Leftover::Ours(pid) = look(&layout.cluster) {
        tracing::warn!(pid, "stopping a postgres that outlived its server");
        end(pid).await?;
    }
    let socket = layout.socket_dir.join(format!(".s.PGSQL.{SOCKET_PORT}"));
    for file in [layout.cluster.join("postmaster.pid"), socket.with_added_extension("lock"), socket] {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(StoreError::file("remove", &file, &error)),
            _ => {}
        }
    }
    Ok(())
}

async fn end(pid: i32) -> Result<(), StoreError> {
    for (signal, patience) in STEPS {
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) => {}
            Err(Errno::ESRCH) => return Ok(()),
            Err(error) => {
                return Err(StoreError::setup(
                    format!("a PostgreSQL left behind by another run (process {pid}) cannot be stopped: {error}"),
                    "Stop it as the user who started it, or run greenroom as that user",
                ));
            }
        }
        if gone_within(pid, patience).await {
            return Ok(());
        }
        tracing::warn!(pid, signal = signal.as_str(), "postgres does not stop");
    }
    Err(StoreError::setup(format!("a PostgreSQL left behind by another run (process {pid}) does not stop"), "Kill it"))
}

async fn gone_within(pid: i32, patience: Duration) -> bool {
    let begun = Instant::now();
    while arguments_of(pid).is_some() {
        if begun.elapsed() > patience {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

/// The arguments of a living process. One that ended and was not yet collected has none and counts as gone.
pub(crate) fn arguments_of(pid: i32) -> Option<Vec<String>> {
    let text = if Path::new("/proc/self").exists() {
        fs::read(format!("/proc/{pid}/cmdline")).ok()?
    } else {
        let id = pid.to_string();
        let answer = std::process::Command::new("ps").args(["-ww", "-o", "command=", "-p", &id]).output().ok()?;
        answer.stdout.iter().map(|byte| if byte.is_ascii_whitespace() { 0 } else { *byte }).collect()
    };
    let arguments: Vec<String> = text
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into())
        .collect();
    (!arguments.is_empty()).then_some(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "/data/postgres";

    fn judged(file: Option<&str>, arguments: Option<&[&str]>) -> Leftover {
        let arguments = arguments.map(|words| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        judge(file, |_| arguments.clone(), Path::new(CLUSTER))
    }

    #[test]
    fn only_a_postmaster_on_our_cluster_is_ours() {
        let file = Some("4711\n/data/postgres\n1790000000\n5432\n");
        assert_eq!(judged(None, None), Leftover::None);
        assert_eq!(judged(file, Some(&["/usr/bin/postgres", "-D", CLUSTER, "-k", "x"])), Leftover::Ours(4711));
        assert_eq!(judged(file, Some(&["/usr/bin/postgres", "-D", "/other/postgres"])), Leftover::StaleFile);
        assert_eq!(judged(file, Some(&["/usr/bin/vim", "-D", CLUSTER])), Leftover::StaleFile);
        assert_eq!(judged(file, None), Leftover::StaleFile);
    }

    #[test]
    fn nonsense_in_the_file_is_no_process() {
        for text in ["", "\n", "x\n", "1\n", "-7\n", "0\n"] {
            assert_eq!(judged(Some(text), Some(&["postgres", "-D", CLUSTER])), Leftover::StaleFile, "{text:?}");
        }
    }

    #[test]
    fn our_own_process_has_arguments_and_an_unused_number_has_none() {
        assert!(arguments_of(i32::try_from(std::process::id()).unwrap()).is_some());
        assert_eq!(arguments_of(i32::MAX), None);
    }
}
