//! What a database must be before anything is written to it: PostgreSQL 15, UTF-8, pgvector 0.8. The judgement is a pure
//! function over what the server reports. Deliberately absent: any attempt
//! to upgrade what is found, and a guess whether this role may create the extension (hosted services have rules of their
//! own): the first migration finds out.

use tokio_postgres::Client;

use crate::error::StoreError;

/// Oldest PostgreSQL: column lists in `ON DELETE SET NULL (…)`.
pub(crate) const OLDEST_POSTGRES: u32 = 15;
/// Oldest pgvector: iterative index scans.
pub(crate) const OLDEST_PGVECTOR: (u32, u32) = (0, 8);

/// What a server says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reported {
    /// For example 180004.
    pub version_number: u32,
    /// For example `18.4`.
    pub version: String,
    pub encoding: String,
    /// pgvector in this database.
    pub pgvector_installed: Option<String>,
    /// pgvector that could be created.
    pub pgvector_available: Option<String>,
    pub read_only: bool,
}

impl Reported {
    pub async fn ask(client: &Client) -> Result<Self, StoreError> {
        const SQL: &str = "SELECT current_setting('server_version_num')::int, \
                 current_setting('server_version'), \
                 current_setting('server_encoding'), \
                 (SELECT extversion FROM pg_extension WHERE extname = 'vector'), \
                 (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'), \
                 pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool";
        let row = client.query_one(SQL, &[]).await?;
        let version: String = row.try_get(1)?;
        Ok(Self {
            version_number: u32::try_from(row.try_get::<_, i32>(0)?).unwrap_or(0),
            version: version.split_whitespace().next().unwrap_or_default().to_owned(),
            encoding: row.try_get(2)?,
            pgvector_installed: row.try_get(3)?,
            pgvector_available: row.try_get(4)?,
            read_only: row.try_get(5)?,
        })
    }

    /// Whether the house can live there.
    pub fn check(&self) -> Result<(), StoreError> {
        let major = self.version_number / 10_000;
        if major < OLDEST_POSTGRES {
            return Err(StoreError::setup(
                format!(
                    "the database server is PostgreSQL {}, and {OLDEST_POSTGRES} is the oldest supported",
                    self.version
                ),
                "Upgrade the server, or leave DATABASE_URL away to use the embedded one",
            ));
        }
        if self.encoding != "UTF8" {
            return Err(StoreError::setup(
                format!("the database's encoding is {}, and it must be UTF8", self.encoding),
                "Create the database anew with ENCODING 'UTF8' TEMPLATE template0",
            ));
        }
        if self.read_only {
            return Err(StoreError::setup(
                "the database is read-only: a standby, or default_transaction_read_only is on",
                "Point DATABASE_URL at the primary",
            ));
        }
        match (&self.pgvector_installed, &self.pgvector_available) {
            (Some(installed), _) if vector_is_new_enough(installed) => Ok(()),
            (Some(installed), Some(available)) if vector_is_new_enough(available) => Err(StoreError::setup(
                format!("the database has pgvector {installed}, and 0.8 is the oldest supported"),
                format!("Run ALTER EXTENSION vector UPDATE in it: the server offers {available}"),
            )),
            (Some(old), _) | (None, Some(old)) if !vector_is_new_enough(old) => Err(StoreError::setup(
                format!("the database server offers pgvector {old}, and 0.8 is the oldest supported"),
                "Upgrade pgvector on the server, then run ALTER EXTENSION vector UPDATE",
            )),
            (_, None) => Err(StoreError::setup(
                "the database server does not offer the extension pgvector",
                "Install it on the server (Debian: postgresql-<version>-pgvector), or leave DATABASE_URL away to use the \
                 embedded PostgreSQL",
            )),
            (_, Some(_)) => Ok(()),
        }
    }
}

/// The two leading numbers of a version such as `0.8.5`.
pub(crate) fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(|part| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    });
    Some((numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

pub(crate) fn vector_is_new_enough(version: &str) -> bool {
    major_minor(version).is_some_and(|found| found >= OLDEST_PGVECTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Reported {
        Reported {
            version_number: 180_004,
            version: "18.4".into(),
            encoding: "UTF8".into(),
            pgvector_installed: None,
            pgvector_available: Some("0.8.5".into()),
            read_only: false,
        }
    }

    fn problem(reported: &Reported) -> String {
        reported.check().unwrap_err().to_string()
    }

    #[test]
    fn a_suitable_server_passes_with_and_without_the_extension() {
        good().check().unwrap();
        Reported { pgvector_installed: Some("0.8.0".into()), ..good() }.check().unwrap();
        Reported { pgvector_installed: Some("1.0".into()), pgvector_available: None, ..good() }.check().unwrap();
    }

    #[test]
    fn each_lack_is_named_with_its_remedy() {
        let old = Reported { version_number: 140_011, version: "14.11".into(), ..good() };
        assert!(problem(&old).contains("PostgreSQL 14.11"));
        assert!(problem(&Reported { encoding: "SQL_ASCII".into(), ..good() }).contains("SQL_ASCII"));
        assert!(problem(&Reported { read_only: true, ..good() }).contains("primary"));
        assert!(problem(&Reported { pgvector_available: None, ..good() }).contains("does not offer"));
        assert!(problem(&Reported { pgvector_available: Some("0.7.4".into()), ..good() }).contains("0.7.4"));
        let behind = Reported { pgvector_installed: Some("0.5.1".into()), ..good() };
        assert!(problem(&behind).contains("ALTER EXTENSION vector UPDATE"));
        let ancient =
            Reported { pgvector_installed: Some("0.5.1".into()), pgvector_available: Some("0.6.0".into()), ..good() };
        assert!(problem(&ancient).contains("Upgrade pgvector"));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(vector_is_new_enough("0.10.0"));
        assert!(vector_is_new_enough("0.8"));
        assert!(!vector_is_new_enough("0.7.9"));
        assert!(!vector_is_new_enough("none"));
        assert_eq!(major_minor("19beta1"), Some((19, 0)));
    }
}
