//! A conversation as the protocols want it whose roles alternate.

use serde_json::Value;

/// Turns, each with its role and its parts.
#[derive(Debug, Default)]
pub(super) struct Turns(Vec<(&'static str, Vec<Value>)>);

impl Turns {
    /// Neighbours of one role are one turn; without parts there is none.
    pub(super) fn push(&mut self, role: &'static str, parts: Vec<Value>) {
        match self.0.last_mut() {
            _ if parts.is_empty() => {}
            Some((last, turn)) if *last == role => turn.extend(parts),
            _ => self.0.push((role, parts)),
        }
    }

    /// The list of turns, each written from its role and its parts.
    pub(super) fn encode(&self, write: impl Fn(&str, &[Value]) -> Value) -> Value {
        let turns = self.0.iter();
        turns.map(|(role, parts)| write(role, parts)).collect()
    }
}
