//! Where a request comes from.

use std::net::IpAddr;

use http::Extensions;

/// The address of the client, put among the extensions of every request by the host: that of the connection, or what a
/// configured proxy says. Headers are never believed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddress(pub IpAddr);

impl PeerAddress {
    /// The address, if the host gave one.
    pub(crate) fn of(extensions: &Extensions) -> Option<IpAddr> {
        extensions.get::<Self>().map(|address| address.0)
    }
}
