//! What a client may say.
//!
//! Objects are read as JavaScript reads them: of members with one name the last counts, unknown members are
//! ignored. Nothing here descends into nested JSON, so its depth never reaches the stack.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::limits::MAX_DISPATCH_ID_BYTES;

/// What a client may say in a text frame; the literal [`PING`](crate::PING) is answered before this.
#[derive(Clone, Debug)]
pub enum ClientText {
    /// `presence_publish`: the actions that this device offers.
    PresencePublish {
        /// The sender's text of an object from action names to objects whose `type` is `query` or `mutation`.
        actions: Box<RawValue>,
    },
    /// `dispatch_request`: a call of an action on another device.
    DispatchRequest {
        /// The caller's name for the call, 1 to 128 bytes.
        id: String,
        /// The device that is asked; nothing is known about it yet.
        to: String,
        /// 1 to 128 bytes.
        action: String,
        /// The sender's text, absent when there was none.
        input: Option<Box<RawValue>>,
    },
    /// `dispatch_response`: the answer of the device that was asked.
    DispatchResponse {
        /// The name under which the hub passed the call on, 1 to 128 bytes.
        id: String,
        /// The sender's text of `{"data":any,"error":null}` or `{"data":null,"error":{…}}`.
        result: Box<RawValue>,
    },
}

/// Why a text frame is nothing that a client may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// It is no JSON object, or its `type` is not one that clients send: the socket is closed with 4400.
    #[error("the text is not a message that clients send")]
    Protocol,
    /// The `type` is known and the rest is malformed: the frame is dropped.
    #[error("the message has malformed fields")]
    Fields,
}

impl ClientText {
    /// Reads a text frame.
    ///
    /// # Errors
    /// [`TextError`], which says what becomes of the frame.
    pub fn parse(text: &str) -> Result<ClientText, TextError> {
        let members = parse::<Members<'_>>(text).ok_or(TextError::Protocol)?;
        let kind = members.text(Member::Type).ok_or(TextError::Protocol)?;
        let message = match kind.as_str() {
            "presence_publish" => members.presence_publish(),
            "dispatch_request" => members.dispatch_request(),
            "dispatch_response" => members.dispatch_response(),
            _ => return Err(TextError::Protocol),
        };
        message.ok_or(TextError::Fields)
    }
}

/// The members that have a meaning somewhere in a message; what else an object holds is not kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Member {
    Type,
    Actions,
    Id,
    To,
    Action,
    Input,
    Result,
    Title,
    Description,
    Data,
    Error,
    Name,
    Cause,
    #[serde(other)]
    Unknown,
}

/// The members of one JSON object, their values unread.
#[derive(Deserialize)]
struct Members<'a>(#[serde(borrow)] BTreeMap<Member, &'a RawValue>);

impl<'a> Members<'a> {
    fn raw(&self, member: Member) -> Option<&'a RawValue> {
        self.0.get(&member).copied()
    }

    /// The member, if it is a string.
    fn text(&self, member: Member) -> Option<String> {
        parse(self.raw(member)?.get())
    }

    /// The member, if it is a string that may name a call or an action.
    fn short_text(&self, member: Member) -> Option<String> {
        self.text(member)
            .filter(|text| (1..=MAX_DISPATCH_ID_BYTES).contains(&text.len()))
    }

    fn is_null(&self, member: Member) -> bool {
        self.raw(member).is_some_and(|value| value.get() == "null")
    }

    fn is_absent_or_null(&self, member: Member) -> bool {
        self.raw(member).is_none() || self.is_null(member)
    }

    fn is_absent_or_text(&self, member: Member) -> bool {
        self.raw(member).is_none() || self.text(member).is_some()
    }

    fn presence_publish(&self) -> Option<ClientText> {
        let actions = self
            .raw(Member::Actions)
            .filter(|actions| are_actions(actions))?;
        Some(ClientText::PresencePublish {
            actions: actions.to_owned(),
        })
    }

    fn dispatch_request(&self) -> Option<ClientText> {
        Some(ClientText::DispatchRequest {
            id: self.short_text(Member::Id)?,
            to: self.text(Member::To)?,
            action: self.short_text(Member::Action)?,
            input: self.raw(Member::Input).map(RawValue::to_owned),
        })
    }

    fn dispatch_response(&self) -> Option<ClientText> {
        let result = self
            .raw(Member::Result)
            .filter(|result| is_result(result))?;
        Some(ClientText::DispatchResponse {
            id: self.short_text(Member::Id)?,
            result: result.to_owned(),
        })
    }
}

fn are_actions(actions: &RawValue) -> bool {
    let actions: Option<BTreeMap<String, &RawValue>> = parse(actions.get());
    actions.is_some_and(|actions| actions.values().all(|&action| is_action(action)))
}

fn is_action(action: &RawValue) -> bool {
    parse::<Members<'_>>(action.get()).is_some_and(|action| {
        let kind = action.text(Member::Type);
        matches!(kind.as_deref(), Some("query" | "mutation"))
            && action.is_absent_or_text(Member::Title)
            && action.is_absent_or_text(Member::Description)
    })
}

/// The forms that a recipient may answer with. `RecipientOffline` is the hub's alone.
///
/// `data` may be absent: JavaScript leaves the member out when an action returns nothing.
fn is_result(result: &RawValue) -> bool {
    let Some(result) = parse::<Members<'_>>(result.get()) else {
        return false;
    };
    if result.is_null(Member::Error) {
        return true;
    }
    let error = result
        .raw(Member::Error)
        .and_then(|error| parse::<Members<'_>>(error.get()));
    error.is_some_and(|error| {
        let is_known = match error.text(Member::Name).as_deref() {
            Some("ActionNotFound") => error.text(Member::Action).is_some(),
            Some("ActionFailed") => {
                error.text(Member::Action).is_some() && error.text(Member::Cause).is_some()
            }
            _ => false,
        };
        is_known && result.is_absent_or_null(Member::Data)
    })
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    serde_json::from_str(text).ok()
}
