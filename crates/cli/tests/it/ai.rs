//! `epicenter ai` against a running hub, whose provider the tests play.

use std::io::Read as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use epicenter_testkit::{ModelCall, ModelProvider};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::auth::Scene;
use crate::program::{Answer, Place, within_patience};

/// A hub that offers one model, a provider behind it, and a machine that is signed in.
pub(crate) struct AiScene {
    pub(crate) scene: Scene,
    pub(crate) provider: ModelProvider,
}

impl AiScene {
    pub(crate) fn new() -> Self {
        Self::configured("")
    }

    /// With more lines in the configuration's section on AI.
    pub(crate) fn configured(lines: &str) -> Self {
        let provider = ModelProvider::start();
        let configuration = format!(
            "[ai]\n{lines}\n[[ai.providers]]\nname = \"local\"\nbase_url = \"{}\"\n\n[[ai.models]]\nprovider = \"local\"\nmodel = \"parrot\"\ncredits = 4\n",
            provider.base_url()
        );
        let place = Place::new().with_file("epicenter-hub.toml", &configuration);
        let scene = Scene::at(place);
        scene.login(&[]).data();
        Self { scene, provider }
    }

    fn arguments<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["ai"], arguments, &["--url", &self.scene.url]].concat()
    }

    /// Runs a command that needs no answer of the provider.
    pub(crate) fn ai(&self, arguments: &[&str]) -> Answer {
        self.scene.place.run(&self.arguments(arguments))
    }

    /// Starts a command, and gives the call that it makes.
    pub(crate) fn start(&self, arguments: &[&str]) -> (Asking, ModelCall) {
        let child = self.scene.place.start(&self.arguments(arguments));
        let asking = Asking::of(child);
        (asking, self.provider.asked())
    }

    /// A whole answer to a command.
    pub(crate) fn answered(&self, arguments: &[&str], text: &str) -> Answer {
        let (asking, call) = self.start(arguments);
        let mut call = call.begin();
        call.say(text);
        call.finish();
        asking.end()
    }
}

/// A command that waits for its answer.
pub(crate) struct Asking {
    child: Child,
    stdout: Option<std::process::ChildStdout>,
    seen: String,
}

impl Asking {
    pub(crate) fn of(mut child: Child) -> Self {
        let stdout = child.stdout.take();
        Self {
            child,
            stdout,
            seen: String::new(),
        }
    }

    /// Waits until stdout has this.
    pub(crate) fn sees(&mut self, text: &str) {
        let mut stdout = self.stdout.take().expect("stdout is a pipe");
        let mut seen = std::mem::take(&mut self.seen).into_bytes();
        let wanted = text.to_owned();
        let (stdout, seen) = within_patience(move || {
            let mut piece = [0; 4_096];
            while !String::from_utf8_lossy(&seen).contains(&wanted) {
                let length = stdout.read(&mut piece).expect("stdout is readable");
                let so_far = String::from_utf8_lossy(&seen).into_owned();
                assert_ne!(length, 0, "{wanted:?} did not come: {so_far:?}");
                seen.extend_from_slice(&piece[..length]);
            }
            (stdout, seen)
        });
        self.stdout = Some(stdout);
        self.seen = String::from_utf8(seen).expect("stdout is UTF-8");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a process id"), signal).expect("the signal is sent");
    }

    /// Waits for the end; stdout is all of it.
    pub(crate) fn end(mut self) -> Answer {
        let mut stdout = self.stdout.take().expect("stdout is a pipe");
        within_patience(move || {
            let mut rest = String::new();
            stdout.read_to_string(&mut rest).expect("stdout is UTF-8");
            let output = self.child.wait_with_output().expect("the program ends");
            let mut answer = Answer::from(output);
            answer.stdout = self.seen + &rest;
            answer
        })
    }
}

#[test]
fn an_answer_is_written_as_it_comes() {
    let scene = AiScene::new();
    let (mut asking, call) = scene.start(&["chat", "say", "three words"]);
    assert_eq!(call.body["model"], "parrot", "the only model is taken");
    let messages = json!([{"role": "user", "content": "say three words"}]);
    assert_eq!(call.body["messages"], messages);
    let mut call = call.begin();
    for word in ["alpha ", "bravo ", "charlie"] {
        call.say(word);
        // The provider sends nothing more before this one was written.
        asking.sees(word);
    }
    call.finish();
    let answer = asking.end();
    assert_eq!(answer.stderr, "");
    assert_eq!(answer.data(), "alpha bravo charlie\n");
}

#[test]
fn a_question_comes_from_stdin_with_settings_from_flags() {
    let scene = AiScene::new();
    let flags = [
        "chat",
        "--provider",
        "local",
        "--model",
        "parrot",
        "--system",
        "Be terse.",
        "--temperature",
        "0.5",
        "--max-tokens",
        "9",
        "--verbose",
    ];
    let arguments = scene.arguments(&flags);
    let mut command = scene.scene.place.command(&arguments);
    let question = scene.scene.place.path().join("question.txt");
    std::fs::write(&question, "first line\nsecond line\n").expect("it is written");
    let file = std::fs::File::open(question).expect("it is there");
    let child = command.stdin(Stdio::from(file)).spawn();
    let asking = Asking::of(child.expect("the program starts"));
    let call = scene.provider.asked();
    let messages = json!([
        {"role": "system", "content": "Be terse."},
        {"role": "user", "content": "first line\nsecond line\n"},
    ]);
    assert_eq!(call.body["messages"], messages);
    assert_eq!(call.body["temperature"], 0.5);
    let limit = ["max_tokens", "max_completion_tokens"];
    assert!(
        limit.iter().any(|name| call.body[name] == 9),
        "{}",
        call.body
    );
    let mut call = call.begin();
    call.think("hm");
    call.say("yes\n");
    call.finish();
    let answer = asking.end();
    assert_eq!(
        answer.stderr,
        "model: parrot\nthinking: hm\ntokens: 5 in, 7 out\n"
    );
    assert_eq!(answer.data(), "yes\n", "one line break is enough");
}

#[test]
fn json_is_every_event_on_a_line() {
    let scene = AiScene::new();
    let answer = scene.answered(&["chat", "--json", "hello"], "a\u{1b}[2J\u{9b}b");
    assert_eq!(answer.stderr, "");
    let data = answer.data();
    assert!(!data.contains(['\u{1b}', '\u{9b}']), "{data:?}");
    let parse = |line| serde_json::from_str::<Value>(line).expect("JSON");
    let events: Vec<Value> = data.lines().map(parse).collect();
    let kinds: Vec<_> = events
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    assert_eq!(kinds.first(), Some(&"RUN_STARTED"));
    assert_eq!(kinds.last(), Some(&"RUN_FINISHED"));
    let is_text = |event: &&Value| event["type"] == "TEXT_MESSAGE_CONTENT";
    let said = events.iter().find(is_text).expect("a text");
    assert_eq!(said["delta"], "a\u{1b}[2J\u{9b}b", "nothing is lost");
}

#[test]
fn nothing_that_a_model_or_its_provider_says_steers_a_terminal() {
    let scene = AiScene::new();
    let hostile = "a\u{1b}]0;owned\u{7}b\u{9b}31m\rc\u{8}d\u{202e}e";
    let answer = scene.answered(&["chat", "hello"], hostile);
    assert_eq!(answer.data(), "a]0;ownedb31mcde\n");

    let (asking, call) = scene.start(&["chat", "hello"]);
    call.refuse(
        "400 Bad Request",
        r#"{"error":{"message":"no\u001b[2J\n\u009bway"}}"#,
    );
    let complaint = asking.end().complaint(2);
    assert!(
        complaint.contains("[2J") && complaint.contains("way"),
        "{complaint:?}"
    );
    let is_safe = |character: char| character == '\n' || !character.is_control();
    assert!(complaint.chars().all(is_safe), "{complaint:?}");
}

#[test]
fn every_failure_says_whose_it_is_and_what_to_do() {
    let scene = AiScene::new();
    for (arguments, expect) in [
        (
            &["--provider", "local", "--model", "owl"][..],
            "UnknownModel",
        ),
        (
            &["--provider", "openai", "--model", "gpt-4o"],
            "ProviderNotConfigured",
        ),
        (
            &[
                "--provider",
                "local",
                "--model",
                "parrot",
                "--own-key-env",
                "HOME",
            ],
            "OwnKeyNotAllowed",
        ),
    ] {
        let arguments = [&["chat", "hello"], arguments].concat();
        let complaint = scene.ai(&arguments).complaint(2);
        assert!(complaint.contains("the hub refused"), "{complaint}");
        assert!(complaint.contains(expect), "{complaint}");
    }
    let complaint = scene.ai(&["chat", "--model", "owl", "hello"]).complaint(1);
    assert!(complaint.contains("epicenter ai models"), "{complaint}");
    assert!(scene.provider.is_idle());

    let (asking, call) = scene.start(&["chat", "hello"]);
    call.refuse(
        "401 Unauthorized",
        r#"{"error":{"message":"Incorrect API key"}}"#,
    );
    let complaint = asking.end().complaint(2);
    assert!(complaint.contains("the provider failed"), "{complaint}");

    // What came before a failure stays, and the failure is told.
    let (mut asking, call) = scene.start(&["chat", "hello"]);
    let mut call = call.begin();
    call.say("half of it");
    asking.sees("half of it");
    drop(call);
    let answer = asking.end();
    assert_eq!(
        (answer.code, answer.stdout.as_str()),
        (Some(2), "half of it\n")
    );
    assert!(answer.stderr.contains("upstream_"), "{}", answer.stderr);
    assert!(answer.stderr.contains("hint: "), "{}", answer.stderr);
}

#[test]
fn who_is_signed_out_or_far_from_the_hub_is_told_so() {
    let AiScene { scene, .. } = AiScene::new();
    let ask = |url: &str| scene.place.run(&["ai", "chat", "hello", "--url", url]);
    let elsewhere = ask("http://127.0.0.1:1").complaint(2);
    assert!(elsewhere.contains("epicenter auth login"), "{elsewhere}");
    scene.auth(&["logout"]).data();
    let complaint = ask(&scene.url).complaint(2);
    assert!(complaint.contains("nobody is signed in"), "{complaint}");

    scene.login(&[]).data();
    let Scene { place, hub, url } = scene;
    hub.stop();
    let complaint = place.run(&["ai", "models", "--url", &url]).complaint(2);
    assert!(complaint.contains("cannot be reached"), "{complaint}");
}

#[test]
fn a_refused_access_token_is_refreshed() {
    let scene = AiScene::new();
    let mut record = scene.scene.record();
    record["grant"]["accessToken"] = "not.a.token".into();
    std::fs::write(scene.scene.file(), record.to_string()).expect("it is written");
    assert_eq!(scene.answered(&["chat", "hello"], "yes").data(), "yes\n");
    let again = scene.scene.record();
    assert_ne!(again["grant"]["accessToken"], "not.a.token");
}

/// What Ctrl-C sends. Where it is ignored, as by what a script runs in the background, programs inherit that, and SIGTERM
/// ends them the same way.
fn interrupt() -> Signal {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = 1 << (Signal::INT.as_raw() - 1);
    if ignored.unwrap_or(0) & bit == 0 {
        Signal::INT
    } else {
        Signal::TERM
    }
}

#[test]
fn an_interrupt_stops_the_provider_within_a_second() {
    let scene = AiScene::new();
    for has_begun in [true, false] {
        let (mut asking, mut call) = scene.start(&["chat", "hello"]);
        if has_begun {
            call = call.begin();
            call.say("alpha");
            asking.sees("alpha");
        }
        let interrupted_at = Instant::now();
        asking.signal(interrupt());
        call.closed();
        let took = interrupted_at.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        let answer = asking.end();
        assert_eq!(
            answer.code, None,
            "it ended as a shell expects: by the signal"
        );
    }
}

#[test]
fn models_are_a_table_and_json() {
    let scene = AiScene::new();
    let table = scene.ai(&["models"]).data();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("PROVIDER "), "{table}");
    let first: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(first[..4], ["local", "parrot", "8192", "4096"], "{table}");
    assert!(
        lines[1].contains("  4 a call  ") && lines[1].contains("  hub's  "),
        "{table}"
    );
    let keyless = lines.iter().filter(|line| line.contains("  own  "));
    assert!(keyless.count() > 10, "{table}");

    let models: Value =
        serde_json::from_str(&scene.ai(&["models", "--json"]).data()).expect("JSON");
    assert_eq!(models["models"][0]["model"], "parrot");
    assert_eq!(models["models"][1]["needsOwnKey"], true);
}
