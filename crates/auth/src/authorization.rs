//! The authorize request and the answer that comes back through a browser.

use form_urlencoded::Serializer;

use crate::pkce::CodeChallenge;
use crate::secret_text::{AuthorizationCode, State};

/// What a browser is sent to the authorize endpoint with.
#[derive(Debug)]
pub struct AuthorizationRequest<'a> {
    /// `client_id`.
    pub client_id: &'a str,
    /// Where the answer goes; repeated in the token request.
    pub redirect_uri: &'a str,
    /// Scopes, separated by spaces.
    pub scope: &'a str,
    /// Comes back with the answer.
    pub state: &'a State,
    /// Of the verifier that the token request shows.
    pub challenge: &'a CodeChallenge,
    /// Which hub the tokens are for (RFC 8707): its origin.
    pub resource: &'a str,
}

impl AuthorizationRequest<'_> {
    /// The URL to open.
    pub fn url(&self, endpoint: &str) -> String {
        let mut query = Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", self.client_id)
            .append_pair("redirect_uri", self.redirect_uri)
            .append_pair("scope", self.scope)
            .append_pair("state", self.state.expose())
            .append_pair("code_challenge", self.challenge.as_str())
            .append_pair("code_challenge_method", "S256")
            .append_pair("resource", self.resource);
        format!("{endpoint}?{}", query.finish())
    }
}

/// Why an answer brings no code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorizationError {
    /// Another authorization server answered, or none said that it did (RFC 9207): a mix-up attack, or another hub.
    #[error("the answer does not come from the hub that was asked")]
    WrongIssuer,
    /// The answer belongs to another request, maybe one that an attacker made.
    #[error("the answer belongs to another sign-in")]
    WrongState,
    /// The hub or the person refused.
    #[error("the hub refused: {code}")]
    Refused {
        /// The `error` of RFC 6749 section 4.1.2.1, visible ASCII.
        code: String,
    },
    /// A parameter is missing, stands twice or cannot be one.
    #[error("the answer is malformed")]
    Malformed,
}

/// The parameters of an answer, not yet believed.
#[derive(Debug, Default)]
pub struct AuthorizationAnswer {
    code: Option<String>,
    state: Option<String>,
    issuer: Option<String>,
    error: Option<String>,
}

impl AuthorizationAnswer {
    /// Reads the query of the redirect URI, with or without its `?`.
    ///
    /// # Errors
    /// [`AuthorizationError::Malformed`] when a parameter stands twice, as RFC 6749 section 3.1 forbids.
    pub fn parse(query: &str) -> Result<Self, AuthorizationError> {
        let query = query.strip_prefix('?').unwrap_or(query);
        let mut answer = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let slot = match &*name {
                "code" => &mut answer.code,
                "state" => &mut answer.state,
                "iss" => &mut answer.issuer,
                "error" => &mut answer.error,
                _ => continue,
            };
            if slot.replace(value.into_owned()).is_some() {
                return Err(AuthorizationError::Malformed);
            }
        }
        Ok(answer)
    }

    /// The code, once the answer is known to be the hub's and meant for this request.
    ///
    /// Issuer and state are checked before an error is believed: whoever can send a browser here could otherwise end a
    /// sign-in.
    ///
    /// # Errors
    /// Whose answer it is instead, or what the hub refused.
    pub fn check(
        self,
        issuer: &str,
        state: &State,
    ) -> Result<AuthorizationCode, AuthorizationError> {
        if self.issuer.as_deref() != Some(issuer) {
            return Err(AuthorizationError::WrongIssuer);
        }
        let presented = self.state.and_then(|state| State::parse(&state).ok());
        if presented.as_ref() != Some(state) {
            return Err(AuthorizationError::WrongState);
        }
        if let Some(code) = self.error {
            let is_code = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_graphic());
            return Err(if is_code {
                AuthorizationError::Refused { code }
            } else {
                AuthorizationError::Malformed
            });
        }
        let code = self.code.ok_or(AuthorizationError::Malformed)?;
        // The text that cannot be a code is not repeated: it may be part of one.
        AuthorizationCode::parse(&code).map_err(|_| AuthorizationError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pkce::CodeVerifier;

    const ISSUER: &str = "https://hub.example/auth";

    fn state() -> State {
        State::parse("st1").expect("a state")
    }

    #[test]
    fn the_request_says_everything_that_the_hub_asks_for() {
        let request = AuthorizationRequest {
            client_id: "epicenter-cli",
            redirect_uri: "https://hub.example/auth/cli-callback",
            scope: "openid offline_access",
            state: &state(),
            challenge: &CodeVerifier::from_random(&[0; 32]).challenge(),
            resource: "https://hub.example",
        };
        assert_eq!(
            request.url("https://hub.example/auth/oauth2/authorize"),
            "https://hub.example/auth/oauth2/authorize?response_type=code&client_id=epicenter-cli\
             &redirect_uri=https%3A%2F%2Fhub.example%2Fauth%2Fcli-callback&scope=openid+offline_access&state=st1\
             &code_challenge=DwBzhbb51LfusnSGBa_hqYSgo7-j8BTQnip4TOnlzRo&code_challenge_method=S256\
             &resource=https%3A%2F%2Fhub.example"
        );
    }

    fn check(query: &str, expected: Result<&str, AuthorizationError>) {
        let found =
            AuthorizationAnswer::parse(query).and_then(|answer| answer.check(ISSUER, &state()));
        let found = found.as_ref().map(AuthorizationCode::expose);
        assert_eq!(found.map_err(Clone::clone), expected, "{query}");
    }

    #[test]
    fn only_the_hubs_own_answer_to_this_request_brings_a_code() {
        let iss = "iss=https%3A%2F%2Fhub.example%2Fauth";
        check(&format!("?code=c1&state=st1&{iss}"), Ok("c1"));
        check("code=c1&state=st1", Err(AuthorizationError::WrongIssuer));
        check(
            "code=c1&state=st1&iss=https%3A%2F%2Fevil.example%2Fauth",
            Err(AuthorizationError::WrongIssuer),
        );
        check(
            "code=c1&state=st1&iss=https%3A%2F%2Fhub.example%2Fauth%2F",
            Err(AuthorizationError::WrongIssuer),
        );
        check(
            &format!("code=c1&state=st2&{iss}"),
            Err(AuthorizationError::WrongState),
        );
        check(
            &format!("code=c1&{iss}"),
            Err(AuthorizationError::WrongState),
        );
        check(
            &format!("state=st1&{iss}"),
            Err(AuthorizationError::Malformed),
        );
        check(
            &format!("code=&state=st1&{iss}"),
            Err(AuthorizationError::Malformed),
        );
        check(
            &format!("code=c1&code=c2&state=st1&{iss}"),
            Err(AuthorizationError::Malformed),
        );
    }

    #[test]
    fn an_error_is_believed_only_from_the_hub() {
        let iss = "iss=https%3A%2F%2Fhub.example%2Fauth";
        let refused = AuthorizationError::Refused {
            code: "access_denied".to_owned(),
        };
        check(
            &format!("error=access_denied&state=st1&{iss}"),
            Err(refused),
        );
        check(
            "error=access_denied&state=st1",
            Err(AuthorizationError::WrongIssuer),
        );
        check(
            &format!("error=access_denied&{iss}"),
            Err(AuthorizationError::WrongState),
        );
        check(
            &format!("error=%1b%5B31m&state=st1&{iss}"),
            Err(AuthorizationError::Malformed),
        );
    }
}
