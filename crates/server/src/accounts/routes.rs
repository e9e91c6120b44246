//! Accounts over JSON, in the shapes that clients of today know.

use crate::error::{Refusal, not_found};

pub(crate) async fn ok() -> Refusal {
    not_found().await
}

pub(crate) async fn sign_up_email() -> Refusal {
    not_found().await
}

pub(crate) async fn sign_in_email() -> Refusal {
    not_found().await
}

pub(crate) async fn sign_out() -> Refusal {
    not_found().await
}

pub(crate) async fn find_session() -> Refusal {
    not_found().await
}

pub(crate) async fn list_sessions() -> Refusal {
    not_found().await
}

pub(crate) async fn revoke_session() -> Refusal {
    not_found().await
}

pub(crate) async fn revoke_other_sessions() -> Refusal {
    not_found().await
}

pub(crate) async fn change_password() -> Refusal {
    not_found().await
}
