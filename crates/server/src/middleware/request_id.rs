//! Gives every request an id and tells it in `X-Request-Id`.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::ports::Random;
use crate::state::SharedHub;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Room for a UUID or a trace id, too little to be a burden in logs.
const MAX_LENGTH: usize = 64;

/// The id of the request at hand, in its extensions.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

pub(crate) async fn assign(
    State(hub): State<SharedHub>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = accepted(request.headers()).unwrap_or_else(|| generate(&*hub.ports.random));
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    response.headers_mut().insert(X_REQUEST_ID, id);
    response
}

/// The client's own id when it can do no harm in a log.
fn accepted(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(X_REQUEST_ID).iter();
    let value = values.next()?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let is_valid = values.next().is_none()
        && (1..=MAX_LENGTH).contains(&value.len())
        && value.as_bytes().iter().all(is_plain);
    is_valid.then(|| value.clone())
}

fn generate(random: &dyn Random) -> HeaderValue {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    HeaderValue::from_str(&format!("{:032x}", u128::from_be_bytes(bytes)))
        .expect("hex digits are a header value")
}
