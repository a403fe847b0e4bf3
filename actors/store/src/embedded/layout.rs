//! Where things lie below the data directory, and that the server's account can reach them. Invariant: the socket's folder
//! is closed to everybody else, because the cluster trusts whoever reaches the socket. Deliberately absent: opening any
//! folder above the data directory; that is the owner's decision.

use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::account::{Account, first_barrier};
use crate::error::StoreError;
use crate::target::SOCKET_PORT;

/// Longest path of a socket, with room to spare below the kernel's 107 bytes.
const LONGEST_SOCKET_PATH: usize = 100;

/// The paths of one embedded cluster.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub data_dir: PathBuf,
    /// The cluster.
    pub cluster: PathBuf,
    pub socket_dir: PathBuf,
}

/// The data directory with its links resolved; created when missing.
pub(crate) fn data_dir(wished: &Path) -> Result<PathBuf, StoreError> {
    // Root's directory is open for passing through, not for listing: the server's account must get to its own part.
    let mode = if nix::unistd::geteuid().is_root() { 0o711 } else { 0o700 };
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(wished)
        .map_err(|error| StoreError::file("create the data directory", wished, &error))?;
    let path = wished.canonicalize().map_err(|error| StoreError::file("open the data directory", wished, &error))?;
    // A probe beats reading the mode bits: it also knows read-only disks and access lists.
    let probe = path.join(format!(".probe-{}", std::process::id()));
    fs::write(&probe, b"").map_err(|error| StoreError::file("write to the data directory", &path, &error))?;
    let _ = fs::remove_file(&probe);
    Ok(path)
}

impl Layout {
    /// The paths below an existing data directory.
    pub fn new(data_dir: &Path, account: Option<&Account>) -> Result<Self, StoreError> {
        Ok(Self {
            data_dir: data_dir.to_owned(),
            cluster: cluster_dir(data_dir),
            socket_dir: socket_dir(data_dir, account)?,
        })
    }

    /// Makes sure the account can reach its part, and creates the socket's folder.
    pub fn prepare(&self, account: Option<&Account>) -> Result<(), StoreError> {
        if let Some(account) = account {
            open_for(&self.data_dir, account)?;
        }
        let uid = account.map_or_else(|| nix::unistd::geteuid().as_raw(), |account| account.uid);
        private_dir(&self.socket_dir, uid, account)
    }
}

pub(crate) fn cluster_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("postgres")
}

/// Lets the account pass through the data directory; says so when something above it is closed.
fn open_for(data_dir: &Path, account: &Account) -> Result<(), StoreError> {
    let Some(barrier) = first_barrier(data_dir, account) else { return Ok(()) };
    if barrier == data_dir {
        let found = fs::metadata(data_dir).map_err(|error| StoreError::file("read", data_dir, &error))?;
        let opened = Permissions::from_mode((found.mode() & 0o7777) | 0o011);
        return fs::set_permissions(data_dir, opened).map_err(|error| StoreError::file("open", data_dir, &error));
    }
    Err(StoreError::setup(
        format!(
            "PostgreSQL cannot run as root, and the user '{}' cannot reach the data directory {}: {} is closed to it",
            account.name,
            data_dir.display(),
            barrier.display()
        ),
        "Choose a data directory outside closed folders (the default /var/lib/greenroom is one), run greenroom as an \
         ordinary user, or set DATABASE_URL",
    ))
}

/// Inside the data directory if the path fits a socket address, else in the temporary directory under a name made from
/// the data directory's, so that it is found again.
fn socket_dir(data_dir: &Path, account: Option<&Account>) -> Result<PathBuf, StoreError> {
    let digest = Sha256::digest(data_dir.as_os_str().as_bytes());
    let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let name = format!("greenroom-{short}");
    let places = [data_dir.join("socket"), std::env::temp_dir().join(&name), Path::new("/tmp").join(&name)];
    let fits = |dir: &PathBuf| dir.as_os_str().len() + format!("/.s.PGSQL.{SOCKET_PORT}").len() <= LONGEST_SOCKET_PATH;
    // The data directory itself is opened later if need be; a temporary directory must be open already.
    let reachable = |dir: &PathBuf| {
        dir.starts_with(data_dir)
            || account.is_none_or(|account| dir.parent().is_some_and(|dir| first_barrier(dir, account).is_none()))
    };
    places.into_iter().find(|dir| fits(dir) && reachable(dir)).ok_or_else(|| {
        StoreError::setup(
            format!("no place for the database's socket: {} is too long a path", data_dir.display()),
            "Choose a data directory with a shorter path",
        )
    })
}

/// A folder that only `uid` can enter. One that exists must already be such a folder: names in the temporary directory
/// can be taken by anybody.
fn private_dir(path: &Path, uid: u32, account: Option<&Account>) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(StoreError::file("create", path, &error)),
    }
    let found = fs::symlink_metadata(path).map_err(|error| StoreError::file("read", path, &error))?;
    let ours = found.uid() == uid || found.uid() == nix::unistd::geteuid().as_raw();
    if !found.is_dir() || !ours {
        return Err(StoreError::setup(
            format!("{} is not a folder of this server", path.display()),
            "Remove it: somebody else made it",
        ));
    }
    if found.mode() & 0o777 != 0o700 {
        let closed = Permissions::from_mode(0o700);
        fs::set_permissions(path, closed).map_err(|error| StoreError::file("close", path, &error))?;
    }
    if let Some(account) = account.filter(|account| found.uid() != account.uid) {
        chown(path, Some(account.uid), Some(account.gid))
            .map_err(|error| StoreError::file("hand over", path, &error))?;
    }
    Ok(())
}

/// Gives a whole tree to the account.
pub(crate) fn hand_over(path: &Path, account: &Account) -> std::io::Result<()> {
    std::os::unix::fs::lchown(path, Some(account.uid), Some(account.gid))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            hand_over(&entry?.path(), account)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("greenroom-layout-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn a_long_path_moves_the_socket_to_the_temporary_directory() {
        let short = socket_dir(Path::new("/var/lib/greenroom"), None).unwrap();
        assert_eq!(short, Path::new("/var/lib/greenroom/socket"));
        let long = PathBuf::from(format!("/var/lib/{}", "x".repeat(120)));
        let moved = socket_dir(&long, None).unwrap();
        assert!(moved.as_os_str().len() <= LONGEST_SOCKET_PATH && !moved.starts_with(&long), "{moved:?}");
        assert_eq!(moved, socket_dir(&long, None).unwrap());
        assert_ne!(moved, socket_dir(&long.join("other"), None).unwrap());
    }

    #[test]
    fn the_sockets_folder_is_private_and_must_be_ours() {
        let dir = scratch();
        let uid = nix::unistd::geteuid().as_raw();
        let socket = dir.join("socket");
        private_dir(&socket, uid, None).unwrap();
        fs::set_permissions(&socket, Permissions::from_mode(0o777)).unwrap();
        private_dir(&socket, uid, None).unwrap();
        assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o700);
        let link = dir.join("link");
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        assert!(private_dir(&link, uid, None).unwrap_err().to_string().contains("not a folder of this server"));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_data_directory_is_made_and_must_be_writable() {
        let dir = scratch();
        assert!(data_dir(&dir.join("a/b")).unwrap().is_dir());
        let file = dir.join("file");
        fs::write(&file, "").unwrap();
        assert!(data_dir(&file).unwrap_err().to_string().contains("data directory"));
        fs::remove_dir_all(dir).unwrap();
    }
}
