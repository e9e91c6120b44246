//! What calls cost: reserved before, then paid or released once, however a call ends.

use std::sync::atomic::Ordering;

use epicenter_server::ai::catalog::{Credits, Model, Price};
use epicenter_server::ai::settings::AiTimes;
use epicenter_server::ai::store::Outcome;
use serde_json::{Value, json};

use super::provider::{End, Piece, Script};
use super::world::{Billing, World, events, text};

/// An answer of an OpenAI-compatible server.
pub(super) const GOOD: &str = concat!(
    "data: {\"model\":\"m-1\",\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"lo\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,\"total_tokens\":9}}\n\n",
    "data: [DONE]\n\n",
);

pub(super) fn good() -> Script {
    Script::stream(GOOD.as_bytes(), 50, End::Close)
}

pub(super) fn ask(provider: &str, model: &str) -> Value {
    json!({
        "messages": [{ "role": "user", "content": "Say hi" }],
        "data": { "provider": provider, "model": model },
    })
}

fn world() -> World {
    World::build(Billing::TenCredits, |config| {
        config.ai.max_streams = 100;
    })
}

#[test]
fn a_good_answer_is_paid_once_and_leaves_a_row() {
    let world = world();
    let reply = world.play([good()], &ask("local", "small"));
    let (_, is_done) = events(text(&reply));
    assert!(is_done);
    assert_eq!(world.ledger.account("ada"), (8_000, 0));
    let rows = world.rows();
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!(row.user.as_str(), "ada");
    assert_eq!(
        (row.provider.as_str(), row.model.as_str()),
        ("local", "small")
    );
    assert_eq!((row.input_tokens, row.output_tokens), (7, 2));
    assert_eq!(row.credits, Credits::whole(2));
    assert_eq!((row.outcome, row.own_key), (Outcome::Completed, false));
    assert_eq!(row.error_code, None);
    assert!(row.first_byte_ms.is_some());
}

#[test]
fn credits_run_out_and_dear_calls_need_more_than_the_first_credits() {
    let world = world();
    let reply = world.chat(&ask("local", "large"));
    reply.assert_error(403, "ModelRequiresPaidPlan");
    let error = &reply.json()["error"];
    assert_eq!(
        (&error["model"], &error["credits"]),
        (&json!("large"), &json!(3))
    );
    world.ledger.pay("ada");
    assert_eq!(world.play([good()], &ask("local", "large")).status, 200);
    for _ in 0..3 {
        assert_eq!(world.play([good()], &ask("local", "small")).status, 200);
    }
    let reply = world.chat(&ask("local", "small"));
    reply.assert_error(402, "InsufficientCredits");
    assert_eq!(reply.json()["error"]["balance"], json!(1));
    assert_eq!(world.ledger.account("ada"), (1_000, 0));
    // What was refused for want of credits asked no provider and left no row.
    assert_eq!((world.provider.asked().len(), world.rows().len()), (4, 4));
}

#[test]
fn tokens_cost_what_the_provider_counts() {
    let world = world();
    let body = super::vectors::scenarios("openai-text-single").remove("openai-text-single");
    let body = body.unwrap();
    let scripts = Script::of_vector(&body["upstream"], 100);
    assert_eq!(world.play(scripts, &body["request"]).status, 200);
    // 12 tokens at 15 credits a million and 5 at 60, rounded up.
    assert_eq!(world.ledger.account("ada"), (9_999, 0));
    assert_eq!(world.rows()[0].credits, Credits::thousandths(1));
}

#[test]
fn a_failure_before_the_answer_is_released() {
    let world = world();
    let refused = Script::error(
        400,
        &[],
        "{\"error\":{\"message\":\"no\",\"code\":\"bad\"}}",
    );
    world
        .play([refused], &ask("local", "small"))
        .assert_error(400, "InvalidRequest");
    assert_eq!(world.ledger.account("ada"), (10_000, 0));
    // A stream that breaks off before the model said anything costs nothing either.
    let empty = Script::stream(b": hello\n\n", 100, End::Close);
    let reply = world.play([empty], &ask("local", "small"));
    assert!(text(&reply).contains("upstream_truncated"));
    assert_eq!(world.ledger.account("ada"), (10_000, 0));
    let outcomes: Vec<_> = world.rows().iter().map(|row| row.outcome).collect();
    assert_eq!(outcomes, [Outcome::Refused, Outcome::Failed]);
    let codes: Vec<_> = world.rows().into_iter().map(|row| row.error_code).collect();
    assert_eq!(
        codes,
        [
            Some("InvalidRequest".to_owned()),
            Some("upstream_truncated".to_owned())
        ]
    );
    assert!(world.rows().iter().all(|row| row.credits == Credits::ZERO));
}

#[test]
fn what_was_said_is_paid_also_when_it_breaks_off() {
    let world = world();
    let broken = Script::stream(&GOOD.as_bytes()[..80], 40, End::Reset);
    let reply = world.play([broken], &ask("local", "small"));
    assert!(
        text(&reply).contains("upstream_disconnected"),
        "{}",
        text(&reply)
    );
    assert_eq!(world.ledger.account("ada"), (8_000, 0));
    assert_eq!(world.rows()[0].outcome, Outcome::Failed);
}

#[test]
fn a_client_that_goes_away_pays_for_what_it_heard() {
    let world = world();
    let endless = Script::Reply {
        status: 200,
        headers: Vec::new(),
        pieces: vec![Piece::Bytes(GOOD[..80].to_owned().into())],
        end: End::Hang,
    };
    world.provider.play([endless]);
    let mut response = world.open(&ask("local", "small"));
    assert!(world.next_write(&mut response).unwrap().contains("Hel"));
    assert_eq!(world.ledger.account("ada"), (10_000, 2_000));
    assert_eq!(world.provider.open_connections(), 1);
    drop(response);
    assert_eq!(world.provider.open_connections(), 0);
    assert_eq!(world.ledger.account("ada"), (8_000, 0));
    assert_eq!(world.rows()[0].outcome, Outcome::Cancelled);
}

#[test]
fn an_answer_that_nobody_reads_is_over_in_half_an_hour_and_paid() {
    let world = world();
    let open = Script::stream(&GOOD.as_bytes()[..80], 80, End::Hang);
    world.provider.play([open]);
    let began_ms = world.timer.now_ms();
    let mut response = world.open(&ask("local", "small"));
    assert_eq!(world.provider.open_connections(), 1);
    // Nobody polls the body, so its alarm is all that waits.
    world.timer.jump();
    assert_eq!(world.timer.now_ms() - began_ms, 1_800_000);
    assert_eq!(world.provider.open_connections(), 0);
    assert_eq!(world.ledger.account("ada"), (8_000, 0));
    assert_eq!(world.rows()[0].outcome, Outcome::Failed);
    let rest = world.next_write(&mut response).unwrap();
    assert!(
        rest.contains("Hel") && rest.contains("upstream_timeout"),
        "{rest}"
    );
    assert_eq!(world.next_write(&mut response), None);
}

#[test]
fn a_client_that_goes_away_before_the_answer_pays_nothing() {
    use std::future::Future as _;
    let world = world();
    world.provider.play([Script::Silence]);
    let token = world.hub.signer.token("ada");
    let request = crate::hub::request("POST", "/ai/chat")
        .header("authorization", format!("Bearer {token}"))
        .body(ask("local", "small").to_string().into());
    let mut waiting = Box::pin(world.hub.respond(request.unwrap()));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    assert_eq!(world.ledger.account("ada"), (10_000, 2_000));
    assert_eq!(world.provider.open_connections(), 1);
    drop(waiting);
    assert_eq!(world.provider.open_connections(), 0);
    assert_eq!(world.ledger.account("ada"), (10_000, 0));
    assert_eq!(world.rows()[0].outcome, Outcome::Cancelled);
}

#[test]
fn answers_at_the_same_time_cannot_spend_the_same_credits() {
    let world = world();
    let mut answers = Vec::new();
    for _ in 0..5 {
        let open = Script::stream(&GOOD.as_bytes()[..80], 80, End::Hang);
        world.provider.play([open]);
        answers.push(world.open(&ask("local", "small")));
    }
    assert_eq!(world.ledger.account("ada"), (10_000, 10_000));
    world
        .chat(&ask("local", "small"))
        .assert_error(402, "InsufficientCredits");
    drop(answers);
    assert_eq!(world.ledger.account("ada"), (0, 0));
}

#[test]
fn what_is_held_by_nobody_expires() {
    let world = world();
    let open = Script::stream(&GOOD.as_bytes()[..80], 80, End::Hang);
    world.provider.play([open]);
    // A process that dies settles nothing.
    std::mem::forget(world.open(&ask("local", "small")));
    assert_eq!(world.ledger.account("ada"), (10_000, 2_000));
    let life_ms = AiTimes::default().longest_call_ms();
    world.hub.clock.advance(life_ms);
    let token = world.hub.signer.token_with("ada", |_, claims| {
        let now = crate::hub::NOW + life_ms / 1_000;
        claims["iat"] = json!(now);
        claims["exp"] = json!(now + 600);
    });
    world.provider.play([good()]);
    let reply = world.run(world.hub.call(
        "POST",
        "/api/ai/chat",
        &token,
        ask("local", "small").to_string().as_bytes(),
    ));
    assert_eq!(reply.status, 200, "{}", text(&reply));
    assert_eq!(world.ledger.account("ada"), (8_000, 0));
}

#[test]
fn with_a_key_of_ones_own_nothing_is_charged_and_a_row_is_written() {
    let world = world();
    let scenario = super::vectors::scenarios("openai-req-byok").remove("openai-req-byok");
    let scenario = scenario.unwrap();
    let scripts = Script::of_vector(&scenario["upstream"], 100);
    assert_eq!(world.play(scripts, &scenario["request"]).status, 200);
    let row = &world.rows()[0];
    assert!(row.own_key);
    assert_eq!(row.credits, Credits::ZERO);
    // Not even an account was opened.
    assert!(
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.ledger.account("ada")))
            .is_err()
    );
}

#[test]
fn when_credits_cannot_be_checked_no_provider_is_asked() {
    let world = world();
    world.ledger.is_down.store(true, Ordering::SeqCst);
    world
        .chat(&ask("local", "small"))
        .assert_error(503, "StorageUnavailable");
    assert!(world.provider.asked().is_empty());
    assert!(world.rows().is_empty());
}

#[test]
fn a_model_that_steps_in_is_paid_at_its_own_price() {
    let world = world();
    let broken = || Script::error(500, &[], "");
    let scripts = [broken(), broken(), broken(), good()];
    let reply = world.play(scripts, &ask("local", "frail"));
    assert_eq!(reply.status, 200);
    assert_eq!(world.ledger.account("ada"), (8_000, 0));
    let row = &world.rows()[0];
    assert_eq!(
        (row.model.as_str(), row.outcome),
        ("small", Outcome::Completed)
    );
    let asked: Vec<_> = world
        .provider
        .asked()
        .into_iter()
        .map(|asked| asked.body["model"].clone())
        .collect();
    assert_eq!(asked, ["frail", "frail", "frail", "small"]);
    // What the provider blames the request for is not asked of another.
    let reply = world.play([Script::error(400, &[], "")], &ask("local", "frail"));
    reply.assert_error(400, "InvalidRequest");
}

#[test]
fn a_model_that_steps_in_is_not_given_to_who_cannot_pay_for_it() {
    for (fallback, unpaid) in [("large", true), ("dear", false)] {
        let world = World::build(Billing::TenCredits, |config| {
            let model = |name| Model::plain("local", name);
            config.ai.models.push(Model {
                fallback: Some(("local".to_owned(), fallback.to_owned())),
                ..model("weak")
            });
            config.ai.models.push(Model {
                price: Price::PerCall(Credits::whole(11)),
                ..model("dear")
            });
        });
        world.play([good()], &ask("local", "weak"));
        if !unpaid {
            world.ledger.pay("ada");
        }
        let broken = || Script::error(500, &[], "");
        let reply = world.play([broken(), broken(), broken()], &ask("local", "weak"));
        reply.assert_error(502, "ProviderUnavailable");
        assert_eq!(world.ledger.account("ada"), (10_000, 0));
        let row = &world.rows()[1];
        assert_eq!(
            (row.model.as_str(), row.outcome),
            ("weak", Outcome::Refused)
        );
    }
}

#[test]
fn with_a_key_of_ones_own_no_other_model_steps_in() {
    let world = World::build(Billing::TenCredits, |config| {
        config.ai.models.push(Model {
            fallback: Some(("local".to_owned(), "small".to_owned())),
            ..Model::plain("openai", "gpt-weak")
        });
    });
    let mut body = ask("openai", "gpt-weak");
    body["apiKey"] = json!("sk-own");
    let broken = || Script::error(500, &[], "");
    let reply = world.play([broken(), broken(), broken()], &body);
    reply.assert_error(502, "ProviderUnavailable");
    assert_eq!(world.provider.asked().len(), 3);
}

#[test]
fn a_store_that_is_away_for_a_while_hears_of_the_call_later_and_once() {
    let world = world();
    world.provider.play([good()]);
    let mut response = world.open(&ask("local", "small"));
    world.ledger.is_down.store(true, Ordering::SeqCst);
    while world.next_write(&mut response).is_some() {}
    assert!(world.rows().is_empty());
    world.timer.jump();
    world.ledger.is_down.store(false, Ordering::SeqCst);
    world.settle();
    assert_eq!(world.ledger.account("ada"), (8_000, 0));
    assert_eq!(world.rows().len(), 1);
}

#[test]
fn credits_stay_held_for_as_long_as_an_answer_may_take() {
    let world = world();
    world
        .provider
        .play([Script::stream(GOOD.as_bytes(), 50, End::Hang)]);
    let _response = world.open(&ask("local", "small"));
    let answer_ms = AiTimes::default().answer_ms;
    world.hub.clock.advance(answer_ms);
    assert_eq!(world.ledger.account("ada"), (10_000, 2_000));
}

#[test]
fn what_needs_no_model_costs_nothing() {
    let world = world();
    let scenario = super::vectors::scenarios("openai-req-approved").remove("openai-req-approved");
    let reply = world.chat(&scenario.unwrap()["request"]);
    assert!(events(text(&reply)).1);
    let row = &world.rows()[0];
    assert_eq!((row.outcome, row.credits), (Outcome::Local, Credits::ZERO));
}
