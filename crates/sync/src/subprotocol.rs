//! The subprotocols that an upgrade offers: the protocol itself, and a bearer for clients that cannot set
//! headers (sync.md 5).

use std::fmt;

/// The protocol, and the only value that may be sent back.
pub const MAIN_SUBPROTOCOL: &str = "epicenter";

/// What precedes the access token in an entry that carries one.
pub const BEARER_PREFIX: &str = "bearer.";

/// The entries of a `Sec-WebSocket-Protocol` request header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer<'a> {
    /// Whether [`MAIN_SUBPROTOCOL`] was offered.
    pub main: bool,
    /// The token.
    pub bearer: BearerOffer<'a>,
    /// Every entry that is no bearer, in order.
    pub others: Vec<&'a str>,
}

/// The bearer entries of an offer. The token is left out of `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum BearerOffer<'a> {
    /// None, or one without a token.
    None,
    /// Exactly one.
    One(&'a str),
    /// Two or more, equal or not: the request is refused.
    Several,
}

impl<'a> Offer<'a> {
    /// Reads the header's value; several header lines are joined with commas first.
    pub fn parse(header: Option<&'a str>) -> Offer<'a> {
        let mut offer = Offer {
            main: false,
            bearer: BearerOffer::None,
            others: Vec::new(),
        };
        let mut bearers = 0_usize;
        for entry in header.unwrap_or_default().split(',') {
            let entry = entry.trim_matches([' ', '\t']);
            if let Some(token) = entry.strip_prefix(BEARER_PREFIX) {
                bearers += 1;
                offer.bearer = match (bearers, token) {
                    (1, "") => BearerOffer::None,
                    (1, token) => BearerOffer::One(token),
                    _ => BearerOffer::Several,
                };
            } else if !entry.is_empty() {
                offer.main |= entry == MAIN_SUBPROTOCOL;
                offer.others.push(entry);
            }
        }
        offer
    }

    /// The value to send back, if any.
    pub fn answer(&self) -> Option<&'static str> {
        self.main.then_some(MAIN_SUBPROTOCOL)
    }
}

impl fmt::Debug for BearerOffer<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            BearerOffer::None => "None",
            BearerOffer::One(_) => "One(redacted)",
            BearerOffer::Several => "Several",
        })
    }
}
