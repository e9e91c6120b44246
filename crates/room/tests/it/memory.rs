//! What a sleeping room costs (`sync.md` 7): ten thousand of them must fit beside their sockets.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use epicenter_identity::{
    Access, ClientId, DeviceId, GrantId, OwnerId, RoomId, RoomName, Scopes, UserId,
};
use epicenter_room::{Action, Command, ConnectionId, Loaded, Message, Millis, Room, RoomConfig};

use crate::yjs;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

fn count(change: isize) {
    // A thread that ends has no counter any more.
    let _: Result<(), _> = HELD.try_with(|held| held.set(held.get() + change));
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size as isize - layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Ids as long as those of a hub: 32 characters for users and grants, a UUID for devices.
fn open(id: u64) -> Command {
    Command::Open {
        connection: ConnectionId(id),
        access: Access::authenticated_as(
            UserId::parse(&"u".repeat(32)).unwrap(),
            OwnerId::parse(&"u".repeat(32)).unwrap(),
            ClientId::parse("epicenter-fuji").unwrap(),
            GrantId::parse(&"g".repeat(32)).unwrap(),
            Scopes::all(),
        ),
        device: DeviceId::parse(&format!("{id:036}")).unwrap(),
        reports: true,
    }
}

/// Feeds a command to a room whose disk and builder take no time.
fn feed(room: &mut Room, command: Command) {
    let mut commands = vec![command];
    while let Some(command) = commands.pop() {
        for action in room.handle(command, Millis(1)) {
            commands.extend(match action {
                Action::Load => Some(Command::Loaded(Loaded::default())),
                Action::Append(append) => Some(Command::Durable(append.last())),
                _ => None,
            });
        }
    }
}

fn push(room: &mut Room, id: u64, update: &bytes::Bytes) {
    let message = Message::Binary(epicenter_sync::encode_update(update));
    let connection = ConnectionId(id);
    feed(
        room,
        Command::Frame {
            connection,
            message,
        },
    );
}

/// Bytes on the heap of a room with so many sockets, after some traffic, asleep.
fn asleep(sockets: u64) -> isize {
    let config = Arc::new(RoomConfig::default());
    let name = RoomName::stored(
        OwnerId::parse(&"u".repeat(32)).unwrap(),
        RoomId::parse(&"r".repeat(36)).unwrap(),
    );
    let before = HELD.get();
    let mut room = Room::new(name, config);
    for id in 1..=sockets {
        feed(&mut room, open(id));
        push(
            &mut room,
            id,
            &yjs::set(9, u8::try_from(id).unwrap() - 1, 1),
        );
    }
    // Something that waits, and a call that came to nothing.
    push(&mut room, 1, &yjs::set(8, 1, 1));
    for text in [
        r#"{"type":"dispatch_request","id":"1","to":"000000000000000000000000000000000001","action":"a"}"#,
        r#"{"type":"dispatch_response","id":"1","result":{"data":1,"error":null}}"#,
    ] {
        let (connection, message) = (ConnectionId(1), Message::Text(text.to_owned()));
        feed(
            &mut room,
            Command::Frame {
                connection,
                message,
            },
        );
    }
    assert!(room.can_sleep());
    room.sleep();
    assert_eq!(room.connections() as u64, sockets);
    HELD.get() - before
}

#[test]
fn a_sleeping_room_is_small() {
    let (one, two, twenty) = (asleep(1), asleep(2), asleep(20));
    let room = size_of::<Room>();
    // Measured: 664 bytes, and on the heap 408 for one socket, 816 for two, 493 for each of many.
    assert!(room <= 664, "{room} bytes before any socket");
    assert!(one <= 450, "{one} bytes of heap for one socket");
    assert!(two <= 880, "{two} bytes of heap for two sockets");
    assert!((twenty - two) / 18 <= 530, "{twenty} bytes for twenty");
}
