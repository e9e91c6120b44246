//! The authorization server (`identity.md` 2): codes, grants, tokens, keys, metadata.

mod answer;
pub(crate) mod authorize;
pub mod clients;
mod parameters;
mod pending;
mod pkce;
mod redeem;
mod redirect;
mod refresh;
mod request;
pub(crate) mod routes;
pub mod rules;
mod scopes;
pub mod store;
mod tokens;

pub use self::answer::TokenAnswer;
pub use self::redeem::CodeRequest;
pub use self::refresh::RefreshRequest;
pub use self::tokens::{Asked, GrantError, TokenPorts, TokenService};
