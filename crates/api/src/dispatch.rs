//! The body of `POST …/dispatch` (sync.md 6).

use std::collections::BTreeMap;

use epicenter_identity::DeviceId;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A call of an action on a connected device.
#[derive(Clone, Debug)]
pub struct DispatchBody {
    /// The device that is asked.
    pub to: DeviceId,
    /// The action's name; [`is_action_name`] holds.
    pub action: String,
    /// The caller's own JSON text, absent when the caller sent none.
    pub input: Option<Box<RawValue>>,
}

/// What is wrong with a dispatch body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DispatchBodyError {
    /// The body is no JSON object.
    #[error("the dispatch body is not a JSON object")]
    NotAnObject,
    /// `to` is missing or no device id.
    #[error("'to' is not a device id")]
    To,
    /// `action` is missing or breaks the rule.
    #[error("'action' is not a name matching ^[a-z][a-z0-9_]{{0,63}}$")]
    Action,
}

impl DispatchBody {
    /// Reads a body. Of members with one name the last counts, as in JavaScript; unknown ones are ignored.
    ///
    /// # Errors
    /// [`DispatchBodyError`], naming the member that is wrong.
    pub fn parse(body: &[u8]) -> Result<Self, DispatchBodyError> {
        let members: BTreeMap<String, &RawValue> =
            parse_json(body).ok_or(DispatchBodyError::NotAnObject)?;
        let text =
            |name: &str| -> Option<String> { parse_json(members.get(name)?.get().as_bytes()) };

        let to = text("to")
            .and_then(|to| DeviceId::parse(&to).ok())
            .ok_or(DispatchBodyError::To)?;
        let action = text("action")
            .filter(|action| is_action_name(action))
            .ok_or(DispatchBodyError::Action)?;
        let input = members.get("input").map(|&input| input.to_owned());
        Ok(Self { to, action, input })
    }
}

/// Whether the text matches `^[a-z][a-z0-9_]{0,63}$`.
pub fn is_action_name(text: &str) -> bool {
    let is_later = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    text.len() <= 64
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(is_later)
}

/// Where in the text it went wrong is of no use to the caller: the member is.
fn parse_json<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Option<T> {
    serde_json::from_slice(text).ok()
}
