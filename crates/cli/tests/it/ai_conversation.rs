//! A conversation on a terminal. `script`, which every Linux distribution has, plays the terminal: what is written to it is
//! typed, control characters included.

use std::io::Write as _;
use std::process::{ChildStdin, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::ai::{AiScene, Asking};

const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";

fn converse(scene: &AiScene) -> (Asking, ChildStdin) {
    let program = scene.scene.place.command(&[]);
    let mut command = std::process::Command::new("script");
    // Without the terminal's echo: it writes `^C` some time after the program has heard of it, before or behind its answer.
    let line = format!(
        "stty -echo && exec {} ai chat --url {}",
        program.get_program().display(),
        scene.scene.url
    );
    let mut child = command
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env_clear()
        .env("HOME", scene.scene.place.path())
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("SHELL", "/bin/sh")
        .current_dir(scene.scene.place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("`script` of util-linux is installed");
    let stdin = child.stdin.take().expect("stdin is a pipe");
    (Asking::of(child), stdin)
}

fn type_in(stdin: &mut ChildStdin, text: &str) {
    let typed = stdin.write_all(text.as_bytes());
    typed.and_then(|()| stdin.flush()).expect("it is typed");
}

#[test]
fn a_conversation_remembers_and_ctrl_c_stops_only_the_answer() {
    let scene = AiScene::new();
    let (mut asking, mut stdin) = converse(&scene);
    asking.sees("Ctrl-D ends");
    type_in(&mut stdin, "one\n");
    let mut call = scene.provider.asked().begin();
    call.say("alpha");
    call.finish();
    asking.sees("alpha\r\n> ");

    type_in(&mut stdin, "two\n");
    let call = scene.provider.asked();
    let said = json!([
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "alpha"},
        {"role": "user", "content": "two"},
    ]);
    assert_eq!(call.body["messages"], said);
    let mut call = call.begin();
    call.say("brav");
    asking.sees("brav");
    let stopped_at = Instant::now();
    type_in(&mut stdin, CTRL_C);
    call.closed();
    let took = stopped_at.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    asking.sees("the answer was stopped\r\n> ");

    // At the prompt it only begins a new one.
    type_in(&mut stdin, CTRL_C);
    asking.sees("the answer was stopped\r\n> \r\n> ");
    type_in(&mut stdin, "three\n");
    let call = scene.provider.asked();
    assert_eq!(call.body["messages"][3]["content"], "brav");
    assert_eq!(call.body["messages"][4]["content"], "three");
    call.refuse("400 Bad Request", r#"{"error":{"message":"not that"}}"#);
    asking.sees("hint: ");

    // What was refused is not asked again.
    type_in(&mut stdin, "four\n");
    let call = scene.provider.asked();
    assert_eq!(call.body["messages"][4]["content"], "four");
    let mut call = call.begin();
    call.say("delta");
    call.finish();
    asking.sees("delta\r\n> ");
    type_in(&mut stdin, CTRL_D);
    let answer = asking.end();
    assert_eq!(answer.code, Some(0), "{}", answer.stdout);
}
