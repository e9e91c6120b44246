//! Calls of a hub's API: where a token goes, and when.

use epicenter_device::{CallError, Caller, HubFailure};
use zeroize::Zeroizing;

use crate::network::{FRESH, Machine, is_signed_in, run, signed_in};
use crate::stand_in::{StandIn, nobody};

const SESSION: (&str, &str) = (
    "200 OK",
    r#"{"user":{"id":"u1","email":"ada@example.org"},"ownerId":"u1","keyring":[]}"#,
);
const TOKENS: (&str, &str) = (
    "200 OK",
    r#"{"access_token":"n3w","refresh_token":"n3wer","expires_in":3600,"token_type":"Bearer"}"#,
);
const UNAUTHORIZED: (&str, &str) = ("401 Unauthorized", "");
const STREAM: (&str, &str) = (
    "200 OK\r\nContent-Type: text/event-stream",
    "data: [DONE]\n\n",
);

fn ask(caller: &mut Caller) -> Result<Vec<u8>, CallError> {
    run(async {
        let body = Zeroizing::new(b"{}".to_vec());
        let mut answer = caller.post_stream("/api/ai/chat", &body).await?;
        assert_eq!(answer.status(), 200);
        let mut bytes = Vec::new();
        while let Some(piece) = answer.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    })
}

fn paths(hub: &StandIn) -> Vec<String> {
    let path = |text: String| text.split(' ').nth(1).unwrap_or_default().to_owned();
    hub.heard().into_iter().map(path).collect()
}

fn caller(machine: &Machine) -> Caller {
    Caller::new(machine.auth.clone())
}

#[test]
fn a_token_is_confirmed_before_it_is_sent_and_then_stays_so() {
    let hub = StandIn::playing(&[SESSION, STREAM]);
    let machine = signed_in(hub.address, FRESH);
    let mut caller = caller(&machine);
    assert_eq!(ask(&mut caller).expect("an answer"), b"data: [DONE]\n\n");
    ask(&mut caller).expect("an answer");
    assert_eq!(
        paths(&hub),
        ["/api/session", "/api/ai/chat", "/api/ai/chat"]
    );
    let chat = hub.heard().swap_remove(1).to_ascii_lowercase();
    assert!(
        chat.contains("\r\nauthorization: bearer acc3ss\r\n"),
        "{chat}"
    );
}

#[test]
fn a_401_is_answered_with_one_refresh_and_one_retry() {
    let hub = StandIn::playing(&[SESSION, UNAUTHORIZED, TOKENS, SESSION, STREAM]);
    let machine = signed_in(hub.address, FRESH);
    ask(&mut caller(&machine)).expect("an answer");
    let expect = [
        "/api/session",
        "/api/ai/chat",
        "/auth/oauth2/token",
        "/api/session",
        "/api/ai/chat",
    ];
    assert_eq!(paths(&hub), expect);
    let again = hub.heard().swap_remove(4).to_ascii_lowercase();
    assert!(again.contains("bearer n3w\r\n"), "{again}");

    // The second 401 is the hub's judgement.
    let hub = StandIn::playing(&[SESSION, UNAUTHORIZED, TOKENS, SESSION, UNAUTHORIZED]);
    let machine = signed_in(hub.address, FRESH);
    let refused = ask(&mut caller(&machine));
    assert!(matches!(refused, Err(CallError::Refused)), "{refused:?}");
    assert_eq!(hub.requests(), 5);
    assert!(is_signed_in(&machine), "local data can still be opened");
}

#[test]
fn a_sign_out_ends_calls_at_once() {
    let hub = StandIn::playing(&[SESSION, STREAM]);
    let machine = signed_in(hub.address, FRESH);
    let mut caller = caller(&machine);
    ask(&mut caller).expect("an answer");
    machine.auth.file().remove().expect("it is removed");
    let asked = ask(&mut caller);
    assert!(matches!(asked, Err(CallError::SignedOut)), "{asked:?}");
    assert_eq!(hub.requests(), 2, "nothing was sent");
}

#[test]
fn what_is_no_judgement_sends_no_token() {
    let hub = StandIn::answering("503 Unavailable", "");
    let machine = signed_in(hub.address, FRESH);
    let asked = ask(&mut caller(&machine));
    let is_away = matches!(asked, Err(CallError::Hub(HubFailure::Unavailable { .. })));
    assert!(is_away, "{asked:?}");
    assert_eq!(paths(&hub), ["/api/session"]);

    let machine = signed_in(nobody(), FRESH);
    let asked = ask(&mut caller(&machine));
    assert!(matches!(asked, Err(CallError::Hub(_))), "{asked:?}");
    assert!(is_signed_in(&machine));
}
