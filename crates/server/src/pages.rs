//! What people see (`http.md`): pages that the hub renders itself and that work without JavaScript.
//!
//! A handler in `routes` reads the request (`visit`, `form`), asks the services of accounts and authorization, and
//! answers with a [`page::Page`] or with the way on (`destination`). Every page is a pure function of what it shows.
//! Nothing that a stranger can write into a link is shown as text of ours; names of clients and people are escaped.

mod destination;
mod elements;
mod form;
mod page;
mod problem;
pub(crate) mod refusals;
pub(crate) mod routes;
mod visit;
mod words;

mod account;
mod cli_callback;
mod consent;
mod continue_as;
mod notices;
mod sign_in;
mod sign_up;
