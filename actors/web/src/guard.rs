//! Which addresses a page may come from.
//!
//! Invariant: no connection to an address that is not public leaves this process for a page that a model asked for, unless
//! the allow-list names it. Names are judged where they are resolved for the connection itself ([`Guard`] is the
//! client's resolver), so an answer that changes between a check and the connection changes nothing; literal addresses
//! never see a resolver and are judged by [`Guard::check`], on every hop. Deliberately absent: opinions on content.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::error::WebError;

/// Longest URL that is looked at.
const MAX_URL: usize = 4_096;

/// Ports that serve pages.
const PORTS: [u16; 8] = [80, 443, 8000, 8008, 8080, 8081, 8443, 8888];

/// Names that never leave a house.
const INTERNAL_SUFFIXES: [&str; 9] =
    [".localhost", ".local", ".internal", ".intranet", ".lan", ".home", ".corp", ".home.arpa", ".onion"];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

/// IANA's special-purpose IPv4 networks, and one public address that answers as a cloud's metadata server.
const SPECIAL_V4: [Ipv4Net; 16] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(168, 63, 129, 16, 32),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

const fn v6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

/// What IPv6 has that is public at all.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// The exceptions in it: protocol assignments with Teredo, documentation, 6to4.
const SPECIAL_V6: [Ipv6Net; 4] = [
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

/// Translation of IPv4 by NAT64.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// Whether an address is one of the public internet.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => match embedded(address) {
            Some(address) => is_public(address.into()),
            None => GLOBAL_V6.contains(&address) && !SPECIAL_V6.iter().any(|net| net.contains(&address)),
        },
    }
}

/// The IPv4 address that a mapped or NAT64 address stands for.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    if NAT64.contains(&address) {
        let [.., a, b, c, d] = address.octets();
        return Some(Ipv4Addr::new(a, b, c, d));
    }
    address.to_ipv4_mapped()
}

/// Hosts and networks that may be fetched although they are not public, at any port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList {
    names: Vec<String>,
    networks: Vec<IpNet>,
}

impl AllowList {
    /// Reads entries: a host name, `.suffix` for all names below it, an address, or a network in CIDR form.
    ///
    /// # Errors
    /// For an entry that is none of these.
    pub fn parse<S: AsRef<str>>(entries: impl IntoIterator<Item = S>) -> Result<Self, WebError> {
        let mut list = Self::default();
        for entry in entries {
            let entry = entry.as_ref().trim().trim_end_matches('.').to_ascii_lowercase();
            if entry.is_empty() {
                continue;
            }
            if let Ok(network) = entry.parse::<IpNet>() {
                list.networks.push(network.trunc());
            } else if let Ok(address) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
                list.networks.push(address.into());
            } else if Host::parse(entry.trim_start_matches('.')).is_ok_and(|host| matches!(host, Host::Domain(_))) {
                list.names.push(entry);
            } else {
                return Err(WebError::Invalid(format!(
                    "{entry:?} is neither a host name nor an address nor a network"
                )));
            }
        }
        Ok(list)
    }

    fn has_name(&self, name: &str) -> bool {
        self.names.iter().any(|own| {
            own == name
                || (own.starts_with('.') && (name.ends_with(own.as_str()) || name == own.trim_start_matches('.')))
        })
    }

    fn has_address(&self, address: IpAddr) -> bool {
        let plain = match address {
            IpAddr::V6(six) => embedded(six).map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        self.networks.iter().any(|network| network.contains(&plain) || network.contains(&address))
    }
}

impl FromStr for AllowList {
    type Err = WebError;

    fn from_str(text: &str) -> Result<Self, WebError> {
        Self::parse(text.split(','))
    }
}

/// Judges addresses; as a resolver it answers with permitted ones only.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard {
    allow: Arc<AllowList>,
}

/// What the resolver says about a name without a permitted address. Found again in the chain of a client's error.
#[derive(Debug, thiserror::Error)]
#[error("the address is not public")]
pub(crate) struct NotPublic;

impl Guard {
    pub(crate) fn new(allow: AllowList) -> Self {
        Self { allow: Arc::new(allow) }
    }

    /// A URL that may be tried. Its fragment is dropped.
    pub(crate) fn read(&self, text: &str) -> Result<Url, WebError> {
        let text = text.trim();
        if text.len() > MAX_URL {
            return Err(WebError::Invalid(format!("The URL is longer than {MAX_URL} characters.")));
        }
        let mut url = Url::parse(text)
            .map_err(|_| WebError::Invalid("This is not a complete URL; it begins with http:// or https://.".into()))?;
        url.set_fragment(None);
        self.check(&url)?;
        Ok(url)
    }

    /// Everything that can be judged without asking anybody.
    pub(crate) fn check(&self, url: &Url) -> Result<(), WebError> {
        if !matches!(url.scheme(), "http" | "https") {
            return refused("Only http:// and https:// addresses can be fetched.");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("An address with a user name or a password in it is not fetched.");
        }
        let allowed = match url.host() {
            None => return refused("The address names no host."),
            Some(Host::Domain(name)) => {
                let name = canonical(name);
                let allowed = self.allow.has_name(&name);
                if !allowed && is_internal(&name) {
                    return Err(not_public());
                }
                allowed
            }
            Some(Host::Ipv4(address)) => self.literal(address.into())?,
            Some(Host::Ipv6(address)) => self.literal(address.into())?,
        };
        if !allowed && !url.port_or_known_default().is_some_and(|port| PORTS.contains(&port)) {
            return refused("Pages are not fetched from this port.");
        }
        Ok(())
    }

    fn literal(&self, address: IpAddr) -> Result<bool, WebError> {
        let allowed = self.allow.has_address(address);
        if allowed || is_public(address) { Ok(allowed) } else { Err(not_public()) }
    }

    fn permits(&self, address: IpAddr) -> bool {
        is_public(address) || self.allow.has_address(address)
    }

    /// Checks a URL that somebody else will fetch: *all* addresses of its host must be permitted, since that one chooses.
    pub(crate) async fn vouch(&self, url: &Url) -> Result<(), WebError> {
        self.check(url)?;
        let Some(Host::Domain(name)) = url.host() else { return Ok(()) };
        if self.allow.has_name(&canonical(name)) {
            return Ok(());
        }
        let Ok(addresses) = tokio::net::lookup_host((name, 0)).await else { return Err(unknown_host(name)) };
        let mut addresses = addresses.peekable();
        if addresses.peek().is_none() {
            return Err(unknown_host(name));
        }
        if addresses.all(|address| self.permits(address.ip())) { Ok(()) } else { Err(not_public()) }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let named = guard.allow.has_name(&canonical(name.as_str()));
            let permitted: Vec<SocketAddr> = found.filter(|address| named || guard.permits(address.ip())).collect();
            if permitted.is_empty() {
                return Err(Box::<dyn std::error::Error + Send + Sync>::from(NotPublic));
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Names that no public resolver knows.
fn is_internal(name: &str) -> bool {
    !name.contains('.') || INTERNAL_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

fn refused<T>(why: &str) -> Result<T, WebError> {
    Err(WebError::Refused(why.into()))
}

/// What is said of an address inside.
pub(crate) fn not_public() -> WebError {
    WebError::Refused("The address is not on the public internet and is not fetched.".into())
}

fn unknown_host(name: &str) -> WebError {
    WebError::Upstream(format!("There is no host {name}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_an_inner_address_is_public() {
        let inner = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:7f00:1::",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for address in inner {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
        {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn disguised_addresses_are_seen_through() {
        let guard = Guard::default();
        let inner = [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://127.0.0.1./",
            "http://[::1]/",
            "http://[::ffff:7f00:1]/",
            "http://①②⑦.⓪.⓪.①/",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://intranet/",
            "http://printer.local/",
            "http://metadata.google.internal/",
            "http://a.localhost/",
            "http://169.254.169.254/latest/meta-data/",
        ];
        for url in inner {
            assert!(matches!(guard.read(url), Err(WebError::Refused(_))), "{url}");
        }
        for url in [
            "file:///etc/passwd",
            "ftp://example.org/",
            "gopher://example.org/",
            "http://a:b@example.org/",
            "http://user@example.org/",
            "http://example.org:22/",
            "https://example.org:6379/",
        ] {
            assert!(matches!(guard.read(url), Err(WebError::Refused(_))), "{url}");
        }
        for text in ["", "example.org", "/etc/passwd", "http://"] {
            assert!(matches!(guard.read(text), Err(WebError::Invalid(_))), "{text}");
        }
        assert_eq!(guard.read(" https://Example.org:8443/a?b#c ").unwrap().as_str(), "https://example.org:8443/a?b");
    }

    #[test]
    fn the_allow_list_opens_what_it_names_and_nothing_else() {
        let allow: AllowList = "wiki.lan, .office.internal ,10.1.0.0/16, 192.168.1.5,[::1]".parse().unwrap();
        let guard = Guard::new(allow);
        for url in [
            "http://wiki.lan/",
            "http://wiki.lan:3000/",
            "http://a.office.internal/",
            "http://10.1.2.3:9/",
            "http://192.168.1.5/",
            "http://[::1]:5000/",
            "http://[::ffff:10.1.0.1]/",
        ] {
            assert!(guard.read(url).is_ok(), "{url}");
        }
        for url in [
            "http://evilwiki.lan/",
            "http://aoffice.internal/",
            "http://10.2.0.1/",
            "http://192.168.1.6/",
            "http://127.0.0.1/",
        ] {
            assert!(guard.read(url).is_err(), "{url}");
        }
        assert!(AllowList::parse(["not a host"]).is_err());
        assert!(AllowList::parse(["10.0.0.0/99"]).is_err());
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_resolves_to() {
        let name: Name = "localhost".parse().unwrap();
        let Err(error) = Guard::default().resolve(name).await else { panic!("it must be refused") };
        assert!(error.downcast_ref::<NotPublic>().is_some());
        let name: Name = "localhost".parse().unwrap();
        let guard = Guard::new(AllowList::parse(["127.0.0.1"]).unwrap());
        let found: Vec<_> = guard.resolve(name).await.unwrap().collect();
        assert!(found.iter().all(|address| address.ip() == Ipv4Addr::LOCALHOST) && !found.is_empty());
    }
}
