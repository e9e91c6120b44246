//! The proof that a caller was authenticated and resolved to an owner.

use crate::{ClientId, GrantId, OwnerId, Scopes, UserId};

/// What a room asks for before anybody joins or reads it.
///
/// It has one constructor, and only the code that verified a token may call it, so that holding an
/// `Access` means that the checks were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    user: UserId,
    owner: OwnerId,
    client: ClientId,
    grant: GrantId,
    scopes: Scopes,
}

impl Access {
    /// States that a verified token names this user, client, grant and scopes, and that the ownership
    /// rule made this owner of the user.
    ///
    /// The workspace checks that only the server's authentication module (and tests) call it.
    pub fn authenticated_as(
        user: UserId,
        owner: OwnerId,
        client: ClientId,
        grant: GrantId,
        scopes: Scopes,
    ) -> Self {
        Self {
            user,
            owner,
            client,
            grant,
            scopes,
        }
    }

    /// The person.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// Whose rooms and keys these are.
    pub fn owner(&self) -> &OwnerId {
        &self.owner
    }

    /// The client that presented the token.
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// The grant that the token belongs to; revoking it ends this access.
    pub fn grant(&self) -> &GrantId {
        &self.grant
    }

    /// What the token allows.
    pub fn scopes(&self) -> Scopes {
        self.scopes
    }
}
