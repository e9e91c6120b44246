//! Runs the built program in a folder of its own, without the environment of the tests.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Far beyond what anything here takes; only a hang meets it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A working directory, which is the home directory as well.
pub(crate) struct Place {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::new().expect("a temporary folder"),
            variables: Vec::new(),
        }
    }

    pub(crate) fn with_file(self, name: &str, text: &str) -> Self {
        fs::write(self.path().join(name), text).expect("the file is written");
        self
    }

    pub(crate) fn with_variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_epicenter"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.path())
            .envs(self.variables.iter().map(|(name, value)| (*name, value)))
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts the program and leaves it to the caller.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("the program starts")
    }

    /// Runs the program in a shell that does something first, such as setting a limit.
    pub(crate) fn run_after(&self, preparation: &str, arguments: &[&str]) -> Answer {
        let program = self.command(arguments);
        let output = Command::new("sh")
            .arg("-c")
            .arg(format!("{preparation}; exec \"$0\" \"$@\""))
            .arg(program.get_program())
            .args(arguments)
            .env_clear()
            .env("HOME", self.path())
            .current_dir(self.path())
            .output();
        output.expect("the shell runs").into()
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Answer {
        self.run_with_input(arguments, "")
    }

    /// Runs the program to its end with this on stdin.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Answer {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        // The program may end without reading; what it says then is looked at by the test.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        within_patience(move || child.wait_with_output().expect("the program ends")).into()
    }

    /// Starts the program and reads its stderr up to a prompt that ends with this.
    pub(crate) fn converse(&self, arguments: &[&str], prompt: &'static str) -> Conversation {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stderr = child.stderr.take().expect("stderr is a pipe");
        let said = within_patience(move || {
            let mut said = Vec::new();
            let mut byte = [0];
            while !said.ends_with(prompt.as_bytes()) {
                if stderr.read(&mut byte).expect("stderr is readable") == 0 {
                    break;
                }
                said.push(byte[0]);
            }
            // What follows is read to the end: a full pipe would stop the program.
            (String::from_utf8(said).expect("stderr is UTF-8"), stderr)
        });
        Conversation {
            child,
            said: said.0,
            stderr: said.1,
        }
    }

    /// Starts a hub on a free port in `./data` and waits for its line.
    pub(crate) fn serve(&self) -> Serving {
        self.serve_with(&["--data-dir", "data"])
    }

    /// Starts a hub on a free port with more flags.
    pub(crate) fn serve_with(&self, flags: &[&str]) -> Serving {
        let listen = ["--listen", "127.0.0.1:0", "--admin-listen", "off"];
        let arguments = [&["serve"][..], &listen, flags].concat();
        let mut child = self
            .command(&arguments)
            .spawn()
            .expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let (line, stdout) = within_patience(move || {
            let mut line = String::new();
            stdout.read_line(&mut line).expect("stdout is text");
            (line, stdout)
        });
        let address = line
            .strip_prefix("listening on http://")
            .and_then(|rest| rest.strip_suffix('\n'))
            .and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let output = child.wait_with_output().expect("the program ends");
            panic!(
                "{line:?} is not the line; stderr: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        Serving {
            child: Some(child),
            stdout: Some(stdout),
            address,
        }
    }
}

/// What a finished program left.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }
}

impl Answer {
    /// Succeeded: the data on stdout.
    pub(crate) fn data(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// Failed with this code, said so, said what to do, and gave no data.
    pub(crate) fn complaint(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert_eq!(self.stdout, "");
        let last = self.stderr.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("hint: ") && last.len() > "hint: ".len(),
            "no hint in {}",
            self.stderr
        );
        self.stderr
    }
}

/// A program that waits for an answer.
pub(crate) struct Conversation {
    child: Child,
    pub(crate) said: String,
    stderr: std::process::ChildStderr,
}

impl Conversation {
    /// Gives the answer and waits for the end.
    pub(crate) fn answer(mut self, text: &str) -> Answer {
        let mut stdin = self.child.stdin.take().expect("stdin is a pipe");
        // The program may have ended; what it says then is looked at by the test.
        let _ = stdin.write_all(text.as_bytes());
        drop(stdin);
        within_patience(move || {
            let mut rest = String::new();
            self.stderr
                .read_to_string(&mut rest)
                .expect("stderr is UTF-8");
            let output = self.child.wait_with_output().expect("the program ends");
            let mut answer = Answer::from(output);
            answer.stderr = self.said + &rest;
            answer
        })
    }
}

/// A running hub; killed when the test ends before it does.
pub(crate) struct Serving {
    child: Option<Child>,
    stdout: Option<BufReader<std::process::ChildStdout>>,
    pub(crate) address: SocketAddr,
}

impl Serving {
    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().expect("the hub runs").id();
        let id = i32::try_from(id)
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        kill_process(id, signal).expect("the signal is sent");
    }

    /// Waits for the end: the status, what stdout held after the first line, and stderr.
    pub(crate) fn end(mut self) -> (ExitStatus, String, String) {
        let child = self.child.take().expect("the hub runs");
        let mut stdout = self.stdout.take().expect("stdout was not read");
        within_patience(move || {
            let output = child.wait_with_output().expect("the hub ends");
            let mut rest = String::new();
            stdout.read_to_string(&mut rest).expect("stdout is text");
            let stderr = String::from_utf8(output.stderr).expect("stderr is UTF-8");
            (output.status, rest, stderr)
        })
    }

    /// Ends the hub with SIGTERM, which must succeed; returns what it logged.
    pub(crate) fn stop(self) -> String {
        self.signal(Signal::TERM);
        let (status, rest, stderr) = self.end();
        assert!(status.success(), "{status}: {stderr}");
        assert_eq!(rest, "", "stdout carries one line only");
        stderr
    }

    /// The status line, headers and body of a GET.
    pub(crate) fn get(&self, path: &str, headers: &str) -> String {
        self.send("GET", path, headers, "")
    }

    /// The status line, headers and body of the answer to any request.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        self.send_bytes(method, path, headers, body.as_bytes())
    }

    /// The same with a body of any bytes.
    pub(crate) fn send_bytes(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> String {
        let mut stream = TcpStream::connect(self.address).expect("the hub accepts");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket option");
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{length}{headers}\r\n",
            self.address
        )
        .and_then(|()| stream.write_all(body))
        .expect("the request is sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the answer arrives");
        // A room's bytes are no text, and no test looks at them.
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Every file and folder below one, with its permission bits. What goes meanwhile, as the setup link does when a running
/// hub finds its first account, is left out.
pub(crate) fn modes_below(folder: &Path) -> Vec<(PathBuf, u32)> {
    let mode = mode_of(folder).expect("the folder exists");
    let mut found = vec![(folder.to_owned(), mode)];
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(modes_below(&path));
        } else if let Some(mode) = mode_of(&path) {
            found.push((path, mode));
        }
    }
    found
}

fn mode_of(path: &Path) -> Option<u32> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Some(metadata.permissions().mode() & 0o777),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// The result of work that must end; a hang fails the test instead of stopping all of them.
pub(crate) fn within_patience<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // The test may have given up.
        let _ = sender.send(work());
    });
    receiver
        .recv_timeout(PATIENCE)
        .expect("the program answers in time")
}
