//! What people see (`http.md`).

pub(crate) mod headers;
pub(crate) mod routes;
