//! Bodies of forms.

use axum::body::Body;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use zeroize::Zeroizing;

use crate::body;
use crate::error::Refusal;
use crate::secret::Secret;
use epicenter_api::{ApiError, ErrorName};

const FORM: &str = "application/x-www-form-urlencoded";

/// The fields of a form; not printed, since passwords are among them.
pub(super) struct Form(Vec<(String, Zeroizing<String>)>);

impl Form {
    /// Reads the body of a form.
    pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Self, Refusal> {
        let media_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next());
        if !media_type.is_some_and(|found| found.trim().eq_ignore_ascii_case(FORM)) {
            let error = ApiError::new(ErrorName::InvalidRequest)
                .with_message(format!("This page takes forms. Send {FORM}."));
            return Err(Refusal::from(error));
        }
        Ok(Self::parse(&body::read(body).await?))
    }

    fn parse(bytes: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(bytes);
        let own = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
            (name.into_owned(), Zeroizing::new(value.into_owned()))
        };
        Self(pairs.map(own).collect())
    }

    /// The value of a field; empty when it was not sent.
    pub(super) fn text(&self, name: &str) -> &str {
        let field = self.0.iter().find(|(key, _)| key == name);
        field.map_or("", |(_, value)| value.as_str())
    }

    /// Whether a box is ticked or a button was pressed.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    pub(super) fn password(&self) -> Zeroizing<String> {
        Zeroizing::new(self.text("password").to_owned())
    }

    /// The token of a link. Who has no JavaScript pastes it, or the whole link.
    pub(super) fn token(&self) -> Option<Secret> {
        let text = self.text("token").trim();
        let token = text.rsplit_once("#t=").map_or(text, |(_, token)| token);
        (!token.is_empty()).then(|| Secret::presented(token))
    }
}

#[cfg(test)]
mod tests {
    use super::Form;

    #[test]
    fn a_token_is_found_in_what_people_paste() {
        #[track_caller]
        fn check(pasted: &str, expect: Option<&str>) {
            let body = form_urlencoded::Serializer::new(String::new())
                .append_pair("token", pasted)
                .finish();
            let token = Form::parse(body.as_bytes()).token();
            assert_eq!(token.as_ref().map(|token| token.expose()), expect);
        }
        check("abc_-1", Some("abc_-1"));
        check("  abc \n", Some("abc"));
        check("https://hub.example/setup#t=abc", Some("abc"));
        check("https://hub.example/setup#t=", None);
        check("   ", None);
        check("", None);
    }

    #[test]
    fn fields_that_were_not_sent_are_empty() {
        let form = Form::parse(b"email=a%40b.c&remember=&email=second");
        assert_eq!(form.text("email"), "a@b.c");
        assert_eq!(form.text("name"), "");
        assert!(form.has("remember"));
        assert!(!form.has("name"));
    }
}
