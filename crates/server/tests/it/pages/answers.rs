//! Pages that show what links say: the command line's code, and errors.

use super::browser::{Browser, hub_of_ada};

#[tokio::test]
async fn the_code_is_shown_with_what_to_do_with_it() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::new(&hub);
    let page = browser
        .get("/auth/cli-callback?code=abc-DEF_123&state=the-state&iss=https%3A%2F%2Fhub.example%2Fauth")
        .await;
    page.assert_page(200, ">abc-DEF_123<");
    assert!(page.text().contains("<strong>hub.example</strong>"));
    assert!(
        page.text()
            .contains("Give this code only to that terminal.")
    );
    assert!(!page.text().contains("the-state"));
    assert_eq!(page.header("cache-control"), Some("no-store, no-transform"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
}

#[tokio::test]
async fn a_code_is_text_and_not_a_sentence() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::new(&hub);
    let page = browser
        .get("/auth/cli-callback?code=%3Cscript%3Ealert(1)%3C%2Fscript%3E")
        .await;
    page.assert_page(200, "&lt;script&gt;alert(1)&lt;/script&gt;");
    assert!(!page.text().contains("<script>alert"));
    let long = "a".repeat(257);
    for code in [
        "",
        "call+us+now",
        "call%20us",
        "%C3%A4",
        "%FF",
        "a%0Ab",
        &long,
    ] {
        let page = browser
            .get(&format!("/auth/cli-callback?code={code}"))
            .await;
        page.assert_page(400, "There is no code here");
        assert!(!page.text().contains("call us"));
    }
    browser
        .get("/auth/cli-callback")
        .await
        .assert_page(400, "There is no code here");
}

#[tokio::test]
async fn the_command_line_is_told_why_there_is_no_code() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::new(&hub);
    for (error, says) in [
        ("access_denied", "You declined"),
        ("login_required", "A click was needed"),
        ("server_error", "The hub is not ready"),
        ("%3Cb%3Ebogus", "The sign-in did not work"),
    ] {
        let path =
            format!("/auth/cli-callback?error={error}&error_description=Call+0800+EVIL&code=abc");
        let page = browser.get(&path).await;
        page.assert_page(200, says);
        assert!(!page.text().contains("EVIL"));
        assert!(!page.text().contains("bogus"));
        assert!(!page.text().contains("abc"));
    }
}

#[tokio::test]
async fn errors_are_explained_in_words_of_ours() {
    let hub = hub_of_ada().await;
    let mut browser = Browser::new(&hub);
    for (error, says) in [
        ("invalid_client", "This app is not known here"),
        ("invalid_redirect", "This app gave a wrong address"),
        ("invalid_request", "request is not complete"),
        ("expired_request", "This sign-in took too long"),
        ("access_denied", "You declined"),
        ("bogus%3Cscript%3E", "Something went wrong"),
        ("", "Something went wrong"),
    ] {
        let path = format!("/auth/error?error={error}&error_description=%3Cscript%3EEVIL");
        let page = browser.get(&path).await;
        page.assert_page(200, says);
        assert!(!page.text().contains("EVIL"));
        assert!(!page.text().contains("bogus"));
    }
}
