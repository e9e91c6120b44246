//! The sign-in of this machine at one hub: its state, its end, and the errors of everything about it.

use std::path::Path;

use epicenter_auth::{
    AccessToken, HubUrl, PersistedAuth, RefreshToken, Revocation, SessionAnswer, SessionError,
    read_session_answer,
};
use epicenter_identity::{OwnerId, UserId};

use crate::auth_file::{AuthFile, AuthFileError, Stored, Swapped};
use crate::clock::now_ms;
use crate::hub_client::{HubClient, HubClientError, HubFailure};
use crate::login::CLI_CLIENT;
use crate::refresh::Refreshed;

/// This machine could not do its part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineAuthError {
    /// The file of the sign-in.
    #[error(transparent)]
    File(#[from] AuthFileError),
    /// The HTTP client.
    #[error(transparent)]
    Client(#[from] HubClientError),
}

/// What [`MachineAuth::status`] found.
#[derive(Debug)]
#[non_exhaustive]
pub enum Status {
    /// The hub has just confirmed the sign-in.
    Valid(SessionAnswer),
    /// A sign-in is stored, and the hub could not be asked about it.
    Unverified {
        /// The person, as of the last time the hub confirmed it.
        user_id: UserId,
        /// Whose rooms and keys these are.
        owner_id: OwnerId,
        /// Why the hub could not be asked.
        why: HubFailure,
    },
    /// The hub does not accept the stored sign-in any more: the person must sign in again.
    Refused {
        /// The person, as of the last time the hub confirmed it.
        user_id: UserId,
        /// Whose rooms and keys these are.
        owner_id: OwnerId,
    },
    /// Nothing usable is stored.
    SignedOut,
}

/// What a sign-out reached.
#[derive(Debug)]
#[non_exhaustive]
pub enum SignedOut {
    /// Nobody was signed in.
    WasSignedOut,
    /// The file is gone and the hub has ended the grant.
    Everywhere,
    /// The file is gone; the hub did not hear of it, so that its side ends by time, or when the
    /// person is signed out everywhere.
    HereOnly(HubFailure),
}

/// The sign-in of this machine at one hub.
#[derive(Clone, Debug)]
pub struct MachineAuth {
    pub(crate) client: HubClient,
    pub(crate) file: AuthFile,
}

impl MachineAuth {
    /// Of the hub at this address, kept below a data directory. Touches nothing.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(hub: HubUrl, data_dir: &Path) -> Result<Self, HubClientError> {
        let file = AuthFile::new(data_dir, &hub);
        Ok(Self {
            client: HubClient::new(hub)?,
            file,
        })
    }

    /// The hub.
    pub fn hub(&self) -> &HubUrl {
        self.client.hub()
    }

    /// The file.
    pub fn file(&self) -> &AuthFile {
        &self.file
    }

    /// Asks the hub about the stored sign-in, refreshing it first when it is stale.
    ///
    /// A hub that answers for another owner ends the sign-in; a changed keyring is stored.
    ///
    /// # Errors
    /// When the file cannot be read, or a refreshed grant not be stored.
    pub async fn status(&self) -> Result<Status, MachineAuthError> {
        Ok(match self.confirmed().await? {
            Ok((_, session)) => Status::Valid(session),
            Err(status) => status,
        })
    }

    /// The stored sign-in once the hub has just confirmed it, or what else was found.
    pub(crate) async fn confirmed(
        &self,
    ) -> Result<Result<(PersistedAuth, SessionAnswer), Status>, MachineAuthError> {
        let Some(mut auth) = self.file.load()?.into_auth() else {
            return Ok(Err(Status::SignedOut));
        };
        let mut may_refresh_again = true;
        if auth.grant.is_stale(now_ms()) {
            auth = match self.refresh(auth).await? {
                Ok(fresh) => fresh,
                Err(status) => return Ok(Err(status)),
            };
            may_refresh_again = false;
        }
        loop {
            match self.ask_session(&auth.grant.access_token).await {
                Ok(Ok(session)) => return self.confirm(auth, session),
                Ok(Err(SessionError::Unauthorized)) if may_refresh_again => {
                    // The clock of this machine may be wrong, or the token's grant replaced by another process.
                    may_refresh_again = false;
                    auth = match self.refresh(auth).await? {
                        Ok(fresh) => fresh,
                        Err(status) => return Ok(Err(status)),
                    };
                }
                Ok(Err(error)) => {
                    return Ok(Err(match HubFailure::of_session_error(error) {
                        Some(why) => unverified(auth, why),
                        None => refused(auth),
                    }));
                }
                Err(why) => return Ok(Err(unverified(auth, why))),
            }
        }
    }

    /// Ends the sign-in: the file first, whatever happens to the request after it.
    ///
    /// # Errors
    /// When the file is still there.
    pub async fn sign_out(&self) -> Result<SignedOut, MachineAuthError> {
        match self.file.remove()? {
            Stored::Present(auth) => Ok(match self.revoke(&auth.grant.refresh_token).await {
                Ok(()) => SignedOut::Everywhere,
                Err(why) => SignedOut::HereOnly(why),
            }),
            Stored::Absent | Stored::Corrupt(_) => Ok(SignedOut::WasSignedOut),
        }
    }

    /// `GET /api/session` with a token.
    pub(crate) async fn ask_session(
        &self,
        token: &AccessToken,
    ) -> Result<Result<SessionAnswer, SessionError>, HubFailure> {
        let reply = self.client.get("/api/session", Some(token)).await?;
        Ok(read_session_answer(reply.status, &reply.body))
    }

    /// Ends the grant of a refresh token at the hub.
    pub(crate) async fn revoke(&self, token: &RefreshToken) -> Result<(), HubFailure> {
        let form = Revocation {
            client_id: CLI_CLIENT,
            token,
        }
        .form();
        let endpoint = self.hub().revocation_endpoint();
        match self.client.post_form(&endpoint, &form).await?.status {
            200 => Ok(()),
            status @ (429 | 500..) => Err(HubFailure::Unavailable { status }),
            status => Err(HubFailure::NoHub { status }),
        }
    }

    pub(crate) async fn refresh(
        &self,
        auth: PersistedAuth,
    ) -> Result<Result<PersistedAuth, Status>, MachineAuthError> {
        Ok(match self.refresh_stored(&auth).await? {
            Refreshed::Fresh(fresh) => Ok(fresh),
            Refreshed::Refused => Err(refused(auth)),
            Refreshed::SignedOut => Err(Status::SignedOut),
            Refreshed::NotNow(why) => Err(unverified(auth, why)),
        })
    }

    /// The hub's word about a stored sign-in.
    fn confirm(
        &self,
        auth: PersistedAuth,
        session: SessionAnswer,
    ) -> Result<Result<(PersistedAuth, SessionAnswer), Status>, MachineAuthError> {
        if auth.owner_id != session.owner_id || auth.user_id != session.user_id {
            // Keys and tokens of two owners must never stand in one record.
            self.file.swap(&auth.grant, None)?;
            return Ok(Err(Status::SignedOut));
        }
        let next = PersistedAuth::new(auth.grant.clone(), &session);
        if auth.keyring != session.keyring
            && self.file.swap(&auth.grant, Some(&next))? == Swapped::Gone
        {
            return Ok(Err(Status::SignedOut));
        }
        Ok(Ok((next, session)))
    }
}

fn unverified(auth: PersistedAuth, why: HubFailure) -> Status {
    Status::Unverified {
        user_id: auth.user_id,
        owner_id: auth.owner_id,
        why,
    }
}

pub(crate) fn refused(auth: PersistedAuth) -> Status {
    Status::Refused {
        user_id: auth.user_id,
        owner_id: auth.owner_id,
    }
}
