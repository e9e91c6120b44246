//! Sections with rules of their own: sign-in, clients, origins, the database, metrics.

use super::*;

#[test]
fn sign_in_and_the_authorization_server_are_configured() {
    let config = Place::new(
        r#"
        trusted_origins = ["https://app.example", "chrome-extension://abc"]
        trusted_proxies = ["127.0.0.1", "10.0.0.0/8"]
        proxy_header = "forwarded"
        [sign_in]
        password = false
        session_lifetime = "1d"
        recent = "5m"
        [sign_up]
        policy = "invite"
        [oauth]
        first_party_apps = true
        access_token_lifetime = "1m"
        grant_lifetime = "40d"
        [rate_limits]
        enabled = false
        token = 7
        [[oauth.clients]]
        id = "notes"
        type = "web"
        redirect_uris = ["https://notes.example/callback", "http://127.0.0.1/callback", "com.example:/callback"]
        secret_sha256 = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff"
        default_scopes = ["openid", "email"]
        "#,
    )
    .config();
    assert_eq!(
        config.trusted_origins,
        ["https://app.example", "chrome-extension://abc"]
    );
    let networks = &config.trusted_proxies.networks;
    let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["127.0.0.1/32", "10.0.0.0/8"]);
    assert_eq!(config.trusted_proxies.header, ProxyHeader::Forwarded);
    assert_eq!(config.accounts.sign_up, SignUpPolicy::Invite);
    assert!(!config.accounts.password && config.first_party_apps);
    assert_eq!(config.accounts.session_ms, 86_400_000);
    assert_eq!(config.accounts.recent_sign_in_ms, 300_000);
    assert_eq!(config.oauth.access_token_ms, 60_000);
    assert_eq!(config.oauth.grant_ms, 40 * 86_400_000);
    assert!(!config.rate_limits.enabled);
    assert_eq!(config.rate_limits.token.count, 7);
    let [client] = &config.oauth.clients[..] else {
        panic!("{:?}", config.oauth.clients);
    };
    assert_eq!(
        (client.id.as_str(), client.name.as_str()),
        ("notes", "notes")
    );
    assert_eq!(client.redirect_uris.len(), 3);
    assert!(!client.trusted);
    let secret = client.secret.expect("a secret");
    assert_eq!((secret.as_bytes()[1], secret.as_bytes()[31]), (1, 0xff));
    let scopes: Vec<_> = client.default_scopes.iter().collect();
    assert_eq!(scopes, [Scope::OpenId, Scope::Email]);
}

#[test]
fn a_wrong_client_is_named_with_its_field() {
    #[track_caller]
    fn check(lines: &str, expect: &str) {
        let file = format!("[[oauth.clients]]\nid = \"notes\"\n{lines}\n");
        let complaint = Place::new(&file).complaint();
        assert!(complaint.contains(expect), "{complaint}");
        assert!(!complaint.contains(WEAK), "{complaint}");
    }
    const GOOD: &str = "type = \"web\"\nredirect_uris = [\"https://a.example/cb\"]";
    check("redirect_uris = []", "client \"notes\": `type` is missing");
    check(
        "type = \"web\"",
        "client \"notes\": `redirect_uris` is missing",
    );
    check(
        &format!("{GOOD}\nredirect_url = \"x\""),
        "unknown key `oauth.clients.redirect_url`",
    );
    check(
        &format!("{GOOD}\ntrusted = \"yes\""),
        "`trusted` is neither",
    );
    check(
        &format!("{GOOD}\nsecret_sha256 = \"{WEAK}\""),
        "`secret_sha256` is no SHA-256",
    );
    check(
        &format!("{GOOD}\ndefault_scopes = [\"all\"]"),
        "`default_scopes` holds \"all\"",
    );
    for uri in [
        "http://a.example/cb",
        "https://a.example/cb#x",
        "https://*.example/cb",
        "https://u@a.example/cb",
        "javascript:alert(1)",
        "data:text/html,x",
        "https:///cb",
        "/cb",
        "http://localhost.evil.example/cb",
    ] {
        let lines = format!("type = \"web\"\nredirect_uris = [\"{uri}\"]");
        check(&lines, "`redirect_uris` holds");
    }
    let native = GOOD.replace("web", "native");
    let secret = "0".repeat(64);
    check(
        &format!("{native}\nsecret_sha256 = \"{secret}\""),
        "`secret_sha256` is for web clients",
    );
    check(
        &format!("{GOOD}\n[[oauth.clients]]\nid = \"notes\"\n{GOOD}"),
        "`id` is taken",
    );
    check(
        &format!("{GOOD}\n[[oauth.clients]]\nid = \"epicenter-cli\"\n{GOOD}"),
        "`id` is taken",
    );
}

#[test]
fn origins_and_proxies_are_checked() {
    for origin in [
        "null",
        "*",
        "https://*.example",
        "https://a.example/",
        "https://A.example",
        "a.example",
        "",
    ] {
        let complaint = Place::new(&format!("trusted_origins = [\"{origin}\"]")).complaint();
        assert!(complaint.contains("`trusted_origins`"), "{complaint}");
    }
    for proxy in ["10.0.0.0/33", "proxy.example"] {
        let complaint = Place::new(&format!("trusted_proxies = [\"{proxy}\"]")).complaint();
        assert!(complaint.contains("`trusted_proxies`"), "{complaint}");
    }
    let complaint = Place::new("[oauth]\ngrant_lifetime = \"1d\"").complaint();
    assert!(complaint.contains("`oauth.grant_lifetime`"), "{complaint}");
}

#[test]
fn the_database_is_a_secret() {
    const URL: &str = "postgres://hub:hunter2@db.example/hub";
    let place = Place::new("").with("DATABASE_URL", URL);
    let loaded = place.load().expect("a configuration");
    let database = loaded.config.database_url.as_ref().expect("a database");
    assert_eq!(database.expose(), URL);
    let shown = format!("{}{:?}", render(&loaded), loaded);
    assert!(
        shown.contains("DATABASE_URL: ********") && !shown.contains("hunter2"),
        "{shown}"
    );
    let complaint = Place::new("")
        .with("DATABASE_URL", "mysql://hunter2")
        .complaint();
    assert!(
        complaint.contains("DATABASE_URL") && !complaint.contains("hunter2"),
        "{complaint}"
    );
    let complaint = Place::new("database_url = \"x\"").complaint();
    assert!(
        complaint.contains("secrets are not read from this file"),
        "{complaint}"
    );
}

#[test]
fn an_address_for_metrics_that_is_set_must_be_had() {
    let default = "127.0.0.1:8788".parse().expect("an address");
    let place = Place::new("");
    assert_eq!(place.config().admin.listen, AdminListen::IfFree(default));
    let set = Place::new("[admin]\nlisten = \"127.0.0.1:8788\"");
    assert_eq!(set.config().admin.listen, AdminListen::At(default));
    let off = Place::new("[admin]\nlisten = \"off\"");
    assert_eq!(off.config().admin.listen, AdminListen::Off);
    let off = Place::new("").with("EPICENTER_ADMIN_LISTEN", "off");
    assert_eq!(off.config().admin.listen, AdminListen::Off);
    let wrong = Place::new("[admin]\nlisten = \"no\"").load();
    assert!(wrong.is_err_and(|error| error.hint().contains("or off")));
}

#[test]
fn names_for_metrics_have_no_port_and_no_scheme() {
    let place = Place::new("[admin]\nhosts = [\"hub\", \"Hub.internal\"]");
    assert_eq!(place.config().admin.hosts, ["hub", "Hub.internal"]);
    for host in ["hub:8788", "http://hub", "hub/metrics", "*"] {
        let place = Place::new(&format!("[admin]\nhosts = [\"{host}\"]"));
        assert!(place.load().is_err(), "{host}");
    }
}
