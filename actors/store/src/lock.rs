//! One server per data directory. The kernel holds the lock for as long as the process lives, so a killed server leaves
//! none behind; the file's content only says who holds it. Deliberately absent: any trust in that content while nobody
//! holds the lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use greenroom_kit::lock;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// The lock file's name in the data directory.
const FILE: &str = "greenroom.lock";
/// Somebody who only asks who holds the lock has it for a moment; a starting server waits that long.
const PATIENCE: Duration = Duration::from_millis(250);

/// Who works on a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    /// Its process id.
    pub pid: u32,
    /// Where its front door listens, once it does.
    #[serde(default)]
    pub http: Option<String>,
}

/// The lock on a data directory, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct DataDirLock {
    file: Mutex<File>,
    path: PathBuf,
}

impl DataDirLock {
    /// Takes the lock of an existing directory and leaves this process's id in it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it, [`StoreError::Setup`] when the file cannot be written.
    pub fn take(data_dir: &Path) -> Result<Self, StoreError> {
        let path = data_dir.join(FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| StoreError::file("open", &path, &error))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::InUse { data_dir: data_dir.to_owned(), holder: read(&file) });
                }
                Err(TryLockError::Error(error)) => return Err(StoreError::file("lock", &path, &error)),
            }
        }
        let taken = Self { file: Mutex::new(file), path };
        taken.write(None)?;
        Ok(taken)
    }

    /// Tells others where the front door listens.
    ///
    /// # Errors
    /// [`StoreError::Setup`] when the file cannot be written.
    pub fn announce(&self, http: SocketAddr) -> Result<(), StoreError> {
        self.write(Some(http.to_string()))
    }

    fn write(&self, http: Option<String>) -> Result<(), StoreError> {
        let card = LockHolder { pid: std::process::id(), http };
        let mut text = serde_json::to_string(&card).unwrap_or_default();
        text.push('\n');
        let mut file = lock(&self.file);
        let written =
            file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).and_then(|_| file.write_all(text.as_bytes()));
        written.map_err(|error| StoreError::file("write", &self.path, &error))
    }

    /// Who works on a data directory right now; `None` when nobody does. A holder that has not yet written its card
    /// has process id 0.
    #[must_use]
    pub fn holder(data_dir: &Path) -> Option<LockHolder> {
        let file = File::open(data_dir.join(FILE)).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(read(&file).unwrap_or(LockHolder { pid: 0, http: None })),
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }
}

impl Drop for DataDirLock {
    fn drop(&mut self) {
        // Said aloud, because closing the file is not enough while a program that is just being started by another thread
        // still shares it.
        let _ = lock(&self.file).unlock();
    }
}

fn read(mut file: &File) -> Option<LockHolder> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("greenroom-lock-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn one_holder_at_a_time_and_its_card_is_read() {
        let dir = scratch();
        assert_eq!(DataDirLock::holder(&dir), None);
        let first = DataDirLock::take(&dir).unwrap();
        assert_eq!(DataDirLock::holder(&dir), Some(LockHolder { pid: std::process::id(), http: None }));
        first.announce("127.0.0.1:8642".parse().unwrap()).unwrap();
        let refused = DataDirLock::take(&dir).unwrap_err();
        let StoreError::InUse { holder: Some(holder), .. } = refused else { panic!("{refused}") };
        assert_eq!(holder.http.as_deref(), Some("127.0.0.1:8642"));
        drop(first);
        assert_eq!(DataDirLock::holder(&dir), None);
        DataDirLock::take(&dir).unwrap();
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_dropped_lock_is_free_even_while_programs_are_started() {
        let dir = scratch();
        let starting = std::sync::atomic::AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while starting.load(std::sync::atomic::Ordering::Relaxed) {
                    std::process::Command::new("true").status().unwrap();
                }
            });
            let free = (0..2000).all(|_| {
                drop(DataDirLock::take(&dir).unwrap());
                DataDirLock::holder(&dir).is_none()
            });
            starting.store(false, std::sync::atomic::Ordering::Relaxed);
            assert!(free);
        });
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn an_unreadable_card_does_not_hide_the_holder() {
        let dir = scratch();
        let held = DataDirLock::take(&dir).unwrap();
        std::fs::write(dir.join(FILE), b"{\"pid\"").unwrap();
        assert_eq!(DataDirLock::holder(&dir), Some(LockHolder { pid: 0, http: None }));
        drop(held);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
