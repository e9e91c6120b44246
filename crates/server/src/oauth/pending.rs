//! A request that waits for a person, as it travels through the browser: its parameters, when it was made, until when it
//! counts, whose click it waits for, and a MAC over all of that.
//!
//! The MAC is over the parameters as they were read and not over the text, so that a browser or page may write them in
//! another order or escape them in another way.

use epicenter_encryption::AuthSecret;
use form_urlencoded::Serializer;

use super::authorize::SignedQuery;
use super::parameters::Parameters;
use crate::accounts::store::SessionId;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const LABEL: &str = "pending authorization request v1";

/// The parameters of a request that have a meaning here, in the order in which they are signed.
const CARRIED: [&str; 15] = [
    "response_type",
    "response_mode",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "max_age",
    "resource",
    "login_hint",
    "request",
    "request_uri",
];
const REQUESTED_AT: &str = "requested_at";
const SESSION: &str = "sid";
const EXPIRES: &str = "exp";
const SIGNATURE: &str = "sig";

/// What a signed query says besides the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// When the client's request arrived, in milliseconds since the Unix epoch.
    pub(super) requested_at_ms: u64,
    /// Milliseconds since the Unix epoch.
    pub(super) expires_at_ms: u64,
    /// The session that was asked to click; an answer counts only from it.
    pub(super) session: Option<SessionId>,
}

/// Whether a query is one that was signed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It bears no signature.
    Unsigned,
    Signed(Stamp),
    /// It was changed, or its time is over.
    Spoiled,
}

/// The request with a stamp and a MAC.
pub(super) fn sign(secret: &AuthSecret, parameters: &Parameters, stamp: &Stamp) -> SignedQuery {
    let query = signed_part(parameters, stamp);
    let mac = URL_SAFE_NO_PAD.encode(secret.mac(LABEL, query.as_bytes()));
    SignedQuery(format!("{query}&{SIGNATURE}={mac}"))
}

/// Reads the stamp, when the MAC and the time hold.
pub(super) fn find(secret: &AuthSecret, parameters: &Parameters, now_ms: u64) -> Found {
    let Some(signature) = parameters.find(SIGNATURE) else {
        return Found::Unsigned;
    };
    let number = |name| parameters.find(name).and_then(|text| text.parse().ok());
    let (Some(requested_at_ms), Some(expires_at_ms)) = (number(REQUESTED_AT), number(EXPIRES))
    else {
        return Found::Spoiled;
    };
    let stamp = Stamp {
        requested_at_ms,
        expires_at_ms,
        session: parameters.find(SESSION).map(SessionId::new),
    };
    // Where the text is no base64url does not matter: the MAC does not hold.
    let mac = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    let holds = secret.is_mac(LABEL, signed_part(parameters, &stamp).as_bytes(), &mac);
    if holds && now_ms < expires_at_ms {
        Found::Signed(stamp)
    } else {
        Found::Spoiled
    }
}

fn signed_part(parameters: &Parameters, stamp: &Stamp) -> String {
    let mut query = Serializer::new(String::new());
    for name in CARRIED {
        if let Some(value) = parameters.find(name) {
            query.append_pair(name, value);
        }
    }
    query.append_pair(REQUESTED_AT, &stamp.requested_at_ms.to_string());
    if let Some(session) = &stamp.session {
        query.append_pair(SESSION, session.as_str());
    }
    query.append_pair(EXPIRES, &stamp.expires_at_ms.to_string());
    query.finish()
}
