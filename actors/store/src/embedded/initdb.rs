//! The making of a cluster. It is made under another name and renamed when it is whole and on disk, so that a crash in the
//! middle leaves nothing that looks like a cluster. That name is new each time: the initdb of a killed server may still be
//! at work under its own. Deliberately absent: mending or removing a cluster that is damaged.

use std::fs::{self, DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::ClusterPlan;
use super::guard::Guard;
use super::layout::hand_over;
use super::programs::program;
use super::tuning::Purpose;
use crate::error::StoreError;
use crate::target::EMBEDDED_NAME;

/// What lies at a cluster's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing yet, or an empty folder.
    Nothing,
    /// A cluster of that major version.
    Cluster(u32),
    /// Something else.
    Damaged(String),
}

pub(crate) fn look(cluster: &Path) -> Found {
    match fs::read_dir(cluster) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Found::Nothing,
        Err(error) => return Found::Damaged(error.to_string()),
        Ok(mut entries) => {
            if entries.next().is_none() {
                return Found::Nothing;
            }
        }
    }
    let version = fs::read_to_string(cluster.join("PG_VERSION")).ok().and_then(|text| text.trim().parse().ok());
    match version {
        None => Found::Damaged("its file PG_VERSION is missing or unreadable".into()),
        Some(_) if !cluster.join("global/pg_control").is_file() => {
            Found::Damaged("its file global/pg_control is missing".into())
        }
        Some(major) => Found::Cluster(major),
    }
}

/// The refusal to touch something that is not a whole cluster.
pub(crate) fn damaged(cluster: &Path, why: &str) -> StoreError {
    StoreError::setup(
        format!("{} is not a whole PostgreSQL cluster: {why}", cluster.display()),
        "Restore it from a backup, or move it away to begin with an empty database",
    )
}

/// Makes sure there is a cluster that the account can use.
pub(crate) async fn ensure(plan: &ClusterPlan) -> Result<(), StoreError> {
    let layout = &plan.layout;
    remove_unfinished(&layout.data_dir);
    match look(&layout.cluster) {
        Found::Damaged(why) => Err(damaged(&layout.cluster, &why)),
        Found::Cluster(_) => adopt(plan),
        Found::Nothing => {
            let unfinished = make(plan).await?;
            put_in_place(&unfinished, &layout.cluster, plan.purpose)
        }
    }
}

const UNFINISHED: &str = "postgres.unfinished-";

/// As far as possible: an initdb that is still being stopped may add files meanwhile, and the next start removes those.
fn remove_unfinished(data_dir: &Path) {
    let entries = fs::read_dir(data_dir).into_iter().flatten().filter_map(Result::ok);
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(UNFINISHED)) {
        let done = fs::remove_dir_all(entry.path());
        tracing::info!(path = %entry.path().display(), removed = done.is_ok(), "found a cluster that was never finished");
    }
}

/// An existing cluster, perhaps copied by root or restored from an archive: owner and mode must be right.
fn adopt(plan: &ClusterPlan) -> Result<(), StoreError> {
    let cluster = &plan.layout.cluster;
    let found = fs::metadata(cluster).map_err(|error| StoreError::file("read", cluster, &error))?;
    if let Some(account) = plan.account.as_ref().filter(|account| account.uid != found.uid()) {
        hand_over(cluster, account).map_err(|error| StoreError::file("hand over", cluster, &error))?;
    }
    if found.mode() & 0o027 != 0 {
        let closed = Permissions::from_mode(0o700);
        fs::set_permissions(cluster, closed).map_err(|error| StoreError::file("close", cluster, &error))?;
    }
    Ok(())
}

/// Returns where the new cluster is.
async fn make(plan: &ClusterPlan) -> Result<PathBuf, StoreError> {
    let mut complaint = String::new();
    for locale in locales(plan.binaries.major) {
        let unfinished = plan.layout.data_dir.join(format!("{UNFINISHED}{}", uuid::Uuid::new_v4().simple()));
        match run(plan, &unfinished, locale).await? {
            None => return Ok(unfinished),
            Some(why) => complaint = why,
        }
        let _ = fs::remove_dir_all(&unfinished);
    }
    Err(StoreError::setup(
        format!("initdb failed: {complaint}"),
        "Check the data directory's disk and rights; `greenroom doctor` looks at both",
    ))
}

/// The ways to ask for Unicode order by code point, best first: PostgreSQL's own since version 17, before that the C
/// library's, which not every system has.
fn locales(major: u32) -> &'static [&'static [&'static str]] {
    if major >= 17 {
        &[&["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]]
    } else {
        &[&["--locale=C.UTF-8"], &["--locale=C"]]
    }
}

/// Returns initdb's complaint, if it has one.
async fn run(plan: &ClusterPlan, unfinished: &Path, locale: &[&str]) -> Result<Option<String>, StoreError> {
    DirBuilder::new().mode(0o700).create(unfinished).map_err(|error| StoreError::file("create", unfinished, &error))?;
    if let Some(account) = &plan.account {
        chown(unfinished, Some(account.uid), Some(account.gid))
            .map_err(|error| StoreError::file("hand over", unfinished, &error))?;
    }
    let mut command = program(&plan.binaries, "initdb", plan.account.as_ref());
    command.arg("-D").arg(unfinished).args(["--username", EMBEDDED_NAME, "--auth=trust", "--encoding=UTF8"]);
    command.arg("--no-instructions").args(locale).kill_on_drop(true);
    if plan.purpose == Purpose::Throwaway {
        command.arg("--no-sync");
    }
    let cannot_run = |error: &std::io::Error| StoreError::file("run", &plan.binaries.bin.join("initdb"), error);
    let child = command.spawn().map_err(|error| cannot_run(&error))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    let guard = Guard::post(pid, unfinished, Some(unfinished)).ok();
    let output = child.wait_with_output().await.map_err(|error| cannot_run(&error))?;
    if let Some(guard) = guard {
        guard.stand_down();
    }
    if output.status.success() {
        return Ok(None);
    }
    let told = complaint(&String::from_utf8_lossy(&output.stderr));
    Ok(Some(if told.is_empty() { output.status.to_string() } else { told }))
}

/// The lines of initdb's output that tell a reason; it also reports what it removes afterwards.
fn complaint(output: &str) -> String {
    let tells = |line: &&str| ["error:", "FATAL:", "PANIC:", "detail:", "hint:"].iter().any(|word| line.contains(word));
    let told: Vec<&str> = output.lines().filter(tells).map(str::trim).collect();
    told.join(" | ")
}

fn put_in_place(unfinished: &Path, cluster: &Path, purpose: Purpose) -> Result<(), StoreError> {
    fs::rename(unfinished, cluster).map_err(|error| StoreError::file("rename the new cluster to", cluster, &error))?;
    if let Some(parent) = cluster.parent().filter(|_| purpose == Purpose::Durable) {
        // The new name itself must survive a power cut, too.
        let synced = File::open(parent).and_then(|folder| folder.sync_all());
        synced.map_err(|error| StoreError::file("sync", parent, &error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_found_in_initdbs_output() {
        let output = "creating directory ... ok\ninitdb: error: could not create file: No space left on device\n\
                      initdb: removing data directory \"/d\"\n";
        assert_eq!(complaint(output), "initdb: error: could not create file: No space left on device");
        assert_eq!(complaint("Killed\n"), "");
    }

    #[test]
    fn only_a_whole_cluster_counts_as_one() {
        let dir = std::env::temp_dir().join(format!("greenroom-look-{}", uuid::Uuid::new_v4()));
        assert_eq!(look(&dir), Found::Nothing);
        fs::create_dir(&dir).unwrap();
        assert_eq!(look(&dir), Found::Nothing);
        fs::create_dir(dir.join("global")).unwrap();
        assert!(matches!(look(&dir), Found::Damaged(_)));
        fs::write(dir.join("PG_VERSION"), "18\n").unwrap();
        assert!(matches!(look(&dir), Found::Damaged(_)));
        fs::write(dir.join("global/pg_control"), "").unwrap();
        assert_eq!(look(&dir), Found::Cluster(18));
        fs::remove_dir_all(dir).unwrap();
    }
}
