//! Where a person goes on to after a page: back into an authorization request, or to a path of this hub.

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION};
use http::{StatusCode, Uri};
use maud::{Markup, html};

use super::elements::hidden;
use super::form::Form;
use super::words;
use crate::accounts::rules::is_safe_callback;
use crate::middleware::FormTargets;
use crate::oauth::authorize::{AuthorizeError, PendingRequest, Step};
use crate::query;
use crate::state::HubState;

const OAUTH_QUERY: &str = "oauth_query";
const CALLBACK: &str = "callbackURL";

/// Where a person goes on to.
#[derive(Clone, Debug)]
pub(super) enum Destination {
    /// Back into the request of an app.
    Request(Box<PendingRequest>),
    /// To a page of this hub; found to be safe.
    Page(String),
    /// Nowhere in particular.
    Nowhere,
}

impl Destination {
    /// Reads the query of a page. A signed query that does not hold is an error, never ignored.
    pub(super) fn of_query(hub: &HubState, text: &str) -> Result<Self, AuthorizeError> {
        if query::values(Some(text), "sig").next().is_some() {
            let pending = hub.pending_request(text)?;
            return Ok(Self::Request(Box::new(pending)));
        }
        let callback = query::values(Some(text), CALLBACK).next().flatten();
        Ok(Self::of_callback(hub, &callback.unwrap_or_default()))
    }

    /// Reads the hidden fields of a form.
    pub(super) fn of_form(hub: &HubState, form: &Form) -> Result<Self, AuthorizeError> {
        match form.text(OAUTH_QUERY) {
            "" => Ok(Self::of_callback(hub, form.text(CALLBACK))),
            query => Ok(Self::Request(Box::new(hub.pending_request(query)?))),
        }
    }

    fn of_callback(hub: &HubState, callback: &str) -> Self {
        // Pages lead to pages of this hub; other origins are for callers that are told why they are refused.
        if !callback.is_empty() && is_safe_callback(callback, &hub.config.origin, &[]) {
            Self::Page(callback.to_owned())
        } else {
            Self::Nowhere
        }
    }

    pub(super) fn request(&self) -> Option<&PendingRequest> {
        match self {
            Self::Request(pending) => Some(pending),
            _ => None,
        }
    }

    /// Carries it through a form.
    pub(super) fn hidden_fields(&self) -> Markup {
        html! {
            @match self {
                Self::Request(pending) => { (hidden(OAUTH_QUERY, &pending.query.0)) }
                Self::Page(page) => { (hidden(CALLBACK, page)) }
                Self::Nowhere => {}
            }
        }
    }

    /// A page of ours that goes on to the same place.
    pub(super) fn link(&self, page: &str) -> String {
        match self {
            Self::Request(pending) => format!("{page}?{}", pending.query.0),
            Self::Page(callback) => {
                let query = form_urlencoded::Serializer::new(String::new())
                    .append_pair(CALLBACK, callback)
                    .finish();
                format!("{page}?{query}")
            }
            Self::Nowhere => page.to_owned(),
        }
    }

    /// Where forms that lead there may end.
    pub(super) fn form_targets(&self) -> FormTargets {
        let target = self
            .request()
            .map(|pending| words::form_target(&pending.redirect_uri));
        FormTargets(target.into_iter().collect())
    }
}

/// The way to the next step of an authorization request.
pub(super) fn follow(step: &Step) -> Response {
    see_other(&step.location())
}

/// The way to another URL by GET.
pub(super) fn see_other(location: &str) -> Response {
    // A URL that is none cannot come from a validated redirect URI or a path of ours; it goes nowhere then.
    let is_url = location.parse::<Uri>().is_ok();
    let location = is_url
        .then(|| HeaderValue::from_str(location).ok())
        .flatten()
        .unwrap_or(HeaderValue::from_static("/auth/error"));
    let headers = [
        (LOCATION, location),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}
