//! Finds what keeps the store from working and says how to mend it. Looks, and changes nothing. Deliberately absent:
//! mending; the remedies are for the reader to apply.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};
use serde::Serialize;

use crate::embedded::account::{self, first_barrier};
use crate::embedded::binaries;
use crate::embedded::initdb::{self, Found};
use crate::embedded::layout::{self, Layout};
use crate::embedded::leftover::{self, Leftover};
use crate::error::StoreError;
use crate::lock::DataDirLock;
use crate::migrate;
use crate::requirements::Reported;
use crate::settings::StoreSettings;
use crate::store::{blocking, reach};
use crate::target::{EMBEDDED_NAME, Target};

/// Less free space than this is a problem: PostgreSQL stops when its log finds no room.
const SCARCE_BYTES: u64 = 512 << 20;
/// Less than this is worth a word.
const LITTLE_BYTES: u64 = 4 << 30;

/// How a thing looks to the doctor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, and should be known.
    Notice,
    /// Keeps the store from working.
    Problem,
}

/// One thing the doctor looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub subject: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen.
    pub detail: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Finding {
    fn new(subject: &'static str, verdict: Verdict, detail: impl Into<String>, remedy: Option<&str>) -> Self {
        Self { subject, verdict, detail: detail.into(), remedy: remedy.map(str::to_owned) }
    }

    fn ok(subject: &'static str, detail: impl Into<String>) -> Self {
        Self::new(subject, Verdict::Ok, detail, None)
    }

    fn from_error(subject: &'static str, error: StoreError) -> Self {
        match error {
            StoreError::Setup { problem, remedy } => {
                Self { subject, verdict: Verdict::Problem, detail: problem, remedy: Some(remedy) }
            }
            other => Self::new(subject, Verdict::Problem, other.to_string(), None),
        }
    }
}

/// Looks at everything the store needs, in the order in which it needs it.
pub async fn doctor(settings: &StoreSettings) -> Vec<Finding> {
    let wished = settings.clone();
    let looked = blocking(move || Ok(look_around(&wished))).await;
    let mut findings = looked.unwrap_or_else(|error| vec![Finding::from_error("machine", error)]);
    findings.push(look_at_database(settings).await);
    findings
}

fn look_around(settings: &StoreSettings) -> Vec<Finding> {
    let mut findings = vec![data_directory(&settings.data_dir), lock_of(&settings.data_dir)];
    findings.push(disk_space(&settings.data_dir));
    if settings.database_url.is_none() {
        let cluster = layout::cluster_dir(&settings.data_dir);
        findings.extend([cluster_at(&cluster), programs(settings, &cluster), run_as(&settings.data_dir, &cluster)]);
    }
    findings
}

/// The path itself, or the first one above it that exists.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|place| place.exists()).unwrap_or(Path::new("."))
}

fn data_directory(wished: &Path) -> Finding {
    const SUBJECT: &str = "data directory";
    const REMEDY: &str = "Choose another with --data-dir, or change its owner (chown) or mode (chmod u+rwx)";
    let there = existing(wished);
    if !there.is_dir() {
        return Finding::new(
            SUBJECT,
            Verdict::Problem,
            format!("{} is not a directory", there.display()),
            Some(REMEDY),
        );
    }
    if access(there, AccessFlags::W_OK | AccessFlags::X_OK).is_err() {
        let detail = format!("{} cannot be written to by this user", there.display());
        return Finding::new(SUBJECT, Verdict::Problem, detail, Some(REMEDY));
    }
    if there != wished {
        return Finding::ok(SUBJECT, format!("{} does not exist yet and will be created", wished.display()));
    }
    let mode = fs::metadata(there).map_or(0, |found| found.permissions().mode());
    if mode & 0o002 != 0 {
        let detail = format!("anybody may write to {}", there.display());
        return Finding::new(SUBJECT, Verdict::Notice, detail, Some("Close it: chmod o-w"));
    }
    Finding::ok(SUBJECT, wished.display().to_string())
}

fn lock_of(data_dir: &Path) -> Finding {
    match DataDirLock::holder(data_dir) {
        None => Finding::ok("lock", "no server works on the data directory"),
        Some(holder) => {
            let place = holder.http.map_or_else(String::new, |http| format!(" at {http}"));
            let detail = format!("a server (process {}){place} works on the data directory", holder.pid);
            Finding::new(
                "lock",
                Verdict::Notice,
                detail,
                Some("Stop it (greenroom serve --stop) before starting another"),
            )
        }
    }
}

fn disk_space(data_dir: &Path) -> Finding {
    const SUBJECT: &str = "disk space";
    let there = existing(data_dir);
    let free = match statvfs(there) {
        Ok(found) => found.blocks_available().saturating_mul(found.fragment_size()),
        Err(error) => return Finding::new(SUBJECT, Verdict::Notice, format!("unknown: {error}"), None),
    };
    judge_space(free, there)
}

fn judge_space(free: u64, there: &Path) -> Finding {
    let detail = format!("{} MB free at {}", free >> 20, there.display());
    let (verdict, remedy) = match free {
        ..SCARCE_BYTES => (Verdict::Problem, Some("Make room: PostgreSQL stops when the disk is full")),
        SCARCE_BYTES..LITTLE_BYTES => (Verdict::Notice, Some("Keep an eye on it")),
        _ => (Verdict::Ok, None),
    };
    Finding::new("disk space", verdict, detail, remedy)
}

fn cluster_at(cluster: &Path) -> Finding {
    const SUBJECT: &str = "cluster";
    match (initdb::look(cluster), leftover::look(cluster)) {
        (Found::Damaged(why), _) => Finding::from_error(SUBJECT, initdb::damaged(cluster, &why)),
        (Found::Nothing, _) => Finding::ok(SUBJECT, "none yet; made at the first start"),
        (Found::Cluster(major), Leftover::Ours(pid)) => {
            Finding::ok(SUBJECT, format!("PostgreSQL {major}, running as process {pid}"))
        }
        (Found::Cluster(major), _) => Finding::ok(SUBJECT, format!("PostgreSQL {major}, not running")),
    }
}

fn programs(settings: &StoreSettings, cluster: &Path) -> Finding {
    const SUBJECT: &str = "postgres programs";
    let major = match initdb::look(cluster) {
        Found::Cluster(major) => Some(major),
        Found::Nothing | Found::Damaged(_) => None,
    };
    match binaries::find(settings.postgres_dir.as_deref(), major) {
        Ok(found) => Finding::ok(
            SUBJECT,
            format!("PostgreSQL {} with pgvector {} in {}", found.version, found.pgvector, found.bin.display()),
        ),
        Err(error) => Finding::from_error(SUBJECT, error),
    }
}

fn run_as(data_dir: &Path, cluster: &Path) -> Finding {
    const SUBJECT: &str = "postgres user";
    let account = match account::choose(cluster) {
        Ok(Some(account)) => account,
        Ok(None) => return Finding::ok(SUBJECT, "runs as this user"),
        Err(error) => return Finding::from_error(SUBJECT, error),
    };
    let there = existing(data_dir);
    match first_barrier(there, &account) {
        // The data directory itself is opened at start.
        Some(barrier) if barrier != data_dir => Finding::new(
            SUBJECT,
            Verdict::Problem,
            format!("root runs PostgreSQL as '{}', to whom {} is closed", account.name, barrier.display()),
            Some(
                "Choose a data directory outside closed folders, run greenroom as an ordinary user, or set DATABASE_URL",
            ),
        ),
        _ => Finding::ok(SUBJECT, format!("root runs it as '{}'", account.name)),
    }
}

async fn look_at_database(settings: &StoreSettings) -> Finding {
    const SUBJECT: &str = "database";
    let target = match &settings.database_url {
        Some(url) => Target::external(url, settings),
        None if DataDirLock::holder(&settings.data_dir).is_none() => {
            return Finding::ok(SUBJECT, "embedded; it runs while the server does");
        }
        None => embedded_target(settings),
    };
    match examine(target).await {
        Ok(finding) => finding,
        Err(error) => Finding::from_error(SUBJECT, error),
    }
}

fn embedded_target(settings: &StoreSettings) -> Result<Target, StoreError> {
    let data_dir = layout::data_dir(&settings.data_dir)?;
    let account = account::choose(&layout::cluster_dir(&data_dir))?;
    let layout = Layout::new(&data_dir, account.as_ref())?;
    Ok(Target::socket(&layout.socket_dir, EMBEDDED_NAME, settings))
}

async fn examine(target: Result<Target, StoreError>) -> Result<Finding, StoreError> {
    let target = target?;
    let mut session = reach(&target, Duration::ZERO).await?;
    let reported = Reported::ask(&session.client).await?;
    reported.check()?;
    let state = migrate::state(&mut session.client).await?;
    let pgvector = reported.pgvector_installed.as_deref().unwrap_or("not installed yet");
    let detail = format!(
        "{}: PostgreSQL {}, pgvector {pgvector}, {} migrations applied, {} pending",
        target.describe(),
        reported.version,
        state.applied.len(),
        state.pending.len()
    );
    Ok(Finding::ok("database", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_judged_in_three_steps() {
        let verdict = |free| judge_space(free, Path::new("/")).verdict;
        assert_eq!(verdict(SCARCE_BYTES - 1), Verdict::Problem);
        assert_eq!(verdict(SCARCE_BYTES), Verdict::Notice);
        assert_eq!(verdict(LITTLE_BYTES), Verdict::Ok);
    }

    #[test]
    fn a_data_directory_that_cannot_be_is_a_problem_with_a_remedy() {
        let file = std::env::temp_dir().join(format!("greenroom-doctor-{}", uuid::Uuid::new_v4()));
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("a/b")] {
            let finding = data_directory(&path);
            assert_eq!(finding.verdict, Verdict::Problem);
            assert!(finding.remedy.unwrap().contains("--data-dir"));
        }
        fs::remove_file(&file).unwrap();
        assert_eq!(data_directory(&file.join("a/b")).verdict, Verdict::Ok);
    }
}
