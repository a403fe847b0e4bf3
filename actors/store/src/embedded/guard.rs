//! A tiny shell process that outlives us by as much as is needed. It waits on a pipe; when our end closes, whatever the
//! reason, it asks the server to shut down fast and insists after a while. So `kill -9` of this process leaves no server
//! behind, and the cluster is closed cleanly instead of being recovered at the next start.
//!
//! Chosen over `kill_on_drop`, which does nothing when this process is killed and otherwise sends SIGKILL, and over the
//! kernel's parent-death signal, which needs unsafe code and follows threads, not processes. Deliberately absent: any
//! power over a process whose number was given away again: after the first signal the pid file must still name it.

use std::io::{PipeWriter, Write};
use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::programs::bare;

const SCRIPT: &str = r#"
pid=$1 file=$2 scrap=$3
trap '' INT TERM HUP
read -r word && exit 0
named() { [ "$(sed -n 1p "$file" 2>/dev/null)" = "$pid" ] && kill -0 "$pid" 2>/dev/null; }
patience() {
    tries=$1
    while [ "$tries" -gt 0 ] && named; do
        sleep 0.05
        tries=$((tries - 1))
    done
}
kill -INT "$pid" 2>/dev/null
patience 600
named && kill -QUIT "$pid" 2>/dev/null
patience 200
named && kill -KILL "$pid" 2>/dev/null
[ -z "$scrap" ] || rm -rf -- "$scrap"
"#;

/// Held as long as the server should live. Dropping it stops the server.
#[derive(Debug)]
pub(crate) struct Guard {
    line: PipeWriter,
    /// Kept so that it is collected when it ends.
    _shell: Child,
}

impl Guard {
    /// Watches over `pid`; with `scrap`, that folder is removed after the server is gone.
    pub fn post(pid: i32, cluster: &Path, scrap: Option<&Path>) -> std::io::Result<Self> {
        let (far_end, line) = std::io::pipe()?;
        let mut shell = Command::new("sh");
        bare(&mut shell);
        shell.arg("-c").arg(SCRIPT).arg("greenroom-guard");
        shell.arg(pid.to_string()).arg(cluster.join("postmaster.pid")).arg(scrap.unwrap_or(Path::new("")));
        shell.stdin(Stdio::from(far_end)).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { _shell: shell.spawn()?, line })
    }

    /// The server is gone: there is nothing left to watch over.
    pub fn stand_down(mut self) {
        let _ = self.line.write_all(b"done\n");
    }
}
