//! Pages, rendered on the server; they work without JavaScript.

use crate::error::{Refusal, not_found};

pub(crate) async fn sign_in() -> Refusal {
    not_found().await
}

pub(crate) async fn submit_sign_in() -> Refusal {
    not_found().await
}

pub(crate) async fn sign_up() -> Refusal {
    not_found().await
}

pub(crate) async fn submit_sign_up() -> Refusal {
    not_found().await
}

pub(crate) async fn setup() -> Refusal {
    not_found().await
}

pub(crate) async fn submit_setup() -> Refusal {
    not_found().await
}

pub(crate) async fn continue_as() -> Refusal {
    not_found().await
}

pub(crate) async fn submit_continue_as() -> Refusal {
    not_found().await
}

pub(crate) async fn consent() -> Refusal {
    not_found().await
}

pub(crate) async fn submit_consent() -> Refusal {
    not_found().await
}

pub(crate) async fn submit_sign_out() -> Refusal {
    not_found().await
}

pub(crate) async fn cli_callback() -> Refusal {
    not_found().await
}

pub(crate) async fn error() -> Refusal {
    not_found().await
}
