//! What a session answers.

use epicenter_api::{KeyText, SessionKey, SessionResponse, SessionUser};
use epicenter_encryption::RootKeyring;
use epicenter_identity::Scope;

use crate::auth::Caller;

/// Without the scope `keyring` a token learns no key.
pub(super) fn describe(caller: &Caller, root: &RootKeyring) -> SessionResponse {
    let access = &caller.access;
    let keyring = if access.scopes().contains(Scope::Keyring) {
        root.owner_keyring(access.owner()).to_wire()
    } else {
        Vec::new()
    };
    let to_key = |(version, text)| SessionKey {
        version,
        key_bytes_base64: KeyText::new(text),
    };
    SessionResponse {
        user: SessionUser {
            id: access.user().to_string(),
            email: caller.user.email.clone(),
        },
        owner_id: access.owner().to_string(),
        keyring: keyring.into_iter().map(to_key).collect(),
    }
}
