#![doc = include_str!("../README.md")]

mod admin;
mod ai;
mod arguments;
mod auth;
mod backup;
mod configuration;
mod doctor;
mod failure;
mod logging;
mod serve;
mod setup_link;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use arguments::{
    AdminCommand, AiCommand, Arguments, AuthCommand, Command, CreditsCommand, KeysCommand,
    UserCommand,
};
use failure::Failure;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => return Failure::usage(&error).report(),
        // `--help` and `--version` are answers, not errors.
        Err(error) => return finish(print(&error.render().to_string())),
    };
    finish(carry_out(arguments.command))
}

fn carry_out(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(serve) => serve::run(serve),
        Command::Auth(AuthCommand::Login(login)) => auth::login(&login),
        Command::Auth(AuthCommand::Status(status)) => auth::status(&status),
        Command::Auth(AuthCommand::Logout(logout)) => auth::logout(&logout),
        Command::Admin(AdminCommand::User(user)) => match user {
            UserCommand::Add(add) => admin::add_user(&add),
            UserCommand::List(list) => admin::list_users(&list),
            UserCommand::Invite(invite) => admin::invite(&invite),
            UserCommand::Disable(user) => admin::set_enabled(&user, false),
            UserCommand::Enable(user) => admin::set_enabled(&user, true),
            UserCommand::ResetPassword(user) => admin::reset_password(&user),
            UserCommand::Recover(user) => admin::recover(&user),
        },
        Command::Ai(AiCommand::Chat(chat)) => ai::chat(&chat),
        Command::Ai(AiCommand::Models(models)) => ai::models(&models),
        Command::Admin(AdminCommand::Credits(credits)) => match credits {
            CreditsCommand::Give(give) => admin::give_credits(&give),
            CreditsCommand::Show(show) => admin::show_credits(&show),
        },
        Command::Admin(AdminCommand::Token(token)) => admin::issue_token(&token),
        Command::Admin(AdminCommand::SetupLink(link)) => admin::make_setup_link(&link),
        Command::Admin(AdminCommand::SignEverybodyOut(place)) => admin::sign_everybody_out(&place),
        Command::Backup(arguments) => backup::backup(&arguments),
        Command::Restore(arguments) => backup::restore(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Keys(KeysCommand::RotateSigning(rotate)) => admin::rotate_signing(&rotate),
    }
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

/// To a person. Nobody is left to tell when stderr is gone.
fn say(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}
