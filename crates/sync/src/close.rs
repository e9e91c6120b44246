//! Close frames: the codes of sync.md 5 and the room that a reason has.

/// Why the hub closes a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// The hub stops; reconnect with backoff and jitter.
    GoingAway = 1001,
    /// An update was refused; reconnect with backoff.
    UpdateRefused = 1007,
    /// Too many connections or frames; reconnect with backoff.
    Policy = 1008,
    /// A message over the limit; reconnect with backoff.
    TooLarge = 1009,
    /// Storage or queue trouble; reconnect with backoff and jitter.
    TryAgainLater = 1013,
    /// Not the protocol; reconnect with backoff.
    Protocol = 4400,
    /// The token was refused or the grant revoked; give up until the credentials change.
    Unauthorized = 4401,
    /// Not yours, not admitted; stop.
    Forbidden = 4403,
    /// The connection's lifetime is over; reconnect through a fresh upgrade.
    LifetimeOver = 4408,
    /// The room was deleted; stop.
    RoomDeleted = 4410,
    /// The signing keys cannot be had; reconnect with backoff.
    KeysUnreachable = 4503,
}

impl CloseCode {
    const ALL: [CloseCode; 11] = [
        CloseCode::GoingAway,
        CloseCode::UpdateRefused,
        CloseCode::Policy,
        CloseCode::TooLarge,
        CloseCode::TryAgainLater,
        CloseCode::Protocol,
        CloseCode::Unauthorized,
        CloseCode::Forbidden,
        CloseCode::LifetimeOver,
        CloseCode::RoomDeleted,
        CloseCode::KeysUnreachable,
    ];

    /// The number in the close frame.
    pub fn as_u16(self) -> u16 {
        self as u16
    }

    /// The code with this number. `None`: the hub never sends it.
    pub fn from_u16(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_u16() == number)
    }
}

/// A close frame's reason is at most 123 bytes (RFC 6455, section 5.5).
pub const MAX_CLOSE_REASON_BYTES: usize = 123;

/// The longest beginning of a plain text that fits as a reason, cut between characters.
///
/// JSON would not survive the cut: what builds a JSON reason keeps it short itself.
pub fn truncate_close_reason(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MAX_CLOSE_REASON_BYTES)]
}
