//! A request must be meant for this hub: `Host` names the public origin, or this machine itself when the hub listens on
//! loopback. Pages of other origins that had their name point here (DNS rebinding) end at this door.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use epicenter_api::{ApiError, ErrorName};
use http::header::HOST;

use crate::config::{Authority, HubConfig};
use crate::error::Refusal;
use crate::state::SharedHub;
use crate::upgrade::RefusalForm;

pub(crate) async fn check(State(hub): State<SharedHub>, request: Request, next: Next) -> Response {
    match check_host(&request, &hub.config) {
        Ok(()) => next.run(request).await,
        Err(refusal) => RefusalForm::of(&request).refuse(refusal),
    }
}

/// Both forms of naming a host count: the header, and an authority in the request line (which HTTP/2 always has).
fn check_host(request: &Request, config: &HubConfig) -> Result<(), Refusal> {
    let hosts: Vec<_> = request.headers().get_all(HOST).iter().collect();
    let target = request.uri().authority();
    if hosts.len() > 1 || (hosts.is_empty() && target.is_none()) {
        return Err(malformed());
    }
    let hosts = hosts.into_iter().map(|host| host.to_str().ok());
    let target = target.map(|authority| Some(authority.as_str()));
    for name in hosts.chain(target) {
        let name = name.and_then(Authority::parse).ok_or_else(malformed)?;
        if !is_ours(&name, config) {
            return Err(Refusal::from(ErrorName::MisdirectedRequest));
        }
    }
    Ok(())
}

fn is_ours(name: &Authority, config: &HubConfig) -> bool {
    config.origin.is_named_by(name)
        || config
            .loopback_port
            .is_some_and(|port| name.is_loopback_at(port))
}

fn malformed() -> Refusal {
    Refusal::from(
        ApiError::new(ErrorName::InvalidRequest)
            .with_message("The request needs exactly one valid Host header."),
    )
}
