//! How programs of the embedded server are run: in a process group of their own, so that Ctrl-C at our terminal is ours
//! alone to answer, and with almost no environment, so that none of our secrets can be read from theirs.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::account::Account;
use super::binaries::Binaries;

/// Takes environment, group and working directory away from a command.
pub(crate) fn bare(command: &mut Command) {
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").current_dir("/").process_group(0);
    for name in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}

/// A program of PostgreSQL, to be run as the account.
pub(crate) fn program(binaries: &Binaries, name: &str, account: Option<&Account>) -> Command {
    let mut command = Command::new(binaries.bin.join(name));
    bare(&mut command);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(account) = account {
        // The standard library drops root's supplementary groups along with the rest.
        command.uid(account.uid).gid(account.gid);
    }
    command
}

/// A path as one element of a list setting of PostgreSQL.
pub(crate) fn list_element(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('"', "\"\""))
}
