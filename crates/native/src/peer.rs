//! Which address a request comes from: the connection's, or what a trusted proxy says about it.
//!
//! The header is a list to which each proxy adds whom it heard from. Read from the right, every entry was written by a
//! proxy that is trusted for as long as the entries before it name trusted proxies; the first that names somebody else is
//! the client. What stands further left is the client's own invention.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use epicenter_server::peer::PeerAddress;
use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A range of addresses, `10.0.0.0/8` or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Parses CIDR notation; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        (bits <= width).then_some(Self { address, bits })
    }

    fn contains(&self, ip: IpAddr) -> bool {
        let (own, other, width) = match (self.address, ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u128::from(own.to_bits()), u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        let ignored = u32::from(width - self.bits);
        own.checked_shr(ignored).unwrap_or(0) == other.checked_shr(ignored).unwrap_or(0)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.bits)
    }
}

/// The header that the trusted proxies write. Only one is read: the other may be passed on as a client sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Whose word about addresses is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Where they are; nobody is trusted without it.
    pub networks: Vec<Network>,
    /// What they write.
    pub header: ProxyHeader,
}

impl TrustedProxies {
    pub(crate) fn client(&self, connection: IpAddr, headers: &HeaderMap) -> PeerAddress {
        let mut client = connection.to_canonical();
        let name = match self.header {
            ProxyHeader::XForwardedFor => X_FORWARDED_FOR,
            ProxyHeader::Forwarded => FORWARDED,
        };
        let lines: Vec<_> = headers.get_all(name).iter().collect();
        let hops = lines
            .iter()
            .rev()
            .flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        for hop in hops {
            if !self.is_trusted(client) {
                break;
            }
            let hop = match self.header {
                ProxyHeader::XForwardedFor => Some(hop),
                ProxyHeader::Forwarded => forwarded_for(hop),
            };
            // An entry that is no address is not read past.
            let Some(ip) = hop.and_then(parse_hop) else {
                break;
            };
            client = ip.to_canonical();
        }
        PeerAddress(client)
    }

    fn is_trusted(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(ip))
    }
}

/// The value of `for` in one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    values
        .next()
        .map(|(_, value)| value.trim().trim_matches('"'))
}

/// An address, with or without port and brackets.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(networks: &[&str], header: ProxyHeader) -> TrustedProxies {
        TrustedProxies {
            networks: networks
                .iter()
                .map(|network| Network::parse(network).expect("a network"))
                .collect(),
            header,
        }
    }

    #[track_caller]
    fn check(proxies: &TrustedProxies, connection: &str, lines: &[&str], expect: &str) {
        let name = match proxies.header {
            ProxyHeader::XForwardedFor => X_FORWARDED_FOR,
            ProxyHeader::Forwarded => FORWARDED,
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name.clone(), line.parse().expect("a header"));
        }
        let connection = connection.parse().expect("an address");
        let PeerAddress(client) = proxies.client(connection, &headers);
        assert_eq!(client.to_string(), expect, "{lines:?}");
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_only_as_far_as_they_know() {
        let none = TrustedProxies::default();
        check(&none, "127.0.0.1", &["192.0.2.1"], "127.0.0.1");
        let trusted = proxies(
            &["127.0.0.1", "10.0.0.0/8", "fd00::/8"],
            ProxyHeader::default(),
        );
        check(&trusted, "192.0.2.9", &["192.0.2.1"], "192.0.2.9");
        check(&trusted, "127.0.0.1", &[], "127.0.0.1");
        check(&trusted, "127.0.0.1", &["192.0.2.1"], "192.0.2.1");
        check(&trusted, "::ffff:127.0.0.1", &["192.0.2.1"], "192.0.2.1");
        // What the client invented stands on the left.
        check(
            &trusted,
            "127.0.0.1",
            &["198.51.100.7, 192.0.2.1"],
            "192.0.2.1",
        );
        check(
            &trusted,
            "127.0.0.1",
            &["198.51.100.7", "192.0.2.1"],
            "192.0.2.1",
        );
        check(&trusted, "127.0.0.1", &["10.1.1.1, 192.0.2.1"], "192.0.2.1");
        // Through two proxies, and from inside their network.
        check(&trusted, "127.0.0.1", &["192.0.2.1, 10.1.1.1"], "192.0.2.1");
        check(&trusted, "fd00::1", &["10.2.2.2, 10.1.1.1"], "10.2.2.2");
        check(
            &trusted,
            "127.0.0.1",
            &["192.0.2.1, junk, 10.1.1.1"],
            "10.1.1.1",
        );
        check(&trusted, "127.0.0.1", &["192.0.2.1:4711"], "192.0.2.1");
        check(
            &trusted,
            "127.0.0.1",
            &["[2001:db8::1]:4711"],
            "2001:db8::1",
        );
    }

    #[test]
    fn the_other_header_is_read_when_the_configuration_says_so() {
        let trusted = proxies(&["127.0.0.1"], ProxyHeader::Forwarded);
        let line = r#"for=198.51.100.7, proto=https;For="[2001:db8::1]:4711";by=10.0.0.1"#;
        check(&trusted, "127.0.0.1", &[line], "2001:db8::1");
        check(&trusted, "127.0.0.1", &["for=unknown"], "127.0.0.1");
        check(&trusted, "127.0.0.1", &["by=192.0.2.1"], "127.0.0.1");
    }

    #[test]
    fn networks_are_written_in_one_way() {
        for text in [
            "10.0.0.0/33",
            "10.0.0",
            "::1/129",
            "example.com",
            "",
            "10.0.0.0/",
            "10.0.0.0/-1",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
        let all = Network::parse("0.0.0.0/0").expect("a network");
        assert!(all.contains("192.0.2.1".parse().expect("an address")));
        assert!(!all.contains("2001:db8::1".parse().expect("an address")));
        let half = Network::parse("2001:db8::/33").expect("a network");
        assert!(half.contains("2001:db8:7fff::1".parse().expect("an address")));
        assert!(!half.contains("2001:db8:8000::1".parse().expect("an address")));
        assert!(
            Network::parse("::/0")
                .expect("a network")
                .contains("::1".parse().expect("an address"))
        );
    }
}
