//! Where the database is and with which settings each session opens. One place builds every connection of the house, so
//! that none lacks its timeouts, its name or UTC. Deliberately absent: TLS; a URL that demands it is refused in words.

use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls};
use tokio_util::task::AbortOnDropHandle;

use crate::error::StoreError;
use crate::settings::StoreSettings;

/// Role and database of the embedded cluster.
pub(crate) const EMBEDDED_NAME: &str = "greenroom";
/// The file name behind every embedded socket is made from this port; nothing listens on it.
pub(crate) const SOCKET_PORT: u16 = 5432;
/// How long opening one connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A database and how to open sessions in it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    config: Config,
}

/// One connection outside the pool, with the task that drives it.
#[derive(Debug)]
pub(crate) struct Session {
    pub client: Client,
    /// Ends when the connection does.
    pub driver: AbortOnDropHandle<Result<(), tokio_postgres::Error>>,
}

impl Target {
    pub fn external(url: &SecretString, settings: &StoreSettings) -> Result<Self, StoreError> {
        let text = url.expose_secret();
        let config = text.parse::<Config>().map_err(|error| refuse(text, &error))?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(no_tls());
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(StoreError::setup("DATABASE_URL names no host", EXAMPLE));
        }
        Ok(Self::with_session_settings(config, settings))
    }

    /// The embedded cluster behind a socket directory.
    pub fn socket(dir: &Path, database: &str, settings: &StoreSettings) -> Self {
        let mut config = Config::new();
        config.host_path(dir).port(SOCKET_PORT).user(EMBEDDED_NAME).dbname(database);
        Self::with_session_settings(config, settings)
    }

    fn with_session_settings(mut config: Config, settings: &StoreSettings) -> Self {
        let wished = config.get_options().unwrap_or_default();
        let options = format!(
            "-c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout={} -c timezone=UTC {wished}",
            settings.statement_timeout.as_millis(),
            settings.lock_timeout.as_millis(),
            settings.statement_timeout.saturating_mul(2).as_millis(),
        );
        config.options(options.trim_end());
        if config.get_application_name().is_none() {
            config.application_name("greenroom");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        Self { config }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The same server, another database.
    #[cfg(feature = "testing")]
    pub fn database(&self, name: &str) -> Self {
        let mut config = self.config.clone();
        config.dbname(name);
        Self { config }
    }

    /// Opens a session outside the pool.
    pub async fn connect(&self) -> Result<Session, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(NoTls).await?;
        Ok(Session { client, driver: AbortOnDropHandle::new(tokio::spawn(connection)) })
    }

    /// Host and database for people; never the password.
    pub fn describe(&self) -> String {
        let port = self.config.get_ports().first().copied().unwrap_or(SOCKET_PORT);
        let place = match (self.config.get_hosts().first(), self.config.get_hostaddrs().first()) {
            (Some(Host::Tcp(host)), _) => format!("{host}:{port}"),
            (Some(Host::Unix(path)), _) => path.display().to_string(),
            (None, Some(address)) => format!("{address}:{port}"),
            (None, None) => "nowhere".into(),
        };
        let database = self.config.get_dbname().or(self.config.get_user()).unwrap_or("postgres");
        format!("database '{database}' at {place}")
    }
}

const EXAMPLE: &str = "Write it as postgres://user:password@host:5432/database, or \
     postgres://user@%2Frun%2Fpostgresql/database for a Unix socket";

pub(crate) fn no_tls() -> StoreError {
    StoreError::setup(
        "TLS to the database is not supported",
        "Use sslmode=disable over a network you trust, a Unix socket, or a tunnel that adds the encryption",
    )
}

/// Says what is wrong with a URL without repeating it: it may hold a password.
fn refuse(url: &str, error: &tokio_postgres::Error) -> StoreError {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    if source.contains("`ssl") || url.contains("sslmode=verify") {
        return no_tls();
    }
    StoreError::setup(format!("DATABASE_URL cannot be read: {source}"), EXAMPLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, StoreError> {
        Target::external(&SecretString::from(url), &StoreSettings::new("/nowhere"))
    }

    #[test]
    fn urls_of_both_kinds_are_read_and_described_without_secrets() {
        let tcp = target("postgres://me:hush@db.example:6543/chat").unwrap();
        assert_eq!(tcp.describe(), "database 'chat' at db.example:6543");
        let unix = target("postgresql://me@%2Frun%2Fpostgresql/chat").unwrap();
        assert_eq!(unix.describe(), "database 'chat' at /run/postgresql");
    }

    #[test]
    fn every_session_has_its_limits_and_keeps_the_options_of_the_url() {
        let config = target("postgres://me@host/chat?options=-c%20work_mem%3D8MB&application_name=mine").unwrap();
        let options = config.config().get_options().unwrap();
        for expected in ["statement_timeout=30000", "lock_timeout=5000", "timezone=UTC", "work_mem=8MB"] {
            assert!(options.contains(expected), "{options}");
        }
        assert_eq!(config.config().get_application_name(), Some("mine"));
    }

    #[test]
    fn tls_is_refused_in_words() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let text = target(&format!("postgres://me@host/chat?sslmode={mode}")).unwrap_err().to_string();
            assert!(text.contains("TLS to the database is not supported"), "{mode}: {text}");
        }
        assert!(target("postgres://me@host/chat?sslrootcert=/x").unwrap_err().to_string().contains("TLS"));
    }

    #[test]
    fn a_bad_url_is_not_repeated() {
        for url in
            ["postgres://me:hush@host:port/chat", "mysql://me:hush@host/chat", "postgres://me:hush@host/c?x=hush"]
        {
            let text = target(url).unwrap_err().to_string();
            assert!(text.contains("DATABASE_URL") && !text.contains("hush"), "{text}");
        }
    }
}
