//! One value on its way from a source into its slot.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use epicenter_server::config::PublicOrigin;

use super::settings::Slot;
use super::units::{format_duration, format_size, parse_duration, parse_size};

/// A value as its source wrote it; variables and flags are always text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Integer(String),
    Fraction(String),
    Switch(bool),
    List(Vec<String>),
    /// A TOML type that no setting has.
    Other(&'static str),
}

/// Why a value does not fit; both continue a sentence that names the setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) problem: String,
    pub(super) fix: String,
}

impl Problem {
    pub(super) fn new(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            fix: fix.into(),
        }
    }
}

/// Puts a value into its slot; a relative path is relative to `base`.
pub(super) fn assign(slot: Slot<'_>, value: Value, base: &Path) -> Result<(), Problem> {
    match slot {
        Slot::Address(target) => {
            const FIX: &str = "write an IP address and a port, such as 127.0.0.1:8787 or [::]:8787";
            let text = text_of(value, FIX)?;
            *target = text
                .parse()
                .map_err(|error| Problem::new(format!("is no address: {error}"), FIX))?;
        }
        Slot::AddressOrOff(target) => {
            const FIX: &str = "write an IP address and a port, such as 127.0.0.1:8788, or off";
            let text = text_of(value, FIX)?;
            *target = match text.as_str() {
                "off" => None,
                text => Some(
                    text.parse()
                        .map_err(|error| Problem::new(format!("is no address: {error}"), FIX))?,
                ),
            };
        }
        Slot::Path(target) => {
            const FIX: &str = "write a path, such as /var/lib/epicenter";
            let text = text_of(value, FIX)?;
            if text.is_empty() {
                return Err(Problem::new("is empty", FIX));
            }
            *target = Some(base.join(PathBuf::from(text)));
        }
        Slot::Origin(target) => {
            const FIX: &str =
                "write scheme, host and optional port without a path, such as https://hub.example";
            let text = text_of(value, FIX)?;
            let origin = PublicOrigin::parse(&text)
                .map_err(|problem| Problem::new(format!("is no origin: {problem}"), FIX))?;
            *target = Some(origin);
        }
        Slot::Url(target) => {
            const FIX: &str = "write a whole address, such as https://code.example/hub";
            let text = text_of(value, FIX)?;
            let host = text
                .strip_prefix("https://")
                .or_else(|| text.strip_prefix("http://"));
            if host.is_none_or(str::is_empty)
                || text
                    .contains(|character: char| character.is_whitespace() || character.is_control())
            {
                return Err(Problem::new("is no http or https address", FIX));
            }
            *target = text;
        }
        Slot::Text(target) => *target = text_of(value, "write text")?,
        Slot::Choice(choices, target) => {
            let fix = format!("write one of: {}", choices.join(", "));
            let text = text_of(value, &fix)?;
            *target = choices
                .iter()
                .find(|choice| **choice == text)
                .ok_or_else(|| Problem::new(format!("cannot be {text:?}"), fix))?;
        }
        Slot::Switch(target) => {
            *target = match value {
                Value::Switch(value) => value,
                Value::Text(text) if text == "true" => true,
                Value::Text(text) if text == "false" => false,
                _ => {
                    return Err(Problem::new(
                        "is neither true nor false",
                        "write true or false",
                    ));
                }
            };
        }
        Slot::TextList(target) => match value {
            Value::List(items) if items.iter().all(|item| !item.trim().is_empty()) => {
                *target = items
            }
            _ => {
                return Err(Problem::new(
                    "is no list of texts",
                    "write a list, such as [\"ada@example.org\"]",
                ));
            }
        },
        Slot::Duration(target, range) => {
            const FIX: &str =
                "write a whole number and a unit (ms, s, m, h, d) as text, such as \"30m\"";
            let parsed = parse_duration(&text_of(value, FIX)?)
                .ok_or_else(|| Problem::new("is no duration", FIX))?;
            *target = within(parsed, &range, format_duration)?;
        }
        Slot::Size(target, range) => {
            const FIX: &str = "write bytes, or a whole number and a unit (KiB, MiB, GiB) as text, such as \"5MiB\"";
            let text = match value {
                Value::Integer(digits) => digits,
                value => text_of(value, FIX)?,
            };
            let parsed = parse_size(&text).ok_or_else(|| Problem::new("is no size", FIX))?;
            // A size beyond the address space is beyond every range as well.
            let parsed = usize::try_from(parsed).unwrap_or(usize::MAX);
            *target = within(parsed, &range, |bytes| format_size(bytes as u64))?;
        }
        Slot::Count(target, range) => {
            *target = within(number(value)?, &range, |count| count.to_string())?
        }
        Slot::SmallCount(target, range) => {
            *target = within(number(value)?, &range, |count| count.to_string())?
        }
        Slot::OffOrCount(target, range) => {
            *target = match value {
                Value::Text(text) if text == "off" => None,
                value @ (Value::Integer(_) | Value::Text(_)) => {
                    Some(within(number(value)?, &range, |count: u32| {
                        count.to_string()
                    })?)
                }
                _ => {
                    return Err(Problem::new(
                        "is no number",
                        "write \"off\" or a whole number",
                    ));
                }
            };
        }
    }
    Ok(())
}

fn text_of(value: Value, fix: &str) -> Result<String, Problem> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Integer(_) => Err(Problem::new("is a number, not text", fix)),
        Value::Fraction(_) => Err(Problem::new("is a fraction, not text", fix)),
        Value::Switch(_) => Err(Problem::new("is a boolean, not text", fix)),
        Value::List(_) => Err(Problem::new("is a list, not text", fix)),
        Value::Other(kind) => Err(Problem::new(format!("is {kind}, not text"), fix)),
    }
}

fn number<N: std::str::FromStr>(value: Value) -> Result<N, Problem> {
    let (Value::Integer(text) | Value::Text(text)) = value else {
        return Err(Problem::new("is no number", "write a whole number"));
    };
    // The parser's own words add nothing to these.
    text.parse().map_err(|_| {
        Problem::new(
            "is no whole number of this size",
            "write a whole number, such as 256",
        )
    })
}

fn within<N: PartialOrd + Copy + Display>(
    value: N,
    range: &RangeInclusive<N>,
    show: impl Fn(N) -> String,
) -> Result<N, Problem> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(Problem::new(
        format!("cannot be {}", show(value)),
        format!(
            "write a value from {} to {}",
            show(*range.start()),
            show(*range.end())
        ),
    ))
}
