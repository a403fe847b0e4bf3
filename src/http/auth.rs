//! Who is calling, and whether that is enough. Keys are compared by digest in constant time; without any key configured
//! the caller is the operator, because the server then listens on loopback only (or was told to trust its network).

use greenroom_protocol::UserId;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::error::ApiError;
use super::route::Scope;
use crate::config::{Config, KeyRole};

/// The caller of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The key's name; `None` when no keys are configured or none was sent.
    pub name: Option<Arc<str>>,
    chat: bool,
    read: bool,
    admin: bool,
    /// The only user this caller may speak for.
    pub user: Option<UserId>,
}

impl Caller {
    const NOBODY: Self = Self { name: None, chat: false, read: false, admin: false, user: None };
    const OPERATOR: Self = Self { name: None, chat: true, read: true, admin: true, user: None };

    /// Whether the caller may do everything.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.admin
    }

    fn may(&self, scope: Scope) -> bool {
        match scope {
            Scope::Public => true,
            Scope::Chat => self.chat || self.admin,
            Scope::Read => self.read || self.admin,
            Scope::Admin => self.admin,
        }
    }

    /// Whether the caller may act on what belongs to `owner`.
    #[must_use]
    pub fn speaks_for(&self, owner: &UserId) -> bool {
        self.admin || self.user.as_ref().is_none_or(|user| user == owner)
    }
}

struct KnownKey {
    digest: [u8; 32],
    caller: Caller,
}

/// The configured keys.
pub struct Doorkeeper {
    keys: Vec<KnownKey>,
}

impl Doorkeeper {
    /// Reads the keys of a checked configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut keys = Vec::new();
        if let Some(key) = &config.auth.admin_key {
            let caller = Caller { name: Some("admin".into()), ..Caller::OPERATOR };
            keys.push(KnownKey { digest: digest(key.expose_secret().as_bytes()), caller });
        }
        for key in &config.auth.keys {
            let Some(text) = &key.key else { continue };
            let caller = Caller {
                name: Some(key.name.as_str().into()),
                chat: key.roles.contains(&KeyRole::Chat),
                read: key.roles.contains(&KeyRole::Read),
                admin: key.roles.contains(&KeyRole::Admin),
                user: key.user.as_deref().and_then(|user| UserId::parse(user).ok()),
            };
            keys.push(KnownKey { digest: digest(text.expose_secret().as_bytes()), caller });
        }
        Self { keys }
    }

    /// Whether keys are asked for at all.
    #[must_use]
    pub fn asks(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Lets a request through, or says why not.
    ///
    /// # Errors
    /// [`ApiError::NoKey`] and [`ApiError::NotAllowed`].
    pub fn admit(&self, scope: Scope, method: &Method, headers: &HeaderMap) -> Result<Caller, ApiError> {
        if !self.asks() {
            return Ok(Caller::OPERATOR);
        }
        let looks = matches!(*method, Method::GET | Method::HEAD);
        let sent = sent_key(headers, looks);
        let caller = sent.as_deref().and_then(|key| self.recognise(key));
        match (caller, scope) {
            (Some(caller), scope) if caller.may(scope) => Ok(caller),
            (None, Scope::Public) => Ok(Caller::NOBODY),
            (Some(_), scope) => {
                Err(ApiError::NotAllowed(format!("This needs a key with role '{}'", scope.role().unwrap_or_default())))
            }
            (None, _) => Err(ApiError::NoKey { sent: sent.is_some(), ask_browser: looks && wants_html(headers) }),
        }
    }

    /// Compares with every key, so that the time taken tells nothing.
    fn recognise(&self, key: &[u8]) -> Option<Caller> {
        let presented = digest(key);
        let (mut found, mut index) = (Choice::from(0), 0u64);
        for (at, known) in self.keys.iter().enumerate() {
            let same = known.digest.ct_eq(&presented);
            index.conditional_assign(&(at as u64), same);
            found |= same;
        }
        let known = usize::try_from(index).ok().and_then(|index| self.keys.get(index))?;
        bool::from(found).then(|| known.caller.clone())
    }
}

fn digest(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Whether the client is a browser looking for a page.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("text/html")
}

/// `Authorization: Bearer`, `x-api-key`, or, for looking only, the password of `Authorization: Basic`, which is how a
/// browser can open `/status` and `/docs`.
fn sent_key(headers: &HeaderMap, looks: bool) -> Option<Vec<u8>> {
    if let Some(value) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok())
        && let Some((scheme, rest)) = value.split_once(' ')
    {
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(rest.trim().as_bytes().to_vec());
        }
        if looks && scheme.eq_ignore_ascii_case("basic") {
            return basic_password(rest.trim());
        }
    }
    headers.get("x-api-key").map(|value| value.as_bytes().to_vec())
}

fn basic_password(encoded: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Key;

    fn keeper() -> Doorkeeper {
        let mut config = Config::default();
        config.auth.admin_key = Some("the-admin-key".into());
        for (name, role, user) in [("ui", KeyRole::Chat, Some("Ann")), ("eyes", KeyRole::Read, None)] {
            config.auth.keys.push(Key {
                name: name.into(),
                key: Some(format!("the-{name}-key").into()),
                roles: vec![role],
                user: user.map(str::to_owned),
            });
        }
        Doorkeeper::new(&config)
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())])
    }

    fn status(scope: Scope, headers: &HeaderMap) -> u16 {
        keeper().admit(scope, &Method::GET, headers).map_or_else(|error| error.status().as_u16(), |_| 200)
    }

    #[test]
    fn without_keys_everybody_is_the_operator() {
        let keeper = Doorkeeper::new(&Config::default());
        assert!(keeper.admit(Scope::Admin, &Method::POST, &HeaderMap::new()).unwrap().is_admin());
    }

    #[test]
    fn roles_open_their_own_scope_and_admin_opens_all() {
        let cases = [
            ("the-ui-key", [200, 200, 403, 403]),
            ("the-eyes-key", [200, 403, 200, 403]),
            ("the-admin-key", [200, 200, 200, 200]),
            ("the-admin-kez", [200, 401, 401, 401]),
            ("", [200, 401, 401, 401]),
        ];
        for (key, expected) in cases {
            let got = [Scope::Public, Scope::Chat, Scope::Read, Scope::Admin]
                .map(|scope| status(scope, &headers("authorization", &format!("Bearer {key}"))));
            assert_eq!(got, expected, "{key}");
            assert_eq!(status(Scope::Chat, &headers("x-api-key", key)), expected[1], "{key}");
        }
        assert_eq!(status(Scope::Chat, &HeaderMap::new()), 401);
        assert_eq!(status(Scope::Public, &HeaderMap::new()), 200);
    }

    #[test]
    fn a_browser_may_look_with_a_password_but_not_act() {
        // "anyone:the-admin-key" and "x" in base64
        let basic = headers("authorization", "Basic YW55b25lOnRoZS1hZG1pbi1rZXk=");
        assert_eq!(status(Scope::Admin, &basic), 200);
        assert_eq!(keeper().admit(Scope::Admin, &Method::POST, &basic).unwrap_err().status(), 401);
        assert_eq!(status(Scope::Admin, &headers("authorization", "Basic eA==")), 401);
        assert_eq!(status(Scope::Admin, &headers("authorization", "Basic !")), 401);
    }

    #[test]
    fn a_bound_key_speaks_for_its_user_alone() {
        let caller = keeper().admit(Scope::Chat, &Method::POST, &headers("x-api-key", "the-ui-key")).unwrap();
        assert_eq!((caller.name.as_deref(), caller.user.as_ref().map(UserId::as_str)), (Some("ui"), Some("ann")));
        assert!(caller.speaks_for(&UserId::from_stored("ann")));
        assert!(!caller.speaks_for(&UserId::from_stored("bob")));
    }
}
