//! The built program as a person or a script meets it.

mod admin;
mod ai;
mod ai_conversation;
mod ai_credits;
mod auth;
mod backup;
mod configuration;
mod doctor;
mod program;
mod serve;
mod setup_link;
mod usage;
