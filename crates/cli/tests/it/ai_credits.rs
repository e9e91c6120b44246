//! Credits: they run out, and an operator gives more.

use std::time::Instant;

use epicenter_testkit::DEADLINE;
use serde_json::{Value, json};

use crate::ai::AiScene;
use crate::auth::EMAIL;
use crate::program::Answer;

fn credits(scene: &AiScene, arguments: &[&str]) -> Answer {
    let place = ["--email", EMAIL, "--data-dir", "data"];
    let arguments = [&["admin", "credits"], arguments, &place].concat();
    scene.scene.place.run(&arguments)
}

/// What is shown once nothing is held any more: an answer is paid after it has ended.
fn settled(scene: &AiScene) -> String {
    let begin = Instant::now();
    loop {
        let shown = credits(scene, &["show"]).data();
        if shown.contains("\t0 held\t") {
            return shown;
        }
        assert!(begin.elapsed() < DEADLINE, "{shown}");
    }
}

#[test]
fn credits_run_out_and_an_operator_gives_more() {
    let scene = AiScene::configured("credits = 5\nmax_unpaid_call = 4\n");
    let shown = credits(&scene, &["show"]).data();
    assert_eq!(shown, format!("{EMAIL}\t5 free\t0 held\t0 owed\tunpaid\n"));
    assert_eq!(scene.answered(&["chat", "hello"], "yes").data(), "yes\n");
    assert_eq!(
        settled(&scene),
        format!("{EMAIL}\t1 free\t0 held\t0 owed\tunpaid\n")
    );

    let complaint = scene.ai(&["chat", "hello"]).complaint(2);
    assert!(complaint.contains("InsufficientCredits"), "{complaint}");
    assert!(complaint.contains("You have 1 credits left"), "{complaint}");
    assert!(
        complaint.contains("epicenter admin credits give"),
        "{complaint}"
    );

    let note = ["give", "--credits", "3.5", "--note", "invoice 7", "--json"];
    let given: Value = serde_json::from_str(&credits(&scene, &note).data()).expect("JSON");
    let expect = json!({"email": EMAIL, "free": 4.5, "held": 0, "owed": 0, "isPaid": true});
    assert_eq!(given, expect);
    assert_eq!(
        scene.answered(&["chat", "hello"], "again").data(),
        "again\n"
    );
    let shown = settled(&scene);
    assert_eq!(shown, format!("{EMAIL}\t0.5 free\t0 held\t0 owed\tpaid\n"));

    // While an answer streams, its price is held.
    credits(&scene, &["give", "--credits", "10"]).data();
    let (mut asking, call) = scene.start(&["chat", "hello"]);
    let mut call = call.begin();
    call.say("alpha");
    asking.sees("alpha");
    let shown = credits(&scene, &["show"]).data();
    assert_eq!(shown, format!("{EMAIL}\t6.5 free\t4 held\t0 owed\tpaid\n"));
    call.finish();
    asking.end().data();
}

#[test]
fn what_cannot_be_given_is_refused_and_changes_nothing() {
    let scene = AiScene::configured("credits = 5\n");
    for amount in [
        "0",
        "0.000",
        "1.0001",
        "1e3",
        "many",
        "1000000001",
        "",
        "NaN",
    ] {
        let complaint = credits(&scene, &["give", "--credits", amount]).complaint(2);
        assert!(complaint.contains("12.5"), "{amount}: {complaint}");
    }
    credits(&scene, &["give", "--credits", "-5"]).complaint(1);
    for note in ["", "two\nlines", &"x".repeat(201)] {
        credits(&scene, &["give", "--credits", "1", "--note", note]).complaint(2);
    }
    let stranger = [
        "admin",
        "credits",
        "give",
        "--credits",
        "1",
        "--email",
        "bob@example.org",
        "--data-dir",
        "data",
    ];
    let complaint = scene.scene.place.run(&stranger).complaint(2);
    assert!(complaint.contains("no account"), "{complaint}");
    let shown = credits(&scene, &["show"]).data();
    assert_eq!(shown, format!("{EMAIL}\t5 free\t0 held\t0 owed\tunpaid\n"));
}

#[test]
fn a_hub_on_which_calls_cost_nothing_has_no_credits_to_give() {
    let scene = AiScene::new();
    for arguments in [&["give", "--credits", "1"][..], &["show"]] {
        let complaint = credits(&scene, arguments).complaint(2);
        assert!(complaint.contains("ai.credits"), "{complaint}");
    }
}
