//! What the hub logs of the sockets that it closes (sync.md 2).

use std::fmt;
use std::sync::{Arc, Mutex};

use epicenter_testkit::TestHub;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// What sockets log on this thread, where the runtime of a test runs them.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == "epicenter_native::socket"
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// The fields of an event, each in brackets.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!("[{} {value:?}]", field.name()));
    }
}

/// The one line that was logged; it has all of these and none of those.
#[track_caller]
fn assert_line(lines: &Lines, all: &[&str], none: &[&str]) {
    let lines = lines.take();
    let [line] = lines.as_slice() else {
        panic!("not one line: {lines:?}");
    };
    for part in all {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    for part in none {
        assert!(!line.contains(part), "{part} is in {line}");
    }
}

#[tokio::test]
async fn a_close_of_the_hubs_own_is_logged_once_with_its_reason_and_no_contents() {
    let lines = Lines::default();
    let _collecting = tracing::subscriber::set_default(lines.clone());
    let hub = TestHub::start_with(|config| {
        config.limits.max_frame_bytes = 1_000;
        config.limits.max_user_connections = 1;
    })
    .await;
    let ada = hub.user("ada@example.test").await;
    let room = format!("[room.name owners/{}/rooms/notes]", ada.owner);
    let mut phone = hub.open(&ada, "notes", "phone").await;
    phone.drain().await;

    let mut laptop = hub.open(&ada, "notes", "laptop").await;
    assert_eq!(laptop.closed().await.0, 1008);
    let too_many = [
        "[message the hub closes a socket]",
        room.as_str(),
        "[socket.close_code 1008]",
        "TooManyConnections",
    ];
    assert_line(&lines, &too_many, &["[connection "]);

    phone.send_text(&"secret ".repeat(200)).await;
    assert_eq!(phone.closed().await.0, 1009);
    let too_large = [
        room.as_str(),
        "[connection ",
        "[socket.close_code 1009]",
        "limits.max_frame_bytes",
    ];
    assert_line(&lines, &too_large, &["secret"]);
    drop((phone, laptop));
    hub.stop().await;
    assert_eq!(lines.take(), Vec::<String>::new());
}
