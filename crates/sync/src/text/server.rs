//! What the hub says.
//!
//! Messages are written by hand because they carry other people's JSON text, which goes in as it came.

use std::fmt::Write as _;

/// One device of a presence list.
#[derive(Clone, Copy, Debug)]
pub struct PresenceEntry<'a> {
    /// The device id.
    pub device: &'a str,
    /// Milliseconds since the epoch.
    pub connected_at: u64,
    /// The device's own JSON text.
    pub actions: &'a str,
    /// Whose device it is; only in a shared owner.
    pub user: Option<&'a str>,
}

/// `{"type":"presence","devices":[…]}`, the devices in the order given.
pub fn encode_presence(entries: &[PresenceEntry<'_>]) -> String {
    PresenceLists::new(entries.iter().copied()).join(entries.len())
}

/// The lists of a room: each receiver gets all devices but its own, so each entry is written once and copied from there.
#[derive(Clone, Debug, Default)]
pub struct PresenceLists {
    entries: String,
    /// Where each entry ends, the comma after it included.
    ends: Vec<usize>,
}

impl PresenceLists {
    /// Writes the entries, in the order of the lists.
    pub fn new<'a>(entries: impl IntoIterator<Item = PresenceEntry<'a>>) -> Self {
        let mut lists = Self::default();
        for entry in entries {
            push_entry(&mut lists.entries, &entry);
            lists.entries.push(',');
            lists.ends.push(lists.entries.len());
        }
        lists
    }

    /// The list without the entry at this position.
    pub fn without(&self, position: usize) -> String {
        self.join(position)
    }

    /// All entries but the one at this position, if there is one.
    fn join(&self, left_out: usize) -> String {
        let start = self.end_of(left_out);
        let end = self.end_of(left_out.saturating_add(1)).max(start);
        let mut text = String::with_capacity(self.entries.len() + 40);
        text.push_str(r#"{"type":"presence","devices":["#);
        let empty = text.len();
        text.push_str(self.entries.get(..start).unwrap_or_default());
        text.push_str(self.entries.get(end..).unwrap_or_default());
        if text.len() > empty {
            // The comma after the last one.
            text.pop();
        }
        text.push_str("]}");
        text
    }

    /// Where so many entries end; where all do if there are fewer.
    fn end_of(&self, count: usize) -> usize {
        let last = count.min(self.ends.len()).checked_sub(1);
        last.and_then(|last| self.ends.get(last))
            .copied()
            .unwrap_or_default()
    }
}

fn push_entry(text: &mut String, entry: &PresenceEntry<'_>) {
    text.push_str(r#"{"deviceId":"#);
    push_string(text, entry.device);
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        r#","connectedAt":{},"actions":{}"#,
        entry.connected_at, entry.actions
    );
    if let Some(user) = entry.user {
        push_member(text, "userId", user);
    }
    text.push('}');
}

/// `{"type":"dispatch_inbound","id","action","input"?,"from"?}`.
///
/// `input` is the caller's JSON text. `from` is given in a shared owner only: the caller's device, which
/// callers over HTTP have not, and user.
pub fn encode_dispatch_inbound(
    id: &str,
    action: &str,
    input: Option<&str>,
    from: Option<(Option<&str>, &str)>,
) -> String {
    let mut text = String::with_capacity(input.map_or(0, str::len) + 256);
    text.push_str(r#"{"type":"dispatch_inbound""#);
    push_member(&mut text, "id", id);
    push_member(&mut text, "action", action);
    if let Some(input) = input {
        text.push_str(r#","input":"#);
        text.push_str(input);
    }
    if let Some((device, user)) = from {
        text.push_str(r#","from":{"deviceId":"#);
        match device {
            Some(device) => push_string(&mut text, device),
            None => text.push_str("null"),
        }
        push_member(&mut text, "userId", user);
        text.push('}');
    }
    text.push('}');
    text
}

/// `{"type":"dispatch_result","id","result"}`; `result` is JSON text.
pub fn encode_dispatch_result(id: &str, result: &str) -> String {
    let mut text = String::with_capacity(result.len() + id.len() + 64);
    text.push_str(r#"{"type":"dispatch_result""#);
    push_member(&mut text, "id", id);
    text.push_str(r#","result":"#);
    text.push_str(result);
    text.push('}');
    text
}

/// `{"type":"saved","count":n}`: of the receiver's frames of subtype 1 and 2, the first `count` are settled.
pub fn encode_saved(count: u64) -> String {
    format!(r#"{{"type":"saved","count":{count}}}"#)
}

/// `{"type":"refused","frame":n,"reason"}`: the receiver's n-th frame of subtype 1 or 2 was not taken, or not whole.
pub fn encode_refused(frame: u64, reason: &str) -> String {
    let mut text = format!(r#"{{"type":"refused","frame":{frame}"#);
    push_member(&mut text, "reason", reason);
    text.push('}');
    text
}

/// The result of a call that reached nobody: `{"data":null,"error":{"name":"RecipientOffline","to"}}`.
pub fn recipient_offline(to: &str) -> String {
    let mut text = r#"{"data":null,"error":{"name":"RecipientOffline""#.to_owned();
    push_member(&mut text, "to", to);
    text.push_str("}}");
    text
}

/// The result of a call that failed: `{"data":null,"error":{"name":"ActionFailed","action","cause"}}`.
pub fn action_failed(action: &str, cause: &str) -> String {
    let mut text = r#"{"data":null,"error":{"name":"ActionFailed""#.to_owned();
    push_member(&mut text, "action", action);
    push_member(&mut text, "cause", cause);
    text.push_str("}}");
    text
}

/// `,"name":"value"`; the name needs no escaping.
fn push_member(text: &mut String, name: &str, value: &str) {
    text.push_str(",\"");
    text.push_str(name);
    text.push_str("\":");
    push_string(text, value);
}

fn push_string(text: &mut String, value: &str) {
    let string = serde_json::to_string(value).expect("a string is JSON, and memory takes it");
    text.push_str(&string);
}
