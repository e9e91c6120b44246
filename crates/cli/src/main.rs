#![doc = include_str!("../README.md")]

mod admin;
mod arguments;
mod auth;
mod configuration;
mod failure;
mod logging;
mod serve;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use arguments::{AdminCommand, Arguments, AuthCommand, Command, UserCommand};
use failure::Failure;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => return Failure::usage(&error).report(),
        // `--help` and `--version` are answers, not errors.
        Err(error) => return finish(print(&error.render().to_string())),
    };
    finish(match arguments.command {
        Command::Serve(serve) => serve::run(serve),
        Command::Auth(AuthCommand::Login(login)) => auth::login(&login),
        Command::Auth(AuthCommand::Status(status)) => auth::status(&status),
        Command::Auth(AuthCommand::Logout(logout)) => auth::logout(&logout),
        Command::Admin(AdminCommand::User(UserCommand::Add(add))) => admin::add_user(&add),
        Command::Admin(AdminCommand::Token(token)) => admin::issue_token(&token),
    })
}

fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Writes data to stdout; a reader that went away is a failure of the command, not a panic.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| {
            Failure::new("the answer cannot be written to stdout", "keep stdout open")
                .caused_by(&error)
        })
}
