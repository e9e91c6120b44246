//! What holds for every page.

use super::browser::{Browser, authorize, empty_hub, hub_of_ada};
use crate::hub::Reply;

async fn all_pages() -> Vec<(String, Reply)> {
    let empty = empty_hub(|_| {});
    let hub = hub_of_ada().await;
    let mut pages = Vec::new();
    let mut nobody = Browser::new(&empty);
    for path in ["/setup", "/sign-in"] {
        pages.push((format!("empty {path}"), nobody.get(path).await));
    }
    let mut browser = Browser::new(&hub);
    for path in [
        "/sign-in",
        "/sign-up",
        "/setup",
        "/sign-out",
        "/auth/error",
        "/auth/cli-callback?code=abc",
    ] {
        pages.push((path.to_owned(), browser.get(path).await));
    }
    pages.push(("wrong".to_owned(), browser.sign_in("wrong", &[]).await));
    let foreign = browser.post_from("https://evil.example", "/sign-in", &[]);
    pages.push(("foreign".to_owned(), foreign.await));
    let mut ada = Browser::of_ada(&hub).await;
    for path in ["/sign-in", "/sign-out"] {
        pages.push((format!("signed in {path}"), ada.get(path).await));
    }
    for path in [
        authorize("notes", "https://notes.example:8443/cb", ""),
        authorize("desk", "desk-app://auth/callback", ""),
    ] {
        let asked = ada.get(&path).await.location().to_owned();
        pages.push((asked.clone(), ada.get(&asked).await));
    }
    pages
}

#[tokio::test]
async fn every_page_keeps_to_its_policy() {
    for (path, page) in all_pages().await {
        let policy = page.header("content-security-policy").expect(&path);
        for rule in [
            "default-src 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        let (_, rest) = policy.split_once("style-src 'nonce-").unwrap();
        let nonce = rest.split_once('\'').unwrap().0;
        assert!(nonce.len() >= 22);
        let text = page.text();
        let own = format!(" nonce=\"{nonce}\">");
        let scripts = text.matches("<script").count();
        let styles = text.matches("<style").count();
        assert_eq!(styles, 1);
        assert_eq!(text.matches(&own).count(), scripts + styles, "{path}");
        // Neither attributes that a policy with a nonce refuses, nor anything that is loaded.
        for refused in [
            " style=",
            " onclick=",
            " onload=",
            " src=",
            "<img",
            "@import",
            "url(",
        ] {
            assert!(!text.contains(refused), "{path}: {refused}");
        }
        assert_eq!(page.header("x-frame-options"), Some("DENY"));
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert!(
            page.header("cache-control")
                .unwrap()
                .starts_with("no-store")
        );
    }
}

#[tokio::test]
async fn every_page_has_a_heading_a_title_and_a_footer() {
    for (path, page) in all_pages().await {
        let text = page.text();
        assert!(
            text.starts_with("<!DOCTYPE html><html lang=\"en\">"),
            "{path}"
        );
        for once in ["<h1>", "<title>", "<main>", "<footer>"] {
            assert_eq!(text.matches(once).count(), 1, "{path}: {once}");
        }
        for part in [
            "Epicenter 0.1.0",
            "AGPL-3.0-or-later",
            "https://source.example",
        ] {
            assert!(text.contains(part), "{path}: {part}");
        }
    }
}

#[tokio::test]
async fn every_input_has_a_label_and_every_id_is_there_once() {
    for (path, page) in all_pages().await {
        let text = page.text();
        for input in text.split("<input ").skip(1) {
            let input = input.split_once('>').unwrap().0;
            if input.contains("type=\"hidden\"") || input.contains("type=\"checkbox\"") {
                continue;
            }
            let (_, id) = input.split_once("id=\"").expect(&path);
            let id = id.split_once('"').unwrap().0;
            assert!(
                text.contains(&format!("<label for=\"{id}\">")),
                "{path}: {id}"
            );
        }
        for id in text.split(" id=\"").skip(1) {
            let id = id.split_once('"').unwrap().0;
            assert_eq!(
                text.matches(&format!(" id=\"{id}\"")).count(),
                1,
                "{path}: {id}"
            );
        }
        for described in text.split("aria-describedby=\"").skip(1) {
            for id in described.split_once('"').unwrap().0.split(' ') {
                assert!(text.contains(&format!(" id=\"{id}\"")), "{path}: {id}");
            }
        }
        assert!(text.matches(" autofocus").count() <= 1, "{path}");
    }
}
