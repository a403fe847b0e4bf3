//! The pool of connections. A caller gets a connection that works or an error within the checkout timeout, never a hang.
//! Deliberately absent: queries.

use std::time::{Duration, Instant};

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use tokio::time::timeout_at;
use tokio_postgres::NoTls;

use crate::error::{StoreError, is_outage, one_line};
use crate::health::Health;
use crate::settings::StoreSettings;
use crate::target::Target;

/// A connection that lay idle this long is asked for a sign of life before it is handed out; a younger one only has to be
/// open, which costs nothing.
const TRUSTED_FOR: Duration = Duration::from_secs(5);
/// How long that sign may take.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// Said once on each new connection. Vector searches through an index look at this many candidates at least, and go on
/// looking, in order, when filters leave too few; set here so that a search needs no statement besides its own. The
/// statements of this house are short, compiling them never pays.
const INTRODUCTION: &str = "SET hnsw.ef_search = 100; SET hnsw.iterative_scan = 'strict_order'; SET jit = off";
/// Pause between attempts while a server that just went away may be coming back.
const PAUSE: Duration = Duration::from_millis(25);

pub(crate) fn build(target: &Target, settings: &StoreSettings) -> Result<Pool, StoreError> {
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(target.config().clone(), NoTls, recycling);
    let limit = Some(settings.checkout_timeout);
    let verify = Hook::async_fn(|client, metrics| {
        let trusted = metrics.last_used() < TRUSTED_FOR;
        Box::pin(async move {
            if trusted {
                return Ok(());
            }
            match tokio::time::timeout(SIGN_OF_LIFE, client.simple_query("")).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(HookError::Backend(error)),
                Err(_) => Err(HookError::message("no sign of life")),
            }
        })
    });
    let introduce = Hook::async_fn(|client, _| {
        Box::pin(async move { client.batch_execute(INTRODUCTION).await.map_err(HookError::Backend) })
    });
    Pool::builder(manager)
        .max_size(settings.pool_size.max(1))
        .timeouts(Timeouts { wait: limit, create: limit, recycle: limit })
        .runtime(Runtime::Tokio1)
        .post_create(introduce)
        .pre_recycle(verify)
        .build()
        .map_err(|error| StoreError::setup(format!("the connection pool cannot be built: {error}"), "This is a bug"))
}

/// A connection, or [`StoreError::Unavailable`] within `limit`. While an outage is young the caller waits for its end, so
/// that a server that is only being started again costs no request; in an older one it is told at once.
pub(crate) async fn checkout(pool: &Pool, health: &Health, limit: Duration) -> Result<Object, StoreError> {
    let deadline = Instant::now() + limit;
    loop {
        let why = match timeout_at(deadline.into(), pool.get()).await {
            Ok(Ok(object)) => return Ok(object),
            Ok(Err(PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)))) => {
                if !is_outage(&error) {
                    return Err(unavailable(one_line(&error)));
                }
                one_line(&error)
            }
            Ok(Err(PoolError::Closed)) => return Err(unavailable("the store is closed")),
            Ok(Err(PoolError::Timeout(_))) | Err(_) => return Err(unavailable("no connection in time")),
            Ok(Err(error @ (PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_)))) => {
                return Err(unavailable(error.to_string()));
            }
        };
        let old = health.outage().is_some_and(|(age, _)| age > limit);
        if old || Instant::now() + PAUSE >= deadline {
            return Err(unavailable(why));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn unavailable(why: impl Into<String>) -> StoreError {
    metrics::counter!("greenroom_store_checkout_failures_total").increment(1);
    StoreError::Unavailable(why.into())
}
