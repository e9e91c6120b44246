//! A revocation by another process reaches tokens and open sockets of this one (`identity.md` 3).

use std::path::PathBuf;
use std::time::{Duration, Instant};

use epicenter_native::admin::Administrator;
use epicenter_testkit::{HttpRequest, TestHub};

/// What `epicenter admin user disable` and `enable` do beside a running hub.
fn set_enabled(path: PathBuf, email: &'static str, enabled: bool) {
    // A thread of its own: an administrator brings a runtime, and tests have one already.
    std::thread::spawn(move || {
        let administrator = Administrator::open(&path).unwrap();
        administrator.set_enabled(email, enabled).unwrap();
    })
    .join()
    .unwrap();
}

#[tokio::test]
async fn disabling_a_person_closes_their_sockets_and_ends_their_tokens() {
    const ADA: &str = "ada@example.test";
    let hub = TestHub::start().await;
    let ada = hub.user(ADA).await;
    let bob = hub.user("bob@example.test").await;
    let mut first = hub.open(&ada, "notes", "laptop").await;
    let mut second = hub.open(&ada, "drafts", "phone").await;
    let mut other = hub.open(&bob, "notes", "watch").await;
    for socket in [&mut first, &mut second, &mut other] {
        socket.drain().await;
    }
    set_enabled(hub.data_dir(), ADA, false);
    let disabled = Instant::now();
    for socket in [&mut first, &mut second] {
        let (code, reason) = socket.closed().await;
        assert_eq!(code, 4401, "{reason}");
        assert!(reason.contains("InvalidToken"), "{reason}");
    }
    assert!(disabled.elapsed() < Duration::from_secs(1));
    let session = async |token: &str| {
        let request = HttpRequest::new("GET", "/api/session").bearer(token);
        request.send(hub.address()).await.status
    };
    assert_eq!(session(&ada.token).await, 401);
    let mut again = hub.open(&ada, "notes", "laptop").await;
    assert_eq!(again.closed().await.0, 4401);
    // Nobody else is touched, and an old token does not come back with its person.
    assert_eq!(session(&bob.token).await, 200);
    other.send_step1(&[0]).await;
    other.next_update().await;
    set_enabled(hub.data_dir(), ADA, true);
    assert_eq!(session(&ada.token).await, 401);
    hub.stop().await;
}
