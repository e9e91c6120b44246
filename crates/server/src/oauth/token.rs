//! `POST /auth/oauth2/token`.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};

use super::client_auth::ClientRequest;
use super::failure::{Failure, never_stored};
use super::redeem::CodeRequest;
use super::refresh::RefreshRequest;
use crate::oauth::TokenAnswer;
use crate::ports::Observation;
use crate::secret::Secret;
use crate::state::{HubState, SharedHub};

/// Tokens for a code or a refresh token.
pub(crate) async fn token(State(hub): State<SharedHub>, request: Request) -> Response {
    match answer(&hub, request).await {
        Ok(answer) => (never_stored(), answer.as_json().to_owned()).into_response(),
        Err(failure) => {
            let refused = Observation::TokensRefused(failure.code());
            hub.ports.observer.observe(refused);
            failure.into_response()
        }
    }
}

async fn answer(hub: &HubState, request: Request) -> Result<TokenAnswer, Failure> {
    let request = ClientRequest::read(hub, request).await?;
    match request.require("grant_type", "grant_type is missing")? {
        "authorization_code" => redeem(hub, &request).await,
        "refresh_token" => refresh(hub, &request).await,
        _ => Err(Failure::GRANT_TYPE),
    }
}

async fn redeem(hub: &HubState, request: &ClientRequest) -> Result<TokenAnswer, Failure> {
    let code = Secret::presented(request.require("code", "code is missing")?);
    let verifier = Secret::presented(request.require("code_verifier", "code_verifier is missing")?);
    let redemption = CodeRequest {
        client: &request.client.id,
        code: &code,
        redirect_uri: request.require("redirect_uri", "redirect_uri is missing")?,
        verifier: &verifier,
        resource: request.parameters.find("resource"),
        asked: request.asked,
    };
    let answer = hub.tokens.redeem(&redemption).await?;
    let issued = Observation::TokensIssued("authorization_code");
    hub.ports.observer.observe(issued);
    Ok(answer)
}

async fn refresh(hub: &HubState, request: &ClientRequest) -> Result<TokenAnswer, Failure> {
    let token = Secret::presented(request.require("refresh_token", "refresh_token is missing")?);
    let refresh = RefreshRequest {
        client: &request.client.id,
        token: &token,
        scope: request.parameters.find("scope"),
        resource: request.parameters.find("resource"),
        asked: request.asked,
    };
    let answer = hub.tokens.refresh(&refresh).await?;
    let issued = Observation::TokensIssued("refresh_token");
    hub.ports.observer.observe(issued);
    Ok(answer)
}
