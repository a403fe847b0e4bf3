//! Who the embedded server runs as. PostgreSQL refuses to run as root, so root lends it another account; everybody else
//! runs it as themselves. Deliberately absent: changing the account of this process.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// The account a server is started under when this process is root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// The account for a cluster directory; `None` means: as whoever we are.
pub(crate) fn choose(cluster_dir: &Path) -> Result<Option<Account>, StoreError> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let owner = fs::metadata(cluster_dir).ok().map(|found| (found.uid(), found.gid()));
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    for_root(owner, &passwd).map(Some)
}

/// An existing cluster keeps its owner, because its files are readable to nobody else.
fn for_root(owner: Option<(u32, u32)>, passwd: &str) -> Result<Account, StoreError> {
    let mut known = passwd.lines().filter_map(parse_line);
    if let Some((uid, gid)) = owner.filter(|(uid, _)| *uid != 0) {
        let found = known.find(|account| account.uid == uid);
        return Ok(found.unwrap_or(Account { name: uid.to_string(), uid, gid }));
    }
    let (mut postgres, mut nobody) = (None, None);
    for account in known.filter(|account| account.uid != 0) {
        match account.name.as_str() {
            "postgres" => postgres = Some(account),
            "nobody" => nobody = Some(account),
            _ => {}
        }
    }
    postgres.or(nobody).ok_or_else(|| {
        StoreError::setup(
            "PostgreSQL cannot run as root, and this machine has neither a user 'postgres' nor 'nobody'",
            "Create one (useradd --system postgres), or run greenroom as an ordinary user",
        )
    })
}

fn parse_line(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let _password = fields.next()?;
    Some(Account { name, uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}

/// The first folder on the way to `path` (itself included when it is one) that the account may not enter.
pub(crate) fn first_barrier(path: &Path, account: &Account) -> Option<PathBuf> {
    let mut folders: Vec<&Path> = path.ancestors().collect();
    folders.reverse();
    folders
        .into_iter()
        .find(|folder| fs::metadata(folder).is_ok_and(|found| found.is_dir() && !grants(&found, account, 0o1)))
        .map(Path::to_owned)
}

/// Whether the account may read and run a program file.
pub(crate) fn may_run(program: &Path, account: &Account) -> bool {
    first_barrier(program, account).is_none() && fs::metadata(program).is_ok_and(|found| grants(&found, account, 0o5))
}

/// `wanted` in the bits of one class: 4 read, 2 write, 1 enter or run.
fn grants(found: &fs::Metadata, account: &Account, wanted: u32) -> bool {
    let shift = if found.uid() == account.uid {
        6
    } else if found.gid() == account.gid {
        3
    } else {
        0
    };
    (found.mode() >> shift) & wanted == wanted
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n\
                          postgres:x:101:104::/var/lib/postgresql:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";

    #[test]
    fn root_lends_postgres_or_nobody() {
        assert_eq!(for_root(None, PASSWD).unwrap().name, "postgres");
        let without = PASSWD.replace("postgres:x", "other:x");
        assert_eq!(
            for_root(Some((0, 0)), &without).unwrap(),
            Account { name: "nobody".into(), uid: 65534, gid: 65534 }
        );
        let text = for_root(None, "root:x:0:0:root:/root:/bin/sh\n").unwrap_err().to_string();
        assert!(text.contains("cannot run as root") && text.contains("useradd"), "{text}");
    }

    #[test]
    fn an_existing_cluster_keeps_its_owner() {
        assert_eq!(for_root(Some((1000, 1000)), PASSWD).unwrap().name, "ann");
        let stranger = for_root(Some((4711, 12)), PASSWD).unwrap();
        assert_eq!(stranger, Account { name: "4711".into(), uid: 4711, gid: 12 });
    }

    #[test]
    fn a_closed_folder_is_found_on_the_way() {
        let outer = std::env::temp_dir().join(format!("greenroom-barrier-{}", uuid::Uuid::new_v4()));
        let inner = outer.join("open");
        fs::create_dir_all(&inner).unwrap();
        let program = inner.join("program");
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mine = fs::metadata(&outer).unwrap();
        let stranger = Account { name: "stranger".into(), uid: mine.uid() + 4711, gid: mine.gid() + 4711 };
        let myself = Account { name: "myself".into(), uid: mine.uid(), gid: mine.gid() };

        fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&outer, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(first_barrier(&program, &stranger), Some(outer.clone()));
        assert_eq!(first_barrier(&program, &myself), None);
        assert!(may_run(&program, &myself) && !may_run(&program, &stranger));

        fs::set_permissions(&outer, fs::Permissions::from_mode(0o711)).unwrap();
        assert!(may_run(&program, &stranger));
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!may_run(&program, &stranger));
        fs::remove_dir_all(outer).unwrap();
    }
}
