//! What a machine does when the hub is away or something else answers in its place.
//!
//! Sign-ins that succeed are tested with the program against a real hub, in `epicenter-cli`.

mod calls;
mod network;
mod stand_in;
