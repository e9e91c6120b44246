//! The identifiers, each a newtype over text whose only constructor parses. Copies share the text.
//!
//! Lengths count bytes of UTF-8. No rule normalises: an id is compared byte for byte.

use std::fmt;
use std::sync::Arc;

/// The owner of every room on a shared hub, and therefore no user's id.
pub(crate) const SHARED_OWNER: &str = "shared";

/// Declares one identifier: its documentation, its rule, and the error that states the rule.
macro_rules! text_id {
    (
        $(#[doc = $doc:literal])+
        $name:ident($accepts:path),
        $error:ident: $rule:literal
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is when it follows the rule of this identifier.
            ///
            /// # Errors
            #[doc = concat!("[`", stringify!($error), "`], whose message is the rule.")]
            pub fn parse(text: &str) -> Result<Self, $error> {
                if $accepts(text) { Ok(Self(Arc::from(text))) } else { Err($error) }
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        #[doc = concat!("The text is no [`", stringify!($name), "`]; the message says what is allowed.")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        #[error($rule)]
        pub struct $error;
    };
}

text_id! {
    /// A person's account.
    ///
    /// 1 to 128 ASCII letters, digits, `_` and `-`; never `shared`, which is the owner of a shared hub.
    UserId(is_user_id),
    UserIdError: "a user id is 1 to 128 ASCII letters, digits, '_' or '-', and not 'shared'"
}

text_id! {
    /// Who owns rooms and keys: a user's id on a personal hub, `shared` on a shared one.
    ///
    /// 1 to 128 bytes without control characters and `/`.
    /// It is wider than [`UserId`] because the key derivation is pinned for owners with any text in their
    /// names; owners that a hub resolves itself are always a user's id or `shared`.
    /// Without `/`, the durable name of a room splits in one way only.
    OwnerId(is_owner_id),
    OwnerIdError: "an owner id is 1 to 128 bytes of UTF-8 without control characters and '/'"
}

text_id! {
    /// A device's own stable name, and its address for dispatch (sync.md 5).
    ///
    /// 1 to 128 bytes without control characters, `/`, `?` and `#`.
    DeviceId(is_device_id),
    DeviceIdError: "a device id is 1 to 128 bytes of UTF-8 without control characters, '/', '?' and '#'"
}

text_id! {
    /// The guid of the Yjs document that a room holds (sync.md 1).
    ///
    /// 1 to 256 bytes without control characters. `/` is allowed, so it never becomes a file name.
    RoomId(is_room_id),
    RoomIdError: "a room id is 1 to 256 bytes of UTF-8 without control characters"
}

text_id! {
    /// An OAuth client.
    ///
    /// 1 to 512 visible ASCII characters: a short name, or the URL of a client metadata document.
    ClientId(is_client_id),
    ClientIdError: "a client id is 1 to 512 visible ASCII characters"
}

text_id! {
    /// What a person granted to a client, the `gid` claim of its tokens and the unit of revocation.
    ///
    /// 1 to 128 ASCII letters, digits, `_` and `-`.
    GrantId(is_name),
    GrantIdError: "a grant id is 1 to 128 ASCII letters, digits, '_' or '-'"
}

impl OwnerId {
    /// A user's own rooms. Only the ownership rule calls this.
    pub(crate) fn of_user(user: &UserId) -> Self {
        Self(Arc::clone(&user.0))
    }

    /// The one owner of a shared hub. Only the ownership rule calls this.
    pub(crate) fn shared() -> Self {
        Self(Arc::from(SHARED_OWNER))
    }
}

fn is_user_id(text: &str) -> bool {
    is_name(text) && text != SHARED_OWNER
}

fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=128).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn is_owner_id(text: &str) -> bool {
    is_printable(text, 128) && !text.contains('/')
}

fn is_device_id(text: &str) -> bool {
    is_printable(text, 128) && !text.contains(['/', '?', '#'])
}

fn is_room_id(text: &str) -> bool {
    is_printable(text, 256)
}

fn is_client_id(text: &str) -> bool {
    (1..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Control characters are those of Unicode: U+0000 to U+001F and U+007F to U+009F.
fn is_printable(text: &str, max_bytes: usize) -> bool {
    (1..=max_bytes).contains(&text.len()) && !text.contains(char::is_control)
}
