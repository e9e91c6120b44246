//! Pages as a browser without JavaScript meets them.

mod account;
mod answers;
mod browser;
mod requests;
mod shell;
