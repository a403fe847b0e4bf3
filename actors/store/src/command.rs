//! What the command line does with a database without being a server: look at pending migrations, and run them. A running
//! server on the same data directory is used, not disturbed. Deliberately absent: actors; these end when they are done.

use crate::embedded::ClusterPlan;
use crate::embedded::initdb::{self, Found};
use crate::embedded::layout;
use crate::embedded::postmaster::Postmaster;
use crate::embedded::tuning::Purpose;
use crate::error::StoreError;
use crate::lock::DataDirLock;
use crate::migrate::{self, MigrationState, MigrationStep};
use crate::requirements::Reported;
use crate::settings::StoreSettings;
use crate::store::{blocking, ensure_database, reach};
use crate::target::Target;
use std::time::Duration;

/// How long a server that was started for one command gets to stop.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// What `greenroom migrate --dry-run` shows. Writes nothing; a data directory without a cluster has everything pending.
///
/// # Errors
/// [`StoreError`] when the database cannot be reached or started.
pub async fn migrations(settings: &StoreSettings) -> Result<MigrationState, StoreError> {
    if settings.database_url.is_none() && !has_cluster(settings) {
        return Ok(migrate::untouched());
    }
    let place = Place::open(settings).await?;
    let state = async { migrate::state(&mut reach(&place.target, Duration::ZERO).await?.client).await }.await;
    place.close().await;
    state
}

/// What `greenroom migrate` does: brings the database up to date and returns the steps taken.
///
/// # Errors
/// [`StoreError`] when the database cannot be reached, is not suitable, or a step fails.
pub async fn migrate(settings: &StoreSettings) -> Result<Vec<MigrationStep>, StoreError> {
    let place = Place::open(settings).await?;
    let steps = async {
        let session = reach(&place.target, Duration::ZERO).await?;
        Reported::ask(&session.client).await?.check()?;
        migrate::run(&place.target).await
    }
    .await;
    place.close().await;
    steps
}

fn has_cluster(settings: &StoreSettings) -> bool {
    !matches!(initdb::look(&layout::cluster_dir(&settings.data_dir)), Found::Nothing)
}

/// A database, and what was started to reach it.
struct Place {
    target: Target,
    server: Option<Postmaster>,
    _lock: Option<DataDirLock>,
}

impl Place {
    async fn open(settings: &StoreSettings) -> Result<Self, StoreError> {
        if let Some(url) = &settings.database_url {
            return Ok(Self { target: Target::external(url, settings)?, server: None, _lock: None });
        }
        let wished = settings.clone();
        let (plan, lock) = blocking(move || {
            let data_dir = layout::data_dir(&wished.data_dir)?;
            let lock = match DataDirLock::take(&data_dir) {
                Ok(lock) => Some(lock),
                Err(StoreError::InUse { .. }) => None,
                Err(error) => return Err(error),
            };
            Ok((ClusterPlan::new(&wished, &data_dir, Purpose::Durable)?, lock))
        })
        .await?;
        let target = plan.target.clone();
        if lock.is_none() {
            return Ok(Self { target, server: None, _lock: None });
        }
        let server = Postmaster::start(&plan).await?;
        ensure_database(&plan.server).await?;
        Ok(Self { target, server: Some(server), _lock: lock })
    }

    async fn close(self) {
        if let Some(server) = self.server {
            server.stop(STOP_GRACE).await;
        }
    }
}
