//! With which settings the embedded server runs. They stand on its command line, so they hold whatever its files say.
//! Invariant: everything but a throwaway cluster is fully durable. Deliberately absent: row values in its log; errors go
//! to the session that made them, without being written down a second time.

use super::programs::list_element;
use std::path::Path;

/// What a cluster is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Real conversations.
    Durable,
    /// Tests: fast, and gone afterwards.
    Throwaway,
}

const ALWAYS: &[(&str, &str)] = &[
    ("listen_addresses", ""),
    ("unix_socket_permissions", "0700"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("jit", "off"),
    ("work_mem", "8MB"),
    ("random_page_cost", "1.1"),
    ("max_worker_processes", "4"),
    ("max_parallel_workers", "2"),
    ("max_parallel_workers_per_gather", "1"),
    // Parallel index builds need more of /dev/shm than containers usually have.
    ("max_parallel_maintenance_workers", "0"),
    ("max_wal_senders", "2"),
    ("max_replication_slots", "2"),
    ("max_logical_replication_workers", "0"),
    // To our own stream, which ends up in tracing: levels above ERROR only, and without the statement or the detail,
    // which would quote what people wrote.
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_line_prefix", ""),
    ("log_min_messages", "log"),
    ("log_min_error_statement", "panic"),
    ("log_error_verbosity", "terse"),
    ("log_checkpoints", "off"),
    ("lc_messages", "C"),
];

const DURABLE: &[(&str, &str)] = &[
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("wal_level", "replica"),
    // Taken page by page as data is read. A search among 100,000 memories touches 16 MB of an index of 200 MB.
    ("shared_buffers", "512MB"),
    ("maintenance_work_mem", "128MB"),
    ("max_wal_size", "1GB"),
    ("checkpoint_timeout", "10min"),
    ("autovacuum_max_workers", "2"),
];

const THROWAWAY: &[(&str, &str)] = &[
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("shared_buffers", "64MB"),
    ("max_wal_size", "4GB"),
    ("checkpoint_timeout", "1h"),
    ("autovacuum", "off"),
];

/// The command line after the program's name.
pub(crate) fn arguments(
    purpose: Purpose,
    major: u32,
    cluster: &Path,
    socket_dir: &Path,
    port: u16,
    max_connections: usize,
) -> Vec<std::ffi::OsString> {
    let mut line: Vec<std::ffi::OsString> = vec!["-D".into(), cluster.into()];
    let mut set = |name: &str, value: &str| line.extend(["-c".into(), format!("{name}={value}").into()]);
    set("unix_socket_directories", &list_element(socket_dir));
    set("port", &port.to_string());
    set("max_connections", &max_connections.to_string());
    if major >= 18 {
        // Saves the three processes of the default; this server's reads are small.
        set("io_method", "sync");
    }
    let special = if purpose == Purpose::Durable { DURABLE } else { THROWAWAY };
    ALWAYS.iter().chain(special).for_each(|(name, value)| set(name, value));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(purpose: Purpose, major: u32) -> String {
        let line = arguments(purpose, major, Path::new("/d/postgres"), Path::new("/d/so,cket"), 5432, 40);
        line.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn conversations_are_durable_and_nothing_listens() {
        let durable = line(Purpose::Durable, 18);
        for expected in [
            "-c fsync=on",
            "-c synchronous_commit=on",
            "-c full_page_writes=on",
            "-c listen_addresses= ",
            "-c unix_socket_directories=\"/d/so,cket\"",
            "-c max_connections=40",
            "-c io_method=sync",
        ] {
            assert!(durable.contains(expected), "{expected}: {durable}");
        }
        assert!(line(Purpose::Throwaway, 18).contains("fsync=off"));
        assert!(!line(Purpose::Durable, 17).contains("io_method"));
    }
}
