//! One error as it leaves the hub: in the HTTP envelope, or as the reason of a close frame.

use std::borrow::Cow;
use std::fmt;

use epicenter_identity::Scope;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::ErrorName;

/// A close frame's reason is at most 123 bytes (RFC 6455, section 5.5).
pub const MAX_CLOSE_REASON_BYTES: usize = 123;

/// An error of the HTTP interface: its name, a message for a person, and fields for programs.
///
/// Whatever is put into it is sent to the client, so causes stay outside.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// What programs match on.
    pub name: ErrorName,
    /// What happened and what to do next.
    pub message: Cow<'static, str>,
    /// Further members of the envelope, in order.
    pub fields: Vec<(&'static str, Value)>,
}

impl ApiError {
    /// The error with the message that belongs to its name.
    pub fn new(name: ErrorName) -> Self {
        Self {
            name,
            message: Cow::Borrowed(name.message()),
            fields: Vec::new(),
        }
    }

    /// The error with a message for this case.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.message = message.into();
        self
    }

    /// The error with one more field; `name`, `message` and `status` are taken and left as they are.
    #[must_use]
    pub fn with_field(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        if !matches!(key, "name" | "message" | "status") {
            self.fields.retain(|(existing, _)| *existing != key);
            self.fields.push((key, value.into()));
        }
        self
    }

    /// `insufficient_scope`, naming the scope that is missing.
    pub fn insufficient_scope(missing: Scope) -> Self {
        Self::new(ErrorName::InsufficientScope).with_field("scope", missing.as_str())
    }

    /// `UpdateRefused`, naming why and by which limit.
    pub fn update_refused(reason: &str, limit: &str) -> Self {
        Self::new(ErrorName::UpdateRefused)
            .with_field("reason", reason)
            .with_field("limit", limit)
    }

    /// `QuotaExceeded`, with the limit and what is used of it.
    pub fn quota_exceeded(limit: u64, used: u64) -> Self {
        Self::new(ErrorName::QuotaExceeded)
            .with_field("limit", limit)
            .with_field("used", used)
    }

    /// `WrongHub`, naming the process that serves rooms.
    pub fn wrong_hub(url: &str) -> Self {
        Self::new(ErrorName::WrongHub).with_field("url", url)
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.name.status()
    }

    /// The code that closes a socket for this error.
    pub fn close_code(&self) -> u16 {
        self.name.close_code()
    }

    /// The HTTP body: the envelope, with the flat form beside it where clients of today read that.
    pub fn to_json(&self) -> String {
        to_json(&Envelope(self))
    }

    /// The close reason: JSON with `name`, `code`, `status` and those fields that fit.
    pub fn close_reason(&self) -> String {
        let mut kept = Vec::new();
        let mut reason = to_json(&CloseReason {
            name: self.name,
            fields: &kept,
        });
        for field in &self.fields {
            kept.push(field);
            let longer = to_json(&CloseReason {
                name: self.name,
                fields: &kept,
            });
            if longer.len() <= MAX_CLOSE_REASON_BYTES {
                reason = longer;
            } else {
                kept.pop();
            }
        }
        reason
    }

    /// The `WWW-Authenticate` value of 401 answers and of those for a missing scope (RFC 6750).
    pub fn www_authenticate(&self) -> Option<String> {
        match self.name {
            ErrorName::InvalidToken => Some("Bearer error=\"invalid_token\"".to_owned()),
            ErrorName::InsufficientScope => {
                let scope = self.fields.iter().find(|(key, _)| *key == "scope");
                let scope = scope.and_then(|(_, value)| value.as_str());
                let scope = scope
                    .map(|scope| format!(", scope=\"{scope}\""))
                    .unwrap_or_default();
                Some(format!("Bearer error=\"insufficient_scope\"{scope}"))
            }
            _ => None,
        }
    }
}

impl From<ErrorName> for ApiError {
    fn from(name: ErrorName) -> Self {
        Self::new(name)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.name.as_str(), self.status())
    }
}

impl std::error::Error for ApiError {}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value)
        .expect("these are maps with text keys and JSON values, written to memory")
}

struct Envelope<'a>(&'a ApiError);

impl Serialize for Envelope<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let error = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("data", &())?;
        map.serialize_entry("error", &Members(error))?;
        if error.name.is_read_flat() {
            serialize_members(error, &mut map)?;
        }
        map.end()
    }
}

struct Members<'a>(&'a ApiError);

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        serialize_members(self.0, &mut map)?;
        map.end()
    }
}

fn serialize_members<M: SerializeMap>(error: &ApiError, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("name", error.name.as_str())?;
    map.serialize_entry("message", &error.message)?;
    map.serialize_entry("status", &error.status())?;
    error
        .fields
        .iter()
        .try_for_each(|(key, value)| map.serialize_entry(key, value))
}

struct CloseReason<'a> {
    name: ErrorName,
    fields: &'a [&'a (&'static str, Value)],
}

impl Serialize for CloseReason<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", self.name.as_str())?;
        map.serialize_entry("code", self.name.code())?;
        map.serialize_entry("status", &self.name.status())?;
        self.fields
            .iter()
            .try_for_each(|(key, value)| map.serialize_entry(key, value))?;
        map.end()
    }
}
