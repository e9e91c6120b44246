//! The whole router in process, over ports that live in memory.
#![cfg(test)]

mod callers;
mod hub;
mod keys;
mod logs;
mod pages;
mod ports;
mod rooms;
mod surface;
mod tokens;
mod upgrades;
