//! Signing in by pasting a code: for a terminal that cannot receive a browser's answer (RFC 8252 section 7 does not
//! apply where there is no redirect; identity.md 2).
//!
//! The page at `/auth/cli-callback` shows the code alone, so that `state` and `iss` cannot be checked on what a person
//! pastes. PKCE stands in for the first: a code that somebody else asked for has another challenge, and the hub refuses
//! it. What stands in for the second is that the code goes only to the hub that the person named, whose own documents
//! were read before. Who pastes the whole address of that page gets both checks.

use std::fmt;

use epicenter_auth::{
    AuthorizationAnswer, AuthorizationCode, AuthorizationError, AuthorizationRequest, CodeExchange,
    CodeVerifier, DiscoveryError, Grant, PersistedAuth, ProtectedResource, ServerMetadata,
    SessionAnswer, SessionError, State, TokenError, read_token_answer,
};

use crate::auth_file::AuthFileError;
use crate::clock::now_ms;
use crate::hub_client::HubFailure;
use crate::machine_auth::MachineAuth;
use crate::random::{NoRandomness, draw};

/// The client that every hub knows.
pub const CLI_CLIENT: &str = "epicenter-cli";
/// What it asks for; a hub adds its API scopes for this client by itself.
pub const SCOPE: &str = "openid profile email offline_access";

/// Why nobody was signed in. Nothing was stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The file of the sign-in.
    #[error(transparent)]
    File(#[from] AuthFileError),
    /// The operating system.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The hub could not be asked.
    #[error(transparent)]
    Hub(#[from] HubFailure),
    /// What answers is not the hub of this address.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The text is neither a code nor the address of the page that showed one.
    #[error("what was pasted is no code")]
    NoCode,
    /// The address that was pasted belongs to another sign-in or hub.
    #[error(transparent)]
    Answer(#[from] AuthorizationError),
    /// The hub refused the code.
    #[error("the code is not accepted")]
    Code(#[source] TokenError),
    /// No refresh token came with the access token.
    #[error("the hub gave no refresh token")]
    NoRefreshToken,
    /// The hub does not accept its own token, or does not admit the person.
    #[error("the hub signed you in and then refused its own token")]
    Session(#[source] SessionError),
}

impl LoginError {
    /// What to do about it, as one sentence without a full stop.
    pub fn hint(&self) -> String {
        match self {
            Self::File(error) => error.hint(),
            Self::Randomness(_) => "try again; if it stays so, this system is broken".to_owned(),
            Self::Hub(_) => {
                "check the address and whether the hub runs: epicenter auth login --url https://hub.example"
                    .to_owned()
            }
            Self::Discovery(DiscoveryError::OtherOrigin { name }) => {
                format!("use its own address: epicenter auth login --url {name}")
            }
            Self::Discovery(_) => "name the address of a hub with --url".to_owned(),
            Self::NoCode => {
                "run the command again and paste the code that the page shows, and nothing else".to_owned()
            }
            Self::Answer(_) | Self::Code(_) => {
                "run the command again: a code is good once, for 10 minutes, for the command that asked for it"
                    .to_owned()
            }
            Self::NoRefreshToken => "the hub must allow offline_access to epicenter-cli".to_owned(),
            Self::Session(SessionError::Forbidden) => {
                "ask whoever runs the hub to admit your address".to_owned()
            }
            Self::Session(_) => "check the clock and the public origin of the hub".to_owned(),
        }
    }
}

/// A sign-in that waits for its code.
pub struct PendingLogin {
    url: String,
    verifier: CodeVerifier,
    state: State,
}

impl PendingLogin {
    /// The address to open in a browser.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl fmt::Debug for PendingLogin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PendingLogin(redacted)")
    }
}

/// A sign-in that is stored.
#[derive(Debug)]
pub struct SignedIn {
    /// What the hub says about the person.
    pub session: SessionAnswer,
}

impl MachineAuth {
    /// Checks that the address is a hub's own and that the sign-in could be stored, and prepares it.
    ///
    /// # Errors
    /// Why a sign-in would fail.
    pub async fn begin_login(&self) -> Result<PendingLogin, LoginError> {
        // Before anybody types a password.
        self.file.load()?;
        self.file.prepare()?;
        self.discover().await?;
        let verifier = CodeVerifier::from_random(&*draw()?);
        let state = State::from_random(&*draw()?);
        let url = AuthorizationRequest {
            client_id: CLI_CLIENT,
            redirect_uri: &self.hub().paste_redirect_uri(),
            scope: SCOPE,
            state: &state,
            challenge: &verifier.challenge(),
            resource: self.hub().as_str(),
        }
        .url(&self.hub().authorization_endpoint());
        Ok(PendingLogin {
            url,
            verifier,
            state,
        })
    }

    /// Redeems what the person pasted, asks the hub who that is, and stores the sign-in.
    ///
    /// A sign-in that was stored before is replaced, and ended at the hub as far as that can be reached.
    ///
    /// # Errors
    /// Why nobody is signed in; nothing was stored then.
    pub async fn finish_login(
        &self,
        pending: PendingLogin,
        pasted: &str,
    ) -> Result<SignedIn, LoginError> {
        let code = read_pasted(pasted, &self.hub().issuer(), &pending.state)?;
        let grant = self.exchange(&code, &pending.verifier).await?;
        let stored = self.store_new(&grant).await;
        if stored.is_err() {
            // A grant that nobody holds must not live on; the error to tell is the first.
            let _ = self.revoke(&grant.refresh_token).await;
        }
        stored
    }

    async fn discover(&self) -> Result<(), LoginError> {
        let reply = self.client.get(ProtectedResource::PATH, None).await?;
        if matches!(reply.status, 429 | 500..) {
            return Err(HubFailure::Unavailable {
                status: reply.status,
            }
            .into());
        }
        ProtectedResource::read(reply.status, &reply.body, self.hub())?;
        let reply = self.client.get(ServerMetadata::PATH, None).await?;
        if matches!(reply.status, 429 | 500..) {
            return Err(HubFailure::Unavailable {
                status: reply.status,
            }
            .into());
        }
        ServerMetadata::read(reply.status, &reply.body, self.hub())?;
        Ok(())
    }

    async fn exchange(
        &self,
        code: &AuthorizationCode,
        verifier: &CodeVerifier,
    ) -> Result<Grant, LoginError> {
        let form = CodeExchange {
            client_id: CLI_CLIENT,
            code,
            redirect_uri: &self.hub().paste_redirect_uri(),
            verifier,
            resource: self.hub().as_str(),
        }
        .form();
        let endpoint = self.hub().token_endpoint();
        let reply = self.client.post_form(&endpoint, &form).await?;
        match read_token_answer(reply.status, &reply.body, now_ms()) {
            Ok(answer) => answer.into_grant(None).ok_or(LoginError::NoRefreshToken),
            Err(error) => Err(match HubFailure::of_token_error(&error) {
                Some(failure) => failure.into(),
                None => LoginError::Code(error),
            }),
        }
    }

    async fn store_new(&self, grant: &Grant) -> Result<SignedIn, LoginError> {
        let session = match self.ask_session(&grant.access_token).await? {
            Ok(session) => session,
            Err(error) => {
                return Err(match HubFailure::of_session_error(error) {
                    Some(failure) => failure.into(),
                    None => LoginError::Session(error),
                });
            }
        };
        let replaced = self
            .file
            .put(&PersistedAuth::new(grant.clone(), &session))?;
        if let Some(old) = replaced.into_auth() {
            // Best effort: the new sign-in stands whether or not the hub hears this.
            let _ = self.revoke(&old.grant.refresh_token).await;
        }
        Ok(SignedIn { session })
    }
}

/// The code alone, or the address of the page that shows it.
fn read_pasted(text: &str, issuer: &str, state: &State) -> Result<AuthorizationCode, LoginError> {
    let text = text.trim();
    if let Some((_, query)) = text.split_once('?') {
        let query = query.split('#').next().unwrap_or(query);
        return Ok(AuthorizationAnswer::parse(query)?.check(issuer, state)?);
    }
    // The text is not repeated: it may be most of a code.
    AuthorizationCode::parse(text).map_err(|_| LoginError::NoCode)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://hub.example/auth";

    fn paste(text: &str) -> Result<String, LoginError> {
        let state = State::parse("st1").expect("a state");
        read_pasted(text, ISSUER, &state).map(|code| code.expose().to_owned())
    }

    #[test]
    fn a_code_is_taken_with_the_space_around_it() {
        assert_eq!(paste("  c1\r\n").ok().as_deref(), Some("c1"));
        for text in ["", "  ", "two words", "c1\u{1b}[A"] {
            assert!(matches!(paste(text), Err(LoginError::NoCode)), "{text:?}");
        }
    }

    #[test]
    fn a_whole_address_is_checked() {
        let page = "https://hub.example/auth/cli-callback?code=c1&state=st1&iss=https%3A%2F%2Fhub.example%2Fauth";
        assert_eq!(paste(page).ok().as_deref(), Some("c1"));
        assert_eq!(paste(&format!("{page}#top")).ok().as_deref(), Some("c1"));
        for (from, to) in [("st1", "st2"), ("hub.example%2F", "evil.example%2F")] {
            let page = page.replace(from, to);
            assert!(matches!(paste(&page), Err(LoginError::Answer(_))), "{page}");
        }
    }
}
