//! The whole router in process, over ports that live in memory.
#![cfg(test)]

mod accounts_hub;
mod accounts_sessions;
mod accounts_set_up;
mod accounts_sign_in;
mod accounts_sign_up;
mod accounts_wire;
mod ai;
mod callers;
mod gate;
mod hub;
mod keys;
mod logs;
mod oauth_authorize;
mod oauth_clicks;
mod oauth_code;
mod oauth_endpoints;
mod oauth_hub;
mod oauth_refresh;
mod pages;
mod ports;
mod rates;
mod rooms;
mod surface;
mod tokens;
mod upgrades;
