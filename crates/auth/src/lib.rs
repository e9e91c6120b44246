#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod authorization;
mod discovery;
mod hub_url;
mod persisted;
mod pkce;
mod secret_text;
mod session;
mod token;

pub use authorization::{AuthorizationAnswer, AuthorizationError, AuthorizationRequest};
pub use discovery::{DiscoveryError, ProtectedResource, ServerMetadata};
pub use hub_url::{HubUrl, HubUrlError};
pub use persisted::{Grant, PersistedAuth, PersistedAuthError, STALE_BEFORE_MS};
pub use pkce::{CodeChallenge, CodeVerifier};
pub use secret_text::{AccessToken, AuthorizationCode, RefreshToken, SecretTextError, State};
pub use session::{SessionAnswer, SessionError, read_session_answer};
pub use token::{
    CodeExchange, OAuthErrorCode, Refresh, Revocation, TokenAnswer, TokenError, read_token_answer,
};
