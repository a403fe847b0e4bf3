//! A connection of its own, outside the pool: for what belongs to a session, such as `LISTEN` and session-level advisory
//! locks. Invariant: when the connection is gone, whoever holds it is told, so that nobody believes in a lost lock.

use std::future::poll_fn;

use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::error::StoreError;

/// Notices that may wait to be read; more are dropped, for a notice only says that there is something to look at.
const WAITING: usize = 256;

/// A notice from `NOTIFY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The channel.
    pub channel: String,
    /// What the sender wrote.
    pub payload: String,
}

/// A connection outside the pool.
#[derive(Debug)]
pub struct DedicatedSession {
    /// For statements.
    pub client: Client,
    /// Cancelled when the connection is gone.
    pub lost: CancellationToken,
    /// Ends with this value and closes the connection.
    _driver: AbortOnDropHandle<()>,
}

pub(crate) async fn open(config: &Config) -> Result<(DedicatedSession, mpsc::Receiver<Notice>), StoreError> {
    let (client, mut connection) = config.connect(NoTls).await?;
    let (told, notices) = mpsc::channel(WAITING);
    let lost = CancellationToken::new();
    let gone = lost.clone().drop_guard();
    let driver = tokio::spawn(async move {
        let _gone = gone;
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notice) = message {
                let notice = Notice { channel: notice.channel().into(), payload: notice.payload().into() };
                let _ = told.try_send(notice);
            }
        }
    });
    Ok((DedicatedSession { client, lost, _driver: AbortOnDropHandle::new(driver) }, notices))
}
