//! A provider that does its worst, over TCP, and a whole hub between it and its clients: what the client hears, what is
//! charged, what the provider sees of its own connection, and that nothing is left open.

mod cuts;
mod play;
mod scene;
mod stalls;
mod streams;
mod unheard;
