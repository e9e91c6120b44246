//! Comparing with expectations that hold placeholders: equal placeholders stand for equal values, different ones for
//! different values.

use std::collections::BTreeMap;

use serde_json::Value;

#[derive(Debug, Default)]
pub(crate) struct Placeholders {
    bound: BTreeMap<String, String>,
}

impl Placeholders {
    /// Where the two differ first, if they do.
    pub(crate) fn difference(&mut self, expect: &Value, actual: &Value) -> Option<String> {
        self.compare("", expect, actual)
    }

    fn compare(&mut self, place: &str, expect: &Value, actual: &Value) -> Option<String> {
        let differ = || Some(format!("{place}: expected {expect}, got {actual}"));
        match (expect, actual) {
            (Value::Object(one), Value::Object(other)) => {
                if let Some(extra) = other.keys().find(|key| !one.contains_key(*key)) {
                    return Some(format!("{place}: unexpected {extra} in {actual}"));
                }
                one.iter().find_map(|(key, value)| {
                    let place = format!("{place}.{key}");
                    match other.get(key) {
                        Some(actual) => self.compare(&place, value, actual),
                        None => Some(format!("{place} is missing in {actual}")),
                    }
                })
            }
            // The names of required members are a set.
            (Value::Array(one), Value::Array(other)) if place.ends_with(".required") => {
                let sorted = |names: &[Value]| {
                    let mut names: Vec<_> = names.iter().map(Value::to_string).collect();
                    names.sort();
                    names
                };
                (sorted(one) != sorted(other)).then(differ).flatten()
            }
            (Value::Array(one), Value::Array(other)) => {
                if one.len() != other.len() {
                    let lengths = (one.len(), other.len());
                    return Some(format!("{place}: lengths {lengths:?}, got {actual}"));
                }
                let pairs = one.iter().zip(other).enumerate();
                pairs.into_iter().find_map(|(index, (one, other))| {
                    self.compare(&format!("{place}[{index}]"), one, other)
                })
            }
            (Value::Number(one), Value::Number(other)) => {
                (one.as_f64() != other.as_f64()).then(differ).flatten()
            }
            (Value::String(one), Value::Number(_)) if one == "<ts>" => None,
            (Value::String(one), Value::String(other)) => {
                (!self.matches(one, other)).then(differ).flatten()
            }
            (one, other) => (one != other).then(differ).flatten(),
        }
    }

    fn matches(&mut self, expect: &str, actual: &str) -> bool {
        let Some((before, rest)) = expect.split_once('<') else {
            return expect == actual;
        };
        let Some((name, after)) = rest.split_once('>') else {
            return expect == actual;
        };
        let is_placeholder = name.contains('-')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_placeholder {
            return expect == actual;
        }
        let Some(value) = actual
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
        else {
            return false;
        };
        match self.bound.get(name) {
            Some(bound) => bound == value,
            None if self.bound.values().any(|bound| bound == value) => false,
            None => {
                self.bound.insert(name.to_owned(), value.to_owned());
                !value.is_empty()
            }
        }
    }
}
