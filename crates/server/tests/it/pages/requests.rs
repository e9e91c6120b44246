//! Pages in the middle of an app's request: signing in for it, its question, its way back.

use super::browser::{Browser, PASSWORD, authorize, empty_hub, hub_of_ada};

const FUJI: &str = "https://fuji.example/cb";
const NOTES: &str = "https://notes.example:8443/cb";
const DESK: &str = "desk-app://auth/callback";

#[tokio::test]
async fn signing_in_leads_back_to_the_app() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::new(&hub);
    let asked = browser.get(&authorize("fuji", FUJI, "")).await;
    let sign_in = asked.location().to_owned();
    assert!(sign_in.starts_with("/sign-in?"), "{sign_in}");
    let form = browser.get(&sign_in).await;
    form.assert_page(200, "to continue to <strong>Fuji</strong>");
    // Browsers hold the redirect after the form against the policy too.
    let policy = form.header("content-security-policy").unwrap();
    assert!(
        policy.contains("form-action 'self' https://fuji.example;"),
        "{policy}"
    );

    let query = form.hidden("oauth_query");
    let wrong = browser.sign_in("wrong", &[("oauth_query", &query)]).await;
    wrong.assert_page(401, "to continue to <strong>Fuji</strong>");
    let query = wrong.hidden("oauth_query");
    let done = browser.sign_in(PASSWORD, &[("oauth_query", &query)]).await;
    assert_eq!(done.status.as_u16(), 303);
    let back = done.location();
    assert!(back.starts_with("https://fuji.example/cb?code="), "{back}");
    assert!(back.contains("state=st-1"));

    // Who is signed in already goes on at once.
    let back = browser.get(&sign_in).await;
    assert!(back.location().starts_with("https://fuji.example/cb?code="));
}

#[tokio::test]
async fn signing_up_leads_back_to_the_app() {
    let hub = hub_of_ada_open().await;
    let mut browser = Browser::new(&hub);
    let sign_in = browser
        .get(&authorize("fuji", FUJI, ""))
        .await
        .location()
        .to_owned();
    let form = browser.get(&sign_in).await;
    let (_, link) = form.text().split_once("href=\"/sign-up?").unwrap();
    let query = link.split_once('"').unwrap().0.replace("&amp;", "&");
    let form = browser.get(&format!("/sign-up?{query}")).await;
    form.assert_page(200, "to continue to <strong>Fuji</strong>");
    let query = form.hidden("oauth_query");
    let fields = [
        ("email", "bob@example.com"),
        ("password", PASSWORD),
        ("oauth_query", query.as_str()),
    ];
    let done = browser.post("/sign-up", &fields).await;
    assert!(done.location().starts_with("https://fuji.example/cb?code="));
}

async fn hub_of_ada_open() -> crate::hub::TestHub {
    let hub = empty_hub(|config| {
        config.accounts.sign_up = epicenter_server::config::SignUpPolicy::Open;
    });
    super::browser::add_account(&hub, "Ada").await;
    hub
}

#[tokio::test]
async fn a_stranger_gets_what_the_person_agrees_to() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::of_ada(&hub).await;
    let path = authorize("notes", NOTES, "&scope=openid+rooms.read+keyring");
    let asked = browser.get(&path).await.location().to_owned();
    assert!(asked.starts_with("/consent?"), "{asked}");
    let page = browser.get(&asked).await;
    page.assert_page(200, "Allow Notes to use your account?");
    for words in [
        "Read your documents",
        "Read your encrypted data",
        "<strong>notes.example:8443</strong>",
        "ada@example.com",
    ] {
        assert!(page.text().contains(words), "{words}");
    }
    assert!(!page.text().contains("Change, create and delete"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.contains("form-action 'self' https://notes.example:8443;"),
        "{policy}"
    );
    let query = page.hidden("oauth_query");

    // A form without a pressed button agrees to nothing.
    for fields in [
        vec![("oauth_query", query.as_str()), ("accept", "false")],
        vec![("oauth_query", query.as_str())],
    ] {
        let denied = browser.post("/consent", &fields).await;
        let back = denied.location();
        assert!(
            back.starts_with("https://notes.example:8443/cb?error=access_denied"),
            "{back}"
        );
    }
    let fields = [("oauth_query", query.as_str()), ("accept", "true")];
    let allowed = browser.post("/consent", &fields).await;
    assert!(
        allowed
            .location()
            .starts_with("https://notes.example:8443/cb?code=")
    );
    // Agreed once, agreed for next time.
    let again = browser.get(&path).await;
    assert!(
        again
            .location()
            .starts_with("https://notes.example:8443/cb?code=")
    );
}

#[tokio::test]
async fn without_scopes_an_app_still_says_that_it_learns_who_somebody_is() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::of_ada(&hub).await;
    let path = authorize("bare", "https://bare.example/cb", "");
    let asked = browser.get(&path).await.location().to_owned();
    let page = browser.get(&asked).await;
    page.assert_page(200, "Know that you have an account here");
}

#[tokio::test]
async fn a_native_app_needs_a_click() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::of_ada(&hub).await;
    let path = authorize("desk", DESK, "");
    let asked = browser.get(&path).await.location().to_owned();
    assert!(asked.starts_with("/continue?"), "{asked}");
    let page = browser.get(&asked).await;
    page.assert_page(200, "Continue as Ada Lovelace");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("form-action 'self' desk-app:;"), "{policy}");
    let query = page.hidden("oauth_query");
    let cancelled = browser.post("/continue", &[("oauth_query", &query)]).await;
    assert!(
        cancelled
            .location()
            .starts_with("desk-app://auth/callback?error=access_denied")
    );
    let fields = [("oauth_query", query.as_str()), ("accept", "true")];
    let done = browser.post("/continue", &fields).await;
    assert!(
        done.location()
            .starts_with("desk-app://auth/callback?code=")
    );
    // The next time it is asked again.
    assert!(
        browser
            .get(&path)
            .await
            .location()
            .starts_with("/continue?")
    );
}

#[tokio::test]
async fn a_question_is_for_who_is_signed_in() {
    let hub = hub_of_ada().await;
    let mut ada = Browser::of_ada(&hub).await;
    let asked = ada
        .get(&authorize("desk", DESK, ""))
        .await
        .location()
        .to_owned();
    let page = ada.get(&asked).await;
    let query = page.hidden("oauth_query");

    let mut nobody = Browser::new(&hub);
    assert!(nobody.get(&asked).await.location().starts_with("/sign-in?"));
    let fields = [("oauth_query", query.as_str()), ("accept", "true")];
    let reply = nobody.post("/continue", &fields).await;
    assert!(reply.location().starts_with("/sign-in?"));
    // A click in a session that was not asked counts for nothing.
    let mut other = Browser::of_ada(&hub).await;
    let reply = other.post("/continue", &fields).await;
    assert!(
        reply.location().starts_with("/continue?"),
        "{}",
        reply.location()
    );
}

#[tokio::test]
async fn another_account_can_answer_the_same_request() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::of_ada(&hub).await;
    let asked = browser
        .get(&authorize("desk", DESK, ""))
        .await
        .location()
        .to_owned();
    let page = browser.get(&asked).await;
    let query = page.hidden("oauth_query");
    let fields = [("oauth_query", query.as_str()), ("next", "sign-in")];
    let reply = browser.post("/sign-out", &fields).await;
    let sign_in = reply.location().to_owned();
    assert!(sign_in.starts_with("/sign-in?"), "{sign_in}");
    assert_eq!(browser.cookie, None);
    let form = browser.get(&sign_in).await;
    form.assert_page(200, "to continue to <strong>Desk</strong>");
    let query = form.hidden("oauth_query");
    let done = browser.sign_in(PASSWORD, &[("oauth_query", &query)]).await;
    assert!(
        done.location().starts_with("/continue?"),
        "{}",
        done.location()
    );
}

#[tokio::test]
async fn a_request_for_a_fresh_sign_in_asks_once() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::of_ada(&hub).await;
    hub.clock.advance(5_000);
    let asked = browser.get(&authorize("fuji", FUJI, "&prompt=login")).await;
    let sign_in = asked.location().to_owned();
    let form = browser.get(&sign_in).await;
    form.assert_page(200, "<h1>Sign in</h1>");
    let query = form.hidden("oauth_query");
    let done = browser.sign_in(PASSWORD, &[("oauth_query", &query)]).await;
    assert!(
        done.location().starts_with("https://fuji.example/cb?code="),
        "{}",
        done.location()
    );
}

#[tokio::test]
async fn a_request_that_was_changed_or_is_old_leads_nowhere() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::new(&hub);
    let asked = browser
        .get(&authorize("notes", NOTES, "&scope=openid"))
        .await;
    let (_, query) = asked.location().split_once('?').unwrap();
    let query = query.to_owned();
    let changed = query.replace("scope=openid", "scope=openid+keyring");
    assert_ne!(changed, query);
    for (path, query) in [
        ("/sign-in", &changed),
        ("/consent", &changed),
        ("/continue", &changed),
    ] {
        let page = browser.get(&format!("{path}?{query}")).await;
        page.assert_page(400, "This sign-in took too long");
    }
    let reply = browser
        .sign_in(PASSWORD, &[("oauth_query", &changed)])
        .await;
    reply.assert_page(400, "This sign-in took too long");
    assert_eq!(browser.cookie, None);
    // Without a signature it is no question of ours.
    let mut ada = Browser::of_ada(&hub).await;
    let unsigned = authorize("notes", NOTES, "")
        .split_once('?')
        .unwrap()
        .1
        .to_owned();
    let page = ada.get(&format!("/consent?{unsigned}")).await;
    assert_eq!(page.status.as_u16(), 400);
    let fields = [("oauth_query", unsigned.as_str()), ("accept", "true")];
    assert_eq!(ada.post("/consent", &fields).await.status.as_u16(), 400);

    hub.clock.advance(601_000);
    let page = browser.get(&format!("/sign-in?{query}")).await;
    page.assert_page(400, "This sign-in took too long");
}

#[tokio::test]
async fn names_of_apps_are_text() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::new(&hub);
    let path = authorize("evil", "https://evil.example/cb", "&scope=openid");
    let sign_in = browser.get(&path).await.location().to_owned();
    let page = browser.get(&sign_in).await;
    page.assert_page(200, "&lt;script&gt;alert(1)&lt;/script&gt;");
    assert!(!page.text().contains("<script>alert"));
    let mut ada = Browser::of_ada(&hub).await;
    let consent = ada.get(&path).await.location().to_owned();
    let page = ada.get(&consent).await;
    page.assert_page(200, "&lt;script&gt;alert(1)&lt;/script&gt;");
    assert!(!page.text().contains("<script>alert"));
}
