//! What pages and the middleware around them tell each other by way of extensions.

/// The nonce of one answer, put among the extensions of the request: the styles and scripts of a page carry it, and the
/// `Content-Security-Policy` allows nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CspNonce(pub(crate) String);

/// Where the forms of a page may lead besides this origin, put among the extensions of the answer: origins
/// (`https://app.example`) and custom schemes (`app:`). Browsers hold `form-action` against every redirect that follows
/// a form, so a form that ends at a client's redirect URI needs its origin here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FormTargets(pub(crate) Vec<String>);
