//! Several hubs on one database: one identity, and rooms at one of them.

use std::time::{Duration, Instant};

use epicenter_native::config::{HostConfig, PublicOrigin, SecretText};
use epicenter_native::lease::LeaseTimes;
use epicenter_testkit::{
    DEADLINE, HttpRequest, PASSWORD, PostgresCluster, Received, TestHub, TestSocket, TestUser,
    Typist, soon,
};
use serde_json::Value;

/// Nobody listens there; the hubs behind it are reached by their own addresses on the loopback interface.
const ORIGIN: &str = "http://127.0.0.1:8787";
const CALLBACK: &str = "http://127.0.0.1/callback";
/// The pair of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// `identity.md` 3 and some time for the socket.
const REVOCATION_REACHES: Duration = Duration::from_secs(1);

/// Far longer than any test: no hub loses the lease to a busy minute, and who takes it from another need not wait for its
/// end.
const TIMES: LeaseTimes = LeaseTimes {
    life: Duration::from_secs(600),
    renew_every: Duration::from_millis(500),
    margin: Duration::from_secs(1),
    look_every: Duration::from_millis(50),
};

/// Of a hub that is killed: its end is waited for.
const SHORT_LIFE: Duration = Duration::from_secs(10);

pub(crate) fn secret_text(text: &str) -> SecretText {
    SecretText(text.to_owned().into())
}

/// A process of the hub whose database is at this URL.
pub(crate) fn configure(config: &mut HostConfig, url: &str) {
    config.database_url = Some(secret_text(url));
    config.auth_secret = Some(secret_text("the auth secret that all the processes share"));
    let encryption = "1:the encryption secret that all the processes share";
    config.encryption_secrets = Some(secret_text(encryption));
    config.public_origin = Some(PublicOrigin::parse(ORIGIN).expect("an origin"));
    config.lease = TIMES;
}

pub(crate) async fn start(url: &str) -> TestHub {
    TestHub::start_with(|config| configure(config, url)).await
}

async fn list_rooms(hub: &TestHub, user: &TestUser) -> (u16, Value) {
    let path = format!("/api/owners/{}/rooms", user.owner);
    let request = HttpRequest::new("GET", path).bearer(&user.token);
    let answer = request.send(hub.address()).await;
    (answer.status, answer.json())
}

/// Waits until this hub serves rooms.
pub(crate) async fn until_it_serves(hub: &TestHub, user: &TestUser) {
    let begun = Instant::now();
    while list_rooms(hub, user).await.0 != 200 {
        assert!(
            begun.elapsed() < DEADLINE,
            "{:?}",
            list_rooms(hub, user).await
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A socket that the room has greeted.
async fn join(hub: &TestHub, user: &TestUser) -> TestSocket {
    let mut socket = hub.open(user, "notes", "laptop").await;
    let is_presence = |received: &Received| matches!(received, Received::Json(_)).then_some(());
    socket.next_where(is_presence).await;
    socket
}

async fn sign_in(hub: &TestHub, email: &str) -> String {
    let body = format!(r#"{{"email":"{email}","password":"{PASSWORD}"}}"#);
    let answer = HttpRequest::new("POST", "/auth/sign-in/email")
        .header("Content-Type", "application/json")
        .header("Origin", ORIGIN)
        .body(body)
        .send(hub.address())
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let cookie = answer.header("set-cookie").expect("a cookie");
    cookie.split(';').next().expect("a value").to_owned()
}

async fn authorize(hub: &TestHub, cookie: &str) -> String {
    let path = format!(
        "/auth/oauth2/authorize?response_type=code&client_id=epicenter-cli&redirect_uri={CALLBACK}\
         &scope=openid%20offline_access&state=s&code_challenge={CHALLENGE}&code_challenge_method=S256"
    );
    let request = HttpRequest::new("GET", path).header("Cookie", cookie);
    let answer = request.send(hub.address()).await;
    let location = answer.header("location").expect("a redirect");
    let (_, rest) = location.split_once("code=").expect("a code");
    rest.split('&').next().expect("a value").to_owned()
}

async fn ask_for_tokens(hub: &TestHub, form: String) -> Value {
    let answer = HttpRequest::new("POST", "/auth/oauth2/token")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(form)
        .send(hub.address())
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

async fn redeem(hub: &TestHub, code: &str) -> Value {
    let form = format!(
        "grant_type=authorization_code&client_id=epicenter-cli&code={code}&redirect_uri={CALLBACK}&code_verifier={VERIFIER}"
    );
    ask_for_tokens(hub, form).await
}

async fn refresh(hub: &TestHub, tokens: &Value) -> Value {
    let token = tokens["refresh_token"].as_str().expect("a refresh token");
    let form = format!("grant_type=refresh_token&client_id=epicenter-cli&refresh_token={token}");
    ask_for_tokens(hub, form).await
}

async fn status_of(hub: &TestHub, tokens: &Value) -> u16 {
    let token = tokens["access_token"].as_str().expect("an access token");
    let request = HttpRequest::new("GET", "/api/session").bearer(token);
    request.send(hub.address()).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_one_process_gives_the_other_takes() {
    let cluster = PostgresCluster::shared();
    let url = cluster.migrated_database().await;
    let (one, two) = tokio::join!(start(&url), start(&url));
    let ada = one.user("ada@example.org").await;
    let there = HttpRequest::new("GET", "/api/session").bearer(&ada.token);
    assert_eq!(there.send(two.address()).await.status, 200);

    let cookie = sign_in(&one, &ada.email).await;
    let session = HttpRequest::new("GET", "/api/session").header("Cookie", &cookie);
    assert_eq!(session.send(two.address()).await.status, 200);
    let code = authorize(&two, &cookie).await;
    let mut tokens = redeem(&one, &code).await;
    assert_eq!(status_of(&two, &tokens).await, 200);

    // Tabs of one app that refresh at once, as a balancer spreads them: all stay signed in, with the same tokens.
    for _ in 0..5 {
        let answers = tokio::join!(
            refresh(&one, &tokens),
            refresh(&two, &tokens),
            refresh(&one, &tokens),
            refresh(&two, &tokens)
        );
        assert_eq!(answers.0, answers.1);
        assert_eq!(answers.0, answers.2);
        assert_eq!(answers.0, answers.3);
        tokens = answers.0;
        assert_eq!(status_of(&one, &tokens).await, 200);
        assert_eq!(status_of(&two, &tokens).await, 200);
    }
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_process_serves_rooms_and_the_next_when_it_ends() {
    let cluster = PostgresCluster::shared();
    let url = cluster.migrated_database().await;
    let one = start(&url).await;
    let ada = one.user("ada@example.org").await;
    assert_eq!(list_rooms(&one, &ada).await.0, 200);
    let two = TestHub::start_with(|config| {
        configure(config, &url);
        config.lease.life = SHORT_LIFE;
    });
    let two = two.await;
    let (status, body) = list_rooms(&two, &ada).await;
    assert_eq!((status, &body["error"]["name"]), (421, &"WrongHub".into()));
    assert_eq!(body["error"]["url"], format!("http://{}", one.address()));
    let mut refused = two.open(&ada, "notes", "laptop").await;
    let closed = refused.next().await;
    assert!(matches!(closed, Received::Closed(..)), "{closed:?}");

    let mut socket = join(&one, &ada).await;
    one.stop().await;
    assert_eq!(socket.closed().await.0, 1001);
    // It was given up: nobody could wait for its end.
    until_it_serves(&two, &ada).await;
    drop(join(&two, &ada).await);

    let three = start(&url).await;
    assert_eq!(list_rooms(&three, &ada).await.0, 421);
    // A process that is killed gives nothing up; its lease runs out.
    drop(two);
    until_it_serves(&three, &ada).await;
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_loses_the_lease_closes_its_sockets_and_may_serve_again() {
    let cluster = PostgresCluster::shared();
    let url = cluster.migrated_database().await;
    let hub = start(&url).await;
    let ada = hub.user("ada@example.org").await;
    let mut typist = Typist::new(7);
    let mut writer = join(&hub, &ada).await;
    let mut reader = hub.open(&ada, "notes", "phone").await;
    writer.send_update(&typist.types("kept")).await;
    reader.next_update().await;

    let database = url.rsplit('/').next().expect("a database");
    let taken = "UPDATE leases SET holder = 'another', url = 'https://another.example', epoch = epoch + 1, expires_at = expires_at + 600000";
    cluster.sql(database, taken);
    assert_eq!(writer.closed().await.0, 1013);
    assert_eq!(reader.closed().await.0, 1013);
    let named = async {
        loop {
            let (status, body) = list_rooms(&hub, &ada).await;
            if status == 421 {
                return body["error"]["url"].clone();
            }
            // Nobody is known for a moment.
            assert_eq!(status, 503, "{body}");
        }
    };
    assert_eq!(
        soon("the other's name", named).await,
        "https://another.example"
    );

    cluster.sql(database, "UPDATE leases SET expires_at = 0");
    until_it_serves(&hub, &ada).await;
    let mut late = join(&hub, &ada).await;
    // An empty state vector asks for everything.
    late.send_step1(&[0]).await;
    let update = late.next_update().await;
    assert!(
        update.windows(4).any(|bytes| bytes == b"kept"),
        "{update:?}"
    );
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_ends_at_one_process_closes_sockets_at_the_other() {
    let cluster = PostgresCluster::shared();
    let url = cluster.migrated_database().await;
    let serving = start(&url).await;
    let other = start(&url).await;
    let ada = serving.user("ada@example.org").await;
    let bob = serving.user("bob@example.org").await;
    let mut adas = join(&serving, &ada).await;
    let mut bobs = join(&serving, &bob).await;

    let form = format!("client_id=epicenter-cli&token={}", ada.token);
    let answer = HttpRequest::new("POST", "/auth/oauth2/revoke")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(form)
        .send(other.address())
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let begun = Instant::now();
    assert_eq!(adas.closed().await.0, 4401);
    assert!(
        begun.elapsed() < REVOCATION_REACHES,
        "{:?}",
        begun.elapsed()
    );
    for hub in [&serving, &other] {
        let session = HttpRequest::new("GET", "/api/session").bearer(&ada.token);
        assert_eq!(session.send(hub.address()).await.status, 401);
    }

    other.administer(|administrator| {
        let disabled = administrator.set_enabled(&bob.email, false);
        disabled.expect("the account is disabled");
    });
    let begun = Instant::now();
    assert_eq!(bobs.closed().await.0, 4401);
    assert!(
        begun.elapsed() < REVOCATION_REACHES,
        "{:?}",
        begun.elapsed()
    );
    serving.stop().await;
    other.stop().await;
}
