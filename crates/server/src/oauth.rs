//! The authorization server (`identity.md` 2): codes, grants, tokens, keys, metadata.

mod answer;
pub(crate) mod authorize;
mod client_auth;
pub mod clients;
mod end_session;
mod failure;
mod introspect;
mod metadata;
mod parameters;
mod pending;
mod pkce;
mod presented;
mod redeem;
mod redirect;
mod refresh;
mod request;
mod revoke;
pub(crate) mod routes;
pub mod rules;
mod scopes;
pub mod store;
mod token;
mod tokens;
mod userinfo;

pub use self::answer::TokenAnswer;
pub use self::redeem::CodeRequest;
pub use self::refresh::RefreshRequest;
pub use self::tokens::{Asked, GrantError, TokenPorts, TokenService};
