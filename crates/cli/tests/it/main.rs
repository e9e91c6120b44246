//! The built program as a person or a script meets it.

mod admin;
mod auth;
mod configuration;
mod program;
mod serve;
mod setup_link;
mod usage;
