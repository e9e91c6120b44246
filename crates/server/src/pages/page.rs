//! The shell around every page, and its way out as an answer.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, RETRY_AFTER};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::config::{HubConfig, PublicOrigin};
use crate::middleware::{CspNonce, FormTargets};

const STYLE: &str = include_str!("style.css");
const ENHANCE: &str = include_str!("enhance.js");
/// The mark as the browser's tab shows it: `mark()` with a colour of its own.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32' fill='none' \
stroke='%23547ce8' stroke-width='2.6'%3E%3Ccircle cx='16' cy='16' r='3.6' fill='%23547ce8' stroke='none'/%3E%3Ccircle \
cx='16' cy='16' r='8.6'/%3E%3Ccircle cx='16' cy='16' r='14' stroke-opacity='.45'/%3E%3C/svg%3E";

/// What all pages of one answer share.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    nonce: CspNonce,
    /// Host and port of the public origin, as people know the hub.
    pub(super) host: String,
    version: &'static str,
    source_url: String,
}

impl Frame {
    pub(super) fn new(config: &HubConfig, nonce: CspNonce) -> Self {
        Self {
            nonce,
            host: host_of(&config.origin),
            version: config.version,
            source_url: config.source_url.clone(),
        }
    }
}

fn host_of(origin: &PublicOrigin) -> String {
    let text = origin.as_str();
    text.split_once("://")
        .map_or(text, |(_, host)| host)
        .to_owned()
}

/// A page, not rendered yet.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) title: String,
    pub(super) body: Markup,
    /// Some parts of it are easier to use with JavaScript.
    pub(super) is_enhanced: bool,
    /// Where its forms may lead besides this origin.
    pub(super) targets: FormTargets,
    retry_after_s: Option<u64>,
    cache_control: &'static str,
    tells_no_referrer: bool,
}

impl Page {
    pub(super) fn new(title: impl Into<String>, body: Markup) -> Self {
        Self {
            status: StatusCode::OK,
            title: title.into(),
            body,
            is_enhanced: false,
            targets: FormTargets(Vec::new()),
            retry_after_s: None,
            cache_control: "no-store",
            tells_no_referrer: false,
        }
    }

    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(super) fn enhanced(mut self) -> Self {
        self.is_enhanced = true;
        self
    }

    pub(super) fn leading_to(mut self, targets: FormTargets) -> Self {
        self.targets = targets;
        self
    }

    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Its address holds a secret: it goes nowhere, and proxies do not rewrite the page around it.
    pub(super) fn secretive(mut self) -> Self {
        self.cache_control = "no-store, no-transform";
        self.tells_no_referrer = true;
        self
    }

    /// The answer.
    pub(super) fn into_response(self, frame: &Frame) -> Response {
        let document = render(frame, &self).into_string();
        let mut response = (self.status, document).into_response();
        let headers = response.headers_mut();
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        headers.insert(CONTENT_TYPE, html);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(self.cache_control));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.tells_no_referrer {
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        }
        response.extensions_mut().insert(self.targets);
        response
    }
}

fn render(frame: &Frame, page: &Page) -> Markup {
    let nonce = frame.nonce.as_str();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                meta name="color-scheme" content="light dark";
                title { (page.title) " · Epicenter" }
                link rel="icon" href=(ICON);
                style nonce=(nonce) { (PreEscaped(STYLE)) }
            }
            body {
                div.sheet {
                    header.brand {
                        (mark())
                        p { strong { "Epicenter" } " on " (frame.host) }
                    }
                    main { (page.body) }
                }
                footer {
                    ul {
                        li { "Epicenter " (frame.version) }
                        li { "AGPL-3.0-or-later" }
                        li { a href=(frame.source_url) rel="noreferrer" { "Source code" } }
                    }
                }
                @if page.is_enhanced {
                    script nonce=(nonce) { (PreEscaped(ENHANCE)) }
                }
            }
        }
    }
}

/// Rings around a point.
fn mark() -> Markup {
    html! {
        svg viewBox="0 0 32 32" fill="none" stroke="currentColor" stroke-width="2.2" aria-hidden="true" {
            circle cx="16" cy="16" r="3.4" fill="currentColor" stroke="none" {}
            circle cx="16" cy="16" r="8.4" {}
            circle cx="16" cy="16" r="13.8" stroke-opacity=".4" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ENHANCE, STYLE};

    #[test]
    fn what_stands_inside_an_element_does_not_end_it() {
        assert!(!STYLE.contains("</"));
        assert!(!ENHANCE.contains("</"));
        assert!(!ENHANCE.contains("<!--"));
    }
}
