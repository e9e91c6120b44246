#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod action;
mod command;
mod config;
mod effect;
mod gate;
mod machine;
mod pace;
mod quota;
mod reason;
mod room;
mod schedule;
mod sorted;

pub use action::{Action, Answer, Append, Author, Entry, Note, Outgoing, Tag};
pub use command::{
    CallId, Command, ConnectionId, Loaded, Message, Millis, Request, RoomStatus, Seq, StorageFull,
    StorageScope, Ticket,
};
pub use config::RoomConfig;
pub use pace::Pace;
pub use quota::{StorageQuota, StorageUse};
pub use room::Room;
