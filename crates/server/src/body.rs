//! Reading request bodies whole.
//!
//! The limit is laid around every body by `middleware/body_limit.rs`; here its error is told apart from a client that
//! went away.

use std::error::Error;

use axum::body::{Body, Bytes};
use epicenter_api::{ApiError, ErrorName};
use http_body_util::{BodyExt as _, LengthLimitError};

use crate::error::Refusal;

/// All bytes of a body, never more than the limit around it allows.
pub(crate) async fn read(body: Body) -> Result<Bytes, Refusal> {
    match body.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if is_over_limit(&error) => Err(Refusal::from(ErrorName::PayloadTooLarge)),
        // Mostly nobody is left to read this.
        Err(_) => Err(Refusal::from(
            ApiError::new(ErrorName::InvalidRequest)
                .with_message("The request body broke off. Send the request again."),
        )),
    }
}

fn is_over_limit(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
