//! How far an import has come, in a small file beside the imported one, so that one that was killed goes on where it was.
//! It saves time, no more: ids keep records from being stored twice. It is removed when the import is done.
//!
//! Invariant: it is written only when everything before its place is stored. Of another file, server, bot or user it is
//! ignored. A folder that cannot be written to costs the checkpoint and nothing else.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::pieces::Place;
use crate::transfer::Identifier;

/// How much of the file's beginning tells it from others.
const HEAD: u64 = 64 * 1024;

/// What has been done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Records that were stored.
    pub stored: u64,
    /// Records that were there already.
    pub known: u64,
    /// Pieces that could not be read, and records that were refused.
    pub bad: u64,
    /// Records that were forgotten and stay so.
    pub forgotten: u64,
    /// Messages that are no text of a conversation.
    pub left_out: u64,
}

/// How far an import has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progressed {
    /// Where to read on.
    pub place: Place,
    /// What naming the records behind it needs to know.
    pub identity: Identifier,
    /// What has been done.
    pub tally: Tally,
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    subject: String,
    progressed: Progressed,
}

/// The file beside the imported one.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    subject: String,
}

impl Checkpoint {
    /// The checkpoint of importing `file` with these circumstances: server, bot, user.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of(file: &Path, circumstances: &[&str]) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut opened = File::open(file)?;
        hasher.update(opened.metadata()?.len().to_le_bytes());
        let mut head = Vec::new();
        opened.by_ref().take(HEAD).read_to_end(&mut head)?;
        hasher.update(&head);
        for circumstance in circumstances {
            hasher.update((circumstance.len() as u64).to_le_bytes());
            hasher.update(circumstance);
        }
        let subject = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(".import-state");
        Ok(Self { path: file.with_file_name(name), subject })
    }

    /// Where an earlier import stopped.
    #[must_use]
    pub fn load(&self) -> Option<Progressed> {
        let saved: Saved = serde_json::from_slice(&fs::read(&self.path).ok()?).ok()?;
        (saved.subject == self.subject).then_some(saved.progressed)
    }

    /// Notes how far the import has come. A crash leaves the old note or the new one.
    pub fn save(&self, progressed: Progressed) {
        let saved = Saved { subject: self.subject.clone(), progressed };
        let Ok(text) = serde_json::to_vec(&saved) else { return };
        let fresh = self.path.with_extension("import-state-new");
        let _ = fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, &self.path));
    }

    /// Removes it.
    pub fn clear(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::super::pieces::Framing;
    use super::*;

    #[test]
    fn a_checkpoint_is_for_one_file_and_one_server() {
        let dir = std::env::temp_dir().join(format!("greenroom-checkpoint-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("data.jsonl");
        fs::write(&file, "one\ntwo\n").unwrap();
        let here = Checkpoint::of(&file, &["http://a", ""]).unwrap();
        assert_eq!(here.load(), None);
        let progressed = Progressed {
            place: Place { framing: Framing::Lines, number: 1, offset: 4 },
            identity: Identifier::default(),
            tally: Tally { stored: 1, ..Tally::default() },
        };
        here.save(progressed.clone());
        assert_eq!(here.load(), Some(progressed));
        assert_eq!(Checkpoint::of(&file, &["http://b", ""]).unwrap().load(), None);
        assert_eq!(Checkpoint::of(&file, &["http://a", "", ""]).unwrap().load(), None);
        fs::write(&file, "other\n").unwrap();
        assert_eq!(Checkpoint::of(&file, &["http://a", ""]).unwrap().load(), None);
        here.clear();
        assert!(!dir.join("data.jsonl.import-state").exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
