//! The built program as a person or a script meets it.

mod admin;
mod configuration;
mod program;
mod serve;
mod usage;
