//! AI chat (`ai.md`): a client sends its access token, the hub swaps in a provider's key and streams the answer through.
//!
//! In the order in which a call passes them:
//! * [`request`] reads what both generations of clients send, [`conversation`] makes the flat list of messages of it;
//! * [`catalog`] knows models and prices, [`limits`] bounds what one person may ask for, [`policy`] holds credits;
//! * [`protocols`] speaks to providers, without I/O: requests are built, answers decoded from bytes, whatever the pieces
//!   they come in; [`upstream`] is the port that carries both, [`attempts`] retries before the first byte;
//! * [`dialect`] writes the one stream that all clients read, [`answer`] is that stream as a response body;
//! * [`settlement`] pays and writes the usage row once, however a call ends.
//!
//! Nothing of a conversation is stored or logged, and a key leaves in a header of a request to its provider only.

mod answer;
mod attempts;
pub mod catalog;
mod conversation;
mod dialect;
mod limits;
mod message;
pub mod policy;
mod protocols;
mod redact;
mod request;
pub(crate) mod routes;
mod schema;
mod service;
pub mod settings;
mod settlement;
mod signatures;
pub mod store;
pub mod upstream;

pub use self::routes::CHAT_PATHS;
pub(crate) use self::service::AiState;
