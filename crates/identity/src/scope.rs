//! What a token allows (identity.md 2).

use std::fmt;

/// One scope of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// `openid`: an id_token.
    OpenId,
    /// `profile`: the name.
    Profile,
    /// `email`: the address.
    Email,
    /// `offline_access`: a refresh token.
    OfflineAccess,
    /// `rooms.read`: snapshots, lists, and sync without an update.
    RoomsRead,
    /// `rooms.write`: everything else about rooms, sockets included.
    RoomsWrite,
    /// `keyring`: the owner's keys in `/api/session`.
    Keyring,
    /// `ai`: the AI proxy.
    Ai,
    /// `account`: the person's account.
    Account,
}

impl Scope {
    /// Every scope, in the order in which [`Scopes`] are written.
    pub const ALL: [Scope; 9] = [
        Scope::OpenId,
        Scope::Profile,
        Scope::Email,
        Scope::OfflineAccess,
        Scope::RoomsRead,
        Scope::RoomsWrite,
        Scope::Keyring,
        Scope::Ai,
        Scope::Account,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::OpenId => "openid",
            Scope::Profile => "profile",
            Scope::Email => "email",
            Scope::OfflineAccess => "offline_access",
            Scope::RoomsRead => "rooms.read",
            Scope::RoomsWrite => "rooms.write",
            Scope::Keyring => "keyring",
            Scope::Ai => "ai",
            Scope::Account => "account",
        }
    }

    fn bit(self) -> u16 {
        1 << (self as u16)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Scopes(u16);

impl Scopes {
    /// No scope at all.
    pub const NONE: Scopes = Scopes(0);

    /// Every scope, those of the API and those of OpenID.
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// Reads the space-separated form of a token's `scope` claim.
    ///
    /// Names that this hub does not know are left out: they allow nothing here.
    pub fn parse_lenient(text: &str) -> Self {
        text.split(' ')
            .filter_map(|name| Scope::ALL.into_iter().find(|scope| scope.as_str() == name))
            .collect()
    }

    /// Whether the scope is in the set.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// The set and this scope.
    #[must_use]
    pub fn with(self, scope: Scope) -> Self {
        Self(self.0 | scope.bit())
    }

    /// The set without this scope.
    #[must_use]
    pub fn without(self, scope: Scope) -> Self {
        Self(self.0 & !scope.bit())
    }

    /// The scopes of the set, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .into_iter()
            .filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        scopes.into_iter().fold(Scopes::NONE, Scopes::with)
    }
}

/// Names separated by one space, in the order of [`Scope::ALL`].
impl fmt::Display for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, scope) in self.iter().enumerate() {
            let separator = if position == 0 { "" } else { " " };
            write!(formatter, "{separator}{scope}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Scopes({self})")
    }
}
