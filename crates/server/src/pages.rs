//! What people see (`http.md`).

pub(crate) mod routes;
