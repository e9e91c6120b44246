//! Why there is no answer, for a person: what happened, whose matter it is, what to do next.

use epicenter_api::ErrorName;
use epicenter_auth::HubUrl;
use epicenter_device::{CallError, HubFailure};
use serde_json::Value;

use super::visible;
use crate::auth::{refused, signed_out};
use crate::failure::Failure;

const LOOK_AT_MODELS: &str = "`epicenter ai models` lists what the hub offers";

/// No answer came.
pub(super) fn of_call(hub: &HubUrl, error: CallError) -> Failure {
    match error {
        CallError::SignedOut => signed_out(hub),
        CallError::Refused => refused(hub),
        CallError::Machine(error) => error.into(),
        CallError::Hub(error) => of_hub(&error),
        _ => Failure::of(&error, "try again"),
    }
}

/// The hub was not heard, or stopped speaking.
pub(super) fn of_hub(error: &HubFailure) -> Failure {
    let hint = match error {
        HubFailure::NoHub { .. } => "check --url or EPICENTER_API_URL",
        _ => "check the address and whether the hub runs, and try again",
    };
    Failure::of(error, hint)
}

/// The hub answered, and not with what was asked for.
pub(super) fn of_answer(status: u16, retry_after_s: Option<u64>, body: &[u8]) -> Failure {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let name = body.pointer("/error/name").and_then(Value::as_str);
    let Some(name) = name else {
        return of_hub(&match status {
            429 | 500.. => HubFailure::Unavailable { status },
            _ => HubFailure::NoHub { status },
        });
    };
    let known = ErrorName::ALL.iter().find(|known| known.as_str() == name);
    let message = body.pointer("/error/message").and_then(Value::as_str);
    let message = message
        .or(known.map(|name| name.message()))
        .unwrap_or("it did not say why");
    let message = visible::line(message);
    let message = message.trim_end_matches('.');
    let whose = match known {
        Some(ErrorName::ProviderRateLimited | ErrorName::ProviderUnavailable) => {
            "the provider failed"
        }
        Some(ErrorName::InternalError | ErrorName::StorageUnavailable | ErrorName::Timeout) => {
            "the hub failed"
        }
        _ => "the hub refused",
    };
    Failure::new(
        format!("{whose}: {message} ({})", visible::line(name)),
        advice(known.copied(), retry_after_s),
    )
}

fn advice(name: Option<ErrorName>, retry_after_s: Option<u64>) -> String {
    match name {
        Some(ErrorName::InsufficientCredits) => format!(
            "{LOOK_AT_MODELS} with prices; an operator gives credits with `epicenter admin credits give`"
        ),
        Some(ErrorName::ModelRequiresPaidPlan) => format!(
            "{LOOK_AT_MODELS} with prices; an account is paid once an operator gave it credits with `epicenter admin credits give`"
        ),
        Some(ErrorName::UnknownModel) => {
            format!("{LOOK_AT_MODELS}; check --provider and --model")
        }
        Some(ErrorName::ProviderNotConfigured) => format!(
            "{LOOK_AT_MODELS}; use another, or your own key with --own-key-env; an operator sets the key of a provider as docs/configuration.md says"
        ),
        Some(ErrorName::OwnKeyNotAllowed) => {
            "leave --own-key-env out, or choose another provider".to_owned()
        }
        Some(ErrorName::InsufficientScope) => {
            "sign in again with `epicenter auth login`".to_owned()
        }
        Some(ErrorName::PayloadTooLarge) => "ask with less text".to_owned(),
        Some(ErrorName::NotFound) => {
            "check --url or EPICENTER_API_URL; the hub may be too old for this command".to_owned()
        }
        Some(ErrorName::InvalidRequest) => {
            "change the question or the flags as the message says".to_owned()
        }
        _ => match retry_after_s {
            Some(seconds) => format!("try again in {seconds} seconds"),
            None => "try again shortly".to_owned(),
        },
    }
}

/// The answer began and then failed; `error` is the event that says so.
pub(super) fn of_event(error: &Value) -> Failure {
    let text = |path: &str| error.pointer(path).and_then(Value::as_str);
    let message = text("/message").or_else(|| text("/error/message"));
    let message = visible::line(message.unwrap_or("the hub did not say why"));
    let code = text("/code").or_else(|| text("/error/code"));
    let code = visible::line(code.unwrap_or("no code"));
    let hint = match code.as_str() {
        "refusal" | "content_filter" => {
            "the model or its provider will not answer this; ask differently"
        }
        "max_tokens" | "incomplete" => "allow more with --max-tokens, or ask for less",
        _ => "what was written above may be incomplete; ask again",
    };
    Failure::new(
        format!(
            "the answer failed: {} ({code})",
            message.trim_end_matches('.')
        ),
        hint,
    )
}

#[cfg(test)]
mod tests {
    use epicenter_api::ErrorName;
    use serde_json::json;

    use super::{of_answer, of_event};

    #[test]
    fn every_name_has_a_message_and_a_hint() {
        for name in ErrorName::ALL {
            let body =
                json!({"data": null, "error": {"name": name.as_str(), "message": "No\u{1b}[2J."}});
            let failure = of_answer(name.status(), Some(7), body.to_string().as_bytes());
            let text = failure.message();
            assert!(
                text.ends_with(&format!(": No[2J ({})", name.as_str())),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_envelope_is_no_hub() {
        for (status, expect) in [(404, "no hub"), (200, "no hub"), (502, "cannot answer now")] {
            let failure = of_answer(status, None, b"<html>");
            assert!(failure.message().contains(expect), "{failure:?}");
        }
    }

    #[test]
    fn an_event_that_says_little_is_still_told() {
        let told = of_event(&json!({"type": "RUN_ERROR"}));
        assert!(told.message().contains("did not say why"), "{told:?}");
        let told = of_event(&json!({"message": "over\u{7}loaded", "code": "x\ny"}));
        assert_eq!(told.message(), "the answer failed: overloaded (x y)");
    }
}
