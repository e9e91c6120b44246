//! Something that answers in the place of a hub: always the same bytes, or one answer after the other.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) struct StandIn {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl StandIn {
    /// Answers everything with this status line, header lines and body. Ends with the test's process.
    pub(crate) fn answering(head: &str, body: &str) -> Self {
        Self::playing(&[(head, body)])
    }

    /// Answers with one after the other, and everything else with the last.
    pub(crate) fn playing(script: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(AtomicUsize::new(0));
        let write = |(head, body): &(&str, &str)| {
            let length = body.len();
            format!(
                "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
        };
        let answers: Vec<String> = script.iter().map(write).collect();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let count = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let place = count.fetch_add(1, Ordering::SeqCst);
                let answer = &answers[place.min(answers.len() - 1)];
                // A request of these tests fits one segment; the rest is read so that closing resets nothing.
                let mut request = [0; 8192];
                let length = stream.read(&mut request).unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                hears.lock().expect("no panic").push(text);
                let _ = stream.write_all(answer.as_bytes());
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.read(&mut request);
            }
        });
        Self {
            address,
            requests,
            heard,
        }
    }

    /// The requests as they came: the first bytes of each.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("no panic").clone()
    }

    /// How many requests came.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// An address where nobody listens. A port that was free a moment ago may be given to the stand-in of another test.
pub(crate) fn nobody() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}
