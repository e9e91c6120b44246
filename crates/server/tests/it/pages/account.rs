//! Signing in, up and out, and the first account.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;

use axum::body::Body;

use epicenter_server::config::SignUpPolicy;
use epicenter_server::peer::PeerAddress;

use super::browser::{
    Browser, PASSWORD, add_account, empty_hub, hub_of_ada, invite, put_setup_link,
};
use crate::hub::{ORIGIN, request};

#[tokio::test]
async fn a_hub_without_accounts_says_how_to_get_one() {
    let hub = empty_hub(|config| config.accounts.sign_up = SignUpPolicy::Open);
    let mut browser = Browser::new(&hub);
    for path in ["/sign-in", "/sign-up"] {
        browser.get(path).await.assert_page(403, "not set up yet");
        let reply = browser.post(path, &[("email", "a@b.c"), ("password", PASSWORD)]);
        reply.await.assert_page(403, "epicenter admin setup-link");
    }
    assert_eq!(browser.cookie, None);
}

#[tokio::test]
async fn the_setup_link_makes_the_first_account_once() {
    let hub = empty_hub(|_| {});
    put_setup_link(&hub, "the-token").await;
    let mut browser = Browser::new(&hub);
    browser
        .get("/setup")
        .await
        .assert_page(200, "Set up this hub");
    let fields = |token| {
        [
            ("token", token),
            ("name", "Ada"),
            ("email", "ada@example.com"),
            ("password", PASSWORD),
        ]
    };
    let refused = browser.post("/setup", &fields("another")).await;
    refused.assert_page(403, "This link is not valid");
    assert!(refused.text().contains("value=\"Ada\""));
    assert!(refused.text().contains("value=\"ada@example.com\""));
    assert!(!refused.text().contains(PASSWORD));
    let missing = browser.post("/setup", &fields(" ")).await;
    missing.assert_page(400, "The link is missing");

    // Who has no JavaScript pastes the whole link.
    let link = format!("{ORIGIN}/setup#t=the-token");
    let done = browser.post("/setup", &fields(&link)).await;
    assert_eq!(done.location(), "/sign-in");
    browser
        .get("/sign-in")
        .await
        .assert_page(200, "You are signed in");

    let mut late = Browser::new(&hub);
    late.get("/setup").await.assert_page(403, "already set up");
    let again = late.post("/setup", &fields("the-token")).await;
    again.assert_page(403, "already set up");
    assert_eq!(late.cookie, None);
}

#[tokio::test]
async fn a_wrong_password_keeps_the_form_and_tells_nothing() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::new(&hub);
    let wrong = browser.sign_in("not the password", &[]).await;
    wrong.assert_page(401, "Email or password is not right");
    assert!(wrong.text().contains("<title>Error: Sign in"));
    assert!(wrong.text().contains("value=\"ada@example.com\""));
    assert!(!wrong.text().contains("not the password"));
    assert!(
        wrong
            .text()
            .contains("aria-invalid=\"true\" aria-describedby=\"problem\" autofocus")
    );
    let fields = [
        ("email", "eve@example.com"),
        ("password", "x"),
        ("remember", "true"),
    ];
    let unknown = browser.post("/sign-in", &fields).await;
    let as_ada = unknown.text().replace("eve@example.com", "ada@example.com");
    assert_eq!(without_nonce(&as_ada), without_nonce(wrong.text()));
    assert_eq!(unknown.status, wrong.status);
    assert_eq!(browser.cookie, None);
}

fn without_nonce(text: &str) -> String {
    let mut parts = text.split(" nonce=\"");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + part.split_once('"').unwrap().1)
}

#[tokio::test]
async fn what_was_typed_is_text_and_never_markup() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::new(&hub);
    let fields = [("email", "\"><script>alert(1)</script>"), ("password", "x")];
    let reply = browser.post("/sign-in", &fields).await;
    assert!(reply.text().contains("value=\"&quot;&gt;&lt;script&gt;"));
    assert!(!reply.text().contains("<script>alert"));

    let hub = empty_hub(|_| {});
    add_account(&hub, "<script>alert(2)</script>").await;
    let mut browser = Browser::of_ada(&hub).await;
    let reply = browser.get("/sign-in").await;
    reply.assert_page(200, "&lt;script&gt;alert(2)");
    assert!(!reply.text().contains("<script>alert"));
}

#[tokio::test]
async fn a_session_is_forgotten_with_the_browser_on_request() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::new(&hub);
    let kept = browser.sign_in(PASSWORD, &[]).await;
    assert!(
        kept.header("set-cookie")
            .unwrap()
            .contains("; Max-Age=604800")
    );
    let mut browser = Browser::new(&hub);
    let fields = [("email", "ada@example.com"), ("password", PASSWORD)];
    let forgotten = browser.post("/sign-in", &fields).await;
    assert!(!forgotten.header("set-cookie").unwrap().contains("Max-Age"));
}

#[tokio::test]
async fn a_session_in_use_lives_on() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::of_ada(&hub).await;
    assert_eq!(browser.get("/sign-in").await.header("set-cookie"), None);
    hub.clock.advance(86_400_000);
    let cookie = browser.cookie.clone();
    let reply = browser.get("/sign-in").await;
    assert!(
        reply
            .header("set-cookie")
            .unwrap()
            .contains("; Max-Age=604800")
    );
    assert_eq!(browser.cookie, cookie);
}

#[tokio::test]
async fn signing_in_leads_to_pages_of_this_hub_only() {
    let hub = hub_of_ada().await;
    let foreign = [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "/%5cevil.example",
        "/%2f/evil.example",
        "/.//evil.example",
        "/a/..//evil.example",
        "https://hub.example.evil.example/",
        "https://hub.example@evil.example/",
        "javascript:alert(1)",
        "data:text/html,x",
        " //evil.example",
        "evil.example",
        "?x",
        "",
    ];
    for callback in foreign {
        let mut browser = Browser::new(&hub);
        let reply = browser
            .sign_in(PASSWORD, &[("callbackURL", callback)])
            .await;
        assert_eq!(reply.location(), "/sign-in", "{callback:?}");
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("callbackURL", callback)
            .finish();
        let reply = browser.get(&format!("/sign-in?{query}")).await;
        reply.assert_page(200, "You are signed in");
    }
    let mut browser = Browser::new(&hub);
    let form = browser
        .get("/sign-in?callbackURL=%2Fconsent%3Fa%3Db%26c%3Dd")
        .await;
    let callback = form.hidden("callbackURL");
    assert_eq!(callback, "/consent?a=b&c=d");
    let reply = browser
        .sign_in(PASSWORD, &[("callbackURL", &callback)])
        .await;
    assert_eq!(reply.location(), "/consent?a=b&c=d");
    let reply = browser.get("/sign-in?callbackURL=%2Fconsent").await;
    assert_eq!(reply.location(), "/consent");
}

#[tokio::test]
async fn signing_out_asks_first_and_ends_the_session() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::of_ada(&hub).await;
    let cookie = browser.cookie.clone();
    browser.get("/sign-out").await.assert_page(200, "Sign out?");
    browser
        .get("/sign-in")
        .await
        .assert_page(200, "You are signed in");
    let reply = browser.post("/sign-out", &[]).await;
    assert_eq!(reply.location(), "/sign-out");
    assert_eq!(browser.cookie, None);
    browser
        .get("/sign-out")
        .await
        .assert_page(200, "You are signed out");
    browser.cookie = cookie;
    browser
        .get("/sign-in")
        .await
        .assert_page(200, "<h1>Sign in</h1>");
}

#[tokio::test]
async fn sign_up_follows_the_policy() {
    let fields = [
        ("email", "bob@example.com"),
        ("name", ""),
        ("password", PASSWORD),
    ];
    let closed = hub_of_ada().await;
    let mut browser = Browser::new(&closed);
    browser
        .get("/sign-up")
        .await
        .assert_page(403, "Sign-up is closed");
    browser
        .post("/sign-up", &fields)
        .await
        .assert_page(403, "Sign-up is closed");
    assert!(!browser.get("/sign-in").await.text().contains("/sign-up"));

    let invited = empty_hub(|config| config.accounts.sign_up = SignUpPolicy::Invite);
    add_account(&invited, "Ada").await;
    invite(&invited, "come-in").await;
    let mut browser = Browser::new(&invited);
    browser
        .get("/sign-in")
        .await
        .assert_page(200, "href=\"/sign-up\"");
    browser.get("/sign-up").await.assert_page(200, "Invitation");
    browser
        .post("/sign-up", &fields)
        .await
        .assert_page(400, "The link is missing");
    let with = |token| [fields[0], fields[1], fields[2], ("token", token)];
    let refused = browser.post("/sign-up", &with("come-out")).await;
    refused.assert_page(403, "This link is not valid");
    assert!(refused.text().contains("value=\"come-out\""));
    assert_eq!(
        browser.post("/sign-up", &with("come-in")).await.location(),
        "/sign-in"
    );
    browser
        .get("/sign-in")
        .await
        .assert_page(200, "bob@example.com");

    let open = empty_hub(|config| config.accounts.sign_up = SignUpPolicy::Open);
    add_account(&open, "Ada").await;
    let mut browser = Browser::new(&open);
    browser
        .get("/sign-up")
        .await
        .assert_page(200, "I have an invitation");
    let short = [fields[0], fields[1], ("password", "short")];
    let refused = browser.post("/sign-up", &short).await;
    refused.assert_page(400, "The password is too short");
    assert!(
        refused
            .text()
            .contains("aria-describedby=\"password-wrong password-hint\" autofocus")
    );
    assert_eq!(
        browser.post("/sign-up", &fields).await.location(),
        "/sign-in"
    );
    let taken = Browser::new(&open).post("/sign-up", &fields).await;
    taken.assert_page(422, "No account can be made with this address");
}

#[tokio::test]
async fn too_many_attempts_are_told_when_to_come_back() {
    let hub = hub_of_ada().await;
    let attempt = || {
        let body = "email=ada%40example.com&password=wrong";
        let mut request = request("POST", "/sign-in")
            .header("origin", ORIGIN)
            .header("accept", "text/html")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(body))
            .unwrap();
        let address = PeerAddress(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        request.extensions_mut().insert(address);
        hub.send(request)
    };
    let mut reply = attempt().await;
    for _ in 0..100 {
        if reply.status.as_u16() != 401 {
            break;
        }
        reply = attempt().await;
    }
    reply.assert_page(429, "Too many attempts. Try again in ");
    let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds > 0);
    assert!(reply.text().contains("value=\"ada@example.com\""));
}

#[tokio::test]
async fn a_busy_hub_and_a_broken_store_say_so() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::new(&hub);
    hub.passwords.busy.store(true, Ordering::SeqCst);
    let busy = browser.sign_in(PASSWORD, &[]).await;
    busy.assert_page(503, "The hub is busy");
    assert_eq!(busy.header("retry-after"), Some("5"));
    hub.passwords.busy.store(false, Ordering::SeqCst);

    let mut browser = Browser::of_ada(&hub).await;
    hub.store.fail(true);
    let broken = browser.get("/sign-in").await;
    broken.assert_page(503, "The hub is not ready");
    assert_eq!(broken.header("retry-after"), Some("5"));
    // A cookie is not taken away from a session that lives.
    let cookie = browser.cookie.clone();
    assert_eq!(browser.post("/sign-out", &[]).await.status.as_u16(), 503);
    assert_eq!(browser.cookie, cookie);
    // These need no store.
    browser
        .get("/auth/error?error=invalid_client")
        .await
        .assert_page(200, "not known here");
    browser
        .get("/auth/cli-callback?code=abc")
        .await
        .assert_page(200, "abc");
}

#[tokio::test]
async fn forms_of_other_sites_do_nothing() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::new(&hub);
    let fields = [("email", "ada@example.com"), ("password", PASSWORD)];
    for origin in ["https://evil.example", "null"] {
        let reply = browser.post_from(origin, "/sign-in", &fields).await;
        reply.assert_page(403, "This came from another site");
        assert_eq!(browser.cookie, None);
    }
    let mut browser = Browser::of_ada(&hub).await;
    let reply = browser
        .post_from("https://evil.example", "/sign-out", &[])
        .await;
    assert_eq!(reply.status.as_u16(), 403);
    browser
        .get("/sign-in")
        .await
        .assert_page(200, "You are signed in");
}

#[tokio::test]
async fn only_forms_are_taken() {
    let hub = hub_of_ada().await;
    let request = request("POST", "/sign-in")
        .header("origin", ORIGIN)
        .header("content-type", "text/plain")
        .body(Body::from("email=ada%40example.com"))
        .unwrap();
    hub.send(request)
        .await
        .assert_page(400, "This was not understood");
}
