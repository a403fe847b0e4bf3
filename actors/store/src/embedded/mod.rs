//! The embedded PostgreSQL: its programs, its place on disk, its process and the actor that owns it. Deliberately absent:
//! anything about what is stored in it.

pub(crate) mod account;
pub(crate) mod binaries;
pub(crate) mod cluster;
mod guard;
pub(crate) mod initdb;
pub(crate) mod layout;
pub(crate) mod leftover;
pub(crate) mod postmaster;
mod programs;
mod relocate;
pub(crate) mod tuning;

use std::path::{Path, PathBuf};

use account::Account;
use binaries::Binaries;
use initdb::Found;
use layout::Layout;
use tuning::Purpose;

use crate::error::StoreError;
use crate::settings::StoreSettings;
use crate::target::{EMBEDDED_NAME, Target};

/// Everything that is decided before a server is started.
#[derive(Debug, Clone)]
pub(crate) struct ClusterPlan {
    pub binaries: Binaries,
    pub account: Option<Account>,
    pub layout: Layout,
    pub purpose: Purpose,
    pub max_connections: usize,
    /// The database every cluster has, for probing.
    pub server: Target,
    /// Our database.
    pub target: Target,
    /// Removed after the server's end.
    pub scrap: Option<PathBuf>,
}

/// Connections beyond the pool's: probes, migrations, a person with psql, and PostgreSQL's own reserve.
const SPARE_CONNECTIONS: usize = 24;

impl ClusterPlan {
    /// Reads the machine and decides; writes nothing but, for root, a copy of the programs. Blocks for milliseconds.
    pub fn new(settings: &StoreSettings, data_dir: &Path, purpose: Purpose) -> Result<Self, StoreError> {
        let cluster = layout::cluster_dir(data_dir);
        let major = match initdb::look(&cluster) {
            Found::Nothing => None,
            Found::Cluster(major) => Some(major),
            Found::Damaged(why) => return Err(initdb::damaged(&cluster, &why)),
        };
        let account = account::choose(&cluster)?;
        let found = binaries::find(settings.postgres_dir.as_deref(), major)?;
        let layout = Layout::new(data_dir, account.as_ref())?;
        layout.prepare(account.as_ref())?;
        Ok(Self {
            binaries: relocate::reachable(found, account.as_ref(), data_dir)?,
            server: Target::socket(&layout.socket_dir, "postgres", settings),
            target: Target::socket(&layout.socket_dir, EMBEDDED_NAME, settings),
            account,
            layout,
            purpose,
            max_connections: settings.pool_size + SPARE_CONNECTIONS,
            scrap: None,
        })
    }
}
