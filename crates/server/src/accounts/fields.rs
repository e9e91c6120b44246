//! The bodies of the account endpoints: a JSON object or a form, read strictly and bounded.
//!
//! What is neither of the two media types is refused: a page elsewhere can make a browser post `text/plain` without asking
//! first, and JSON in it must not count.

use std::collections::HashMap;

use axum::body::Body;
use epicenter_api::ErrorName;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::Limited;
use serde_json::Value;
use zeroize::Zeroizing;

use super::problem::Problem;
use crate::{body, query};

/// Nobody's address, name and password take more.
const MAX_BODY_BYTES: usize = 65_536;

/// The fields of a body.
pub(super) enum Fields {
    Json(HashMap<String, Value>),
    Form(Zeroizing<String>),
}

impl Fields {
    pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Self, Problem> {
        let media_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let media_type = media_type.unwrap_or_default().split(';').next();
        let media_type = media_type.unwrap_or_default().trim().to_ascii_lowercase();
        let is_json = match media_type.as_str() {
            "application/json" => true,
            "application/x-www-form-urlencoded" => false,
            _ => return Err(Problem::media_type()),
        };
        let bytes = body::read(Body::new(Limited::new(body, MAX_BODY_BYTES))).await;
        let bytes = bytes.map_err(|refusal| match refusal.name() {
            ErrorName::PayloadTooLarge => Problem::too_large(),
            _ => Problem::validation("The body broke off. Send the request again."),
        })?;
        if is_json {
            serde_json::from_slice(&bytes).map(Self::Json).map_err(|_| {
                // The parser's message may quote the body, passwords included.
                Problem::validation("[body] Invalid input: expected a JSON object")
            })
        } else {
            let text = String::from_utf8(bytes.to_vec());
            let text = text.map_err(|_| Problem::validation("[body] Invalid input: not UTF-8"))?;
            Ok(Self::Form(Zeroizing::new(text)))
        }
    }

    /// A text that may be missing.
    pub(super) fn find(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        match self {
            Self::Json(fields) => match fields.remove(name) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => Ok(Some(text)),
                Some(other) => Err(Problem::field(name, "string", kind(&other))),
            },
            Self::Form(text) => {
                let mut values = query::values(Some(text.as_str()), name);
                match (values.next(), values.next()) {
                    (None, _) => Ok(None),
                    (Some(Some(value)), None) => Ok(Some(value)),
                    (Some(None), _) => Err(Problem::field(name, "string", "bytes")),
                    (Some(_), Some(_)) => Err(Problem::field(name, "string", "array")),
                }
            }
        }
    }

    /// A text that must be there.
    pub(super) fn text(&mut self, name: &'static str) -> Result<String, Problem> {
        self.find(name)?
            .ok_or_else(|| Problem::field(name, "string", "undefined"))
    }

    /// A password that must be there.
    pub(super) fn password(&mut self, name: &'static str) -> Result<Zeroizing<String>, Problem> {
        self.text(name).map(Zeroizing::new)
    }

    /// Yes or no, if it is there; in forms `true` and `false`.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<Option<bool>, Problem> {
        if let Self::Json(fields) = self {
            return match fields.remove(name) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::Bool(flag)) => Ok(Some(flag)),
                Some(other) => Err(Problem::field(name, "boolean", kind(&other))),
            };
        }
        match self.find(name)?.as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Problem::field(name, "boolean", "string")),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
