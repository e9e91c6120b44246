//! Requests to a hub's API as the person who is signed in on this machine.
//!
//! The gate to the network: a token is sent nowhere before `GET /api/session` has confirmed it in this process, a refresh
//! makes it unconfirmed again, and a 401 is answered with one refresh and one retry.

use epicenter_auth::PersistedAuth;
use zeroize::Zeroizing;

use crate::clock::now_ms;
use crate::hub_client::{HubFailure, Reply, Streamed};
use crate::machine_auth::{MachineAuth, MachineAuthError, Status, refused};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// This machine could not do its part.
    #[error(transparent)]
    Machine(#[from] MachineAuthError),
    /// The hub could not be asked.
    #[error(transparent)]
    Hub(#[from] HubFailure),
    /// Nobody is signed in.
    #[error("nobody is signed in on this machine")]
    SignedOut,
    /// The hub does not accept the sign-in any more.
    #[error("the hub does not accept the sign-in of this machine any more")]
    Refused,
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        match status {
            Status::Unverified { why, .. } => Self::Hub(why),
            Status::Refused { .. } => Self::Refused,
            // A valid sign-in is no reason to be here.
            Status::SignedOut | Status::Valid(_) => Self::SignedOut,
        }
    }
}

/// Calls the API of one hub; remembers what the hub has confirmed.
#[derive(Debug)]
pub struct Caller {
    auth: MachineAuth,
    confirmed: Option<PersistedAuth>,
}

/// What is sent, so that it can be sent again.
#[derive(Clone, Copy)]
enum Request<'a> {
    Get,
    Post(&'a Zeroizing<Vec<u8>>),
}

impl Caller {
    /// Of the sign-in of this machine. Nothing is sent.
    pub fn new(auth: MachineAuth) -> Self {
        Self {
            auth,
            confirmed: None,
        }
    }

    /// `GET` of a path that begins with a slash.
    ///
    /// # Errors
    /// When no answer came; whatever its status is, an answer is none.
    pub async fn get(&mut self, path: &str) -> Result<Reply, CallError> {
        Ok(self.call(path, Request::Get).await?.whole().await?)
    }

    /// `POST` of JSON to a path that begins with a slash; the answer is read as it comes.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub async fn post_stream(
        &mut self,
        path: &str,
        json: &Zeroizing<Vec<u8>>,
    ) -> Result<Streamed, CallError> {
        self.call(path, Request::Post(json)).await
    }

    async fn call(&mut self, path: &str, request: Request<'_>) -> Result<Streamed, CallError> {
        let auth = self.confirm().await?;
        let answer = self.send(path, request, &auth).await?;
        if answer.status() != 401 {
            return Ok(answer);
        }
        drop(answer);
        self.confirmed = None;
        // The grant ended, or another process has a newer one.
        self.auth.refresh(auth).await??;
        let auth = self.confirm().await?;
        let answer = self.send(path, request, &auth).await?;
        if answer.status() != 401 {
            return Ok(answer);
        }
        self.confirmed = None;
        Err(refused(auth).into())
    }

    /// A sign-in that the hub confirmed in this process and that is not about to end.
    async fn confirm(&mut self) -> Result<PersistedAuth, CallError> {
        // A sign-out by another process counts at once, and a newer grant is asked about.
        let stored = self.auth.file.load().map_err(MachineAuthError::from)?;
        let stored = stored.into_auth().ok_or(CallError::SignedOut)?;
        if let Some(auth) = &self.confirmed
            && auth.grant == stored.grant
            && !auth.grant.is_stale(now_ms())
        {
            return Ok(auth.clone());
        }
        let (auth, _) = self.auth.confirmed().await??;
        self.confirmed = Some(auth.clone());
        Ok(auth)
    }

    async fn send(
        &self,
        path: &str,
        request: Request<'_>,
        auth: &PersistedAuth,
    ) -> Result<Streamed, HubFailure> {
        let token = &auth.grant.access_token;
        match request {
            Request::Get => self.auth.client.get_stream(path, token).await,
            Request::Post(json) => self.auth.client.post_stream(path, token, json).await,
        }
    }
}
