//! An authorization request, checked parameter by parameter.
//!
//! What is wrong before client and redirect URI are known to belong together is said by a page of ours; everything after
//! that goes to the redirect URI (RFC 6749 section 4.1.2.1).

use std::sync::Arc;

use super::authorize::AuthorizeError;
use super::clients::{self, OAuthClient};
use super::parameters::Parameters;
use super::scopes::{self, AskedScopes};
use super::{pkce, redirect::Recipient};
use crate::config::HubConfig;

/// An error that the client is told, by its name and for its developer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestError {
    pub(super) code: &'static str,
    pub(super) description: &'static str,
}

/// What may be shown to the person and what must not (OpenID Connect Core 3.1.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prompt {
    pub(super) none: bool,
    pub(super) login: bool,
    pub(super) consent: bool,
    pub(super) select_account: bool,
}

/// A request with nothing left to check.
#[derive(Debug)]
pub(super) struct CheckedRequest {
    pub(super) asked: AskedScopes,
    pub(super) challenge: String,
    pub(super) nonce: Option<String>,
    pub(super) prompt: Prompt,
    pub(super) max_age_s: Option<u64>,
    pub(super) resource: String,
}

/// Finds out whom the answer goes to.
pub(super) fn recipient(
    config: &HubConfig,
    parameters: &Parameters,
) -> Result<(Arc<OAuthClient>, Recipient), AuthorizeError> {
    let id = parameters
        .find("client_id")
        .ok_or(AuthorizeError::Malformed)?;
    let client = clients::find(&config.oauth.clients, id).ok_or(AuthorizeError::UnknownClient)?;
    let uri = parameters
        .find("redirect_uri")
        .filter(|uri| client.allows_redirect(uri))
        .ok_or(AuthorizeError::RedirectUri)?;
    let recipient = Recipient {
        redirect_uri: uri.to_owned(),
        state: parameters.find("state").map(str::to_owned),
        issuer: config.issuer(),
    };
    Ok((client, recipient))
}

/// Checks everything else.
pub(super) fn check(
    config: &HubConfig,
    client: &OAuthClient,
    parameters: &Parameters,
) -> Result<CheckedRequest, RequestError> {
    check_form(parameters)?;
    let challenge = parameters.find("code_challenge").ok_or_else(|| {
        invalid("code_challenge is missing; PKCE with the method S256 is required of every client")
    })?;
    if !pkce::is_challenge(parameters.find("code_challenge_method"), challenge) {
        return Err(invalid(
            "code_challenge must be the base64url SHA-256 of the verifier, with code_challenge_method=S256",
        ));
    }
    let asked = match parameters.find("scope") {
        Some(text) => scopes::parse(text).ok_or(RequestError {
            code: "invalid_scope",
            description: "a scope is unknown; scopes_supported of the metadata lists them",
        })?,
        None => AskedScopes {
            scopes: client.default_scopes,
            words: client.default_scopes.to_string(),
        },
    };
    Ok(CheckedRequest {
        asked,
        challenge: challenge.to_owned(),
        nonce: parameters.find("nonce").map(str::to_owned),
        prompt: read_prompt(parameters.find("prompt").unwrap_or_default())?,
        max_age_s: read_max_age(parameters.find("max_age"))?,
        resource: read_resource(config, parameters.find("resource"))?,
    })
}

fn check_form(parameters: &Parameters) -> Result<(), RequestError> {
    if parameters.find("request").is_some() {
        return Err(RequestError {
            code: "request_not_supported",
            description: "request objects are not supported; send plain parameters",
        });
    }
    if parameters.find("request_uri").is_some() {
        return Err(RequestError {
            code: "request_uri_not_supported",
            description: "request objects are not supported; send plain parameters",
        });
    }
    match parameters.find("response_type") {
        Some("code") => {}
        Some(_) => {
            return Err(RequestError {
                code: "unsupported_response_type",
                description: "only response_type=code is supported",
            });
        }
        None => return Err(invalid("response_type is missing; send response_type=code")),
    }
    match parameters.find("response_mode") {
        None | Some("query") => Ok(()),
        Some(_) => Err(invalid("only response_mode=query is supported")),
    }
}

fn read_prompt(text: &str) -> Result<Prompt, RequestError> {
    let mut prompt = Prompt::default();
    let mut count = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let flag = match word {
            "none" => &mut prompt.none,
            "login" => &mut prompt.login,
            "consent" => &mut prompt.consent,
            "select_account" => &mut prompt.select_account,
            _ => {
                return Err(invalid(
                    "prompt knows none, login, consent and select_account",
                ));
            }
        };
        *flag = true;
        count += 1;
    }
    if prompt.none && count > 1 {
        return Err(invalid("prompt=none excludes every other prompt"));
    }
    Ok(prompt)
}

fn read_max_age(text: Option<&str>) -> Result<Option<u64>, RequestError> {
    let parse = |text: &str| {
        text.parse()
            .map_err(|_| invalid("max_age must be a number of seconds"))
    };
    text.map(parse).transpose()
}

/// Tokens are for this hub and for nothing else (RFC 8707).
fn read_resource(config: &HubConfig, text: Option<&str>) -> Result<String, RequestError> {
    let own = config.origin.as_str();
    match text {
        Some(text) if text != own => Err(RequestError {
            code: "invalid_target",
            description: "resource must be the origin of this hub",
        }),
        _ => Ok(own.to_owned()),
    }
}

fn invalid(description: &'static str) -> RequestError {
    RequestError {
        code: "invalid_request",
        description,
    }
}
