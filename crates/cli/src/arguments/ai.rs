//! `epicenter ai …`.

use clap::{Args, Subcommand};

use super::HubArguments;

#[derive(Debug, Subcommand)]
pub(crate) enum AiCommand {
    /// Ask a model; the answer is written as it comes
    ///
    /// With words on the command line, or with text on stdin, it is one question and one answer. On a terminal without
    /// words it is a conversation: Ctrl-C stops an answer, Ctrl-D ends the conversation.
    ///
    /// stdout carries the answer only, without control characters, so that nothing a model says can steer a terminal;
    /// --json has every event as it came. Everything else goes to stderr.
    ///
    /// Without --model, or without --provider, the hub is asked what it offers. When one model fits what was given, that
    /// one is taken; when several do, none is guessed: a guess could cost money, or change with the hub's list.
    #[command(
        after_help = "Examples:\n  epicenter ai chat 'What is a CRDT?'\n  epicenter ai chat --provider openai --model gpt-4o-mini < question.txt\n  git diff | epicenter ai chat --model gpt-4o-mini --system 'Write a commit message for this diff.'\n  OPENAI_KEY=sk-… epicenter ai chat --provider openai --model gpt-4o --own-key-env OPENAI_KEY hello\n\nExit codes: 0 the answer is complete, 1 wrong usage, 2 the hub or the model failed."
    )]
    Chat(ChatArguments),
    /// Print the models that the hub offers to you
    ///
    /// The columns are provider, model, tokens of context, tokens of an answer, price in credits, whose key, and what
    /// the model can do beside text. Models that are marked `own` answer only with --own-key-env.
    #[command(
        after_help = "Examples:\n  epicenter ai models\n  epicenter ai models --url https://hub.example --json"
    )]
    Models(ModelsArguments),
}

#[derive(Args, Debug)]
pub(crate) struct ChatArguments {
    /// The question; without it, stdin is read
    #[arg(value_name = "MESSAGE")]
    pub(crate) message: Vec<String>,
    /// Provider of the model, as `epicenter ai models` names it
    #[arg(
        long,
        short,
        value_name = "NAME",
        env = "EPICENTER_AI_PROVIDER",
        hide_env_values = true
    )]
    pub(crate) provider: Option<String>,
    /// Model, as `epicenter ai models` names it
    #[arg(
        long,
        short,
        value_name = "NAME",
        env = "EPICENTER_AI_MODEL",
        hide_env_values = true
    )]
    pub(crate) model: Option<String>,
    /// Tell the model how to answer
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// How freely the model chooses words, from 0 to 2
    #[arg(long, value_name = "NUMBER", value_parser = parse_temperature)]
    pub(crate) temperature: Option<f64>,
    /// End the answer after this many tokens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: Option<u32>,
    /// Environment variable that holds a key of your own for the provider
    ///
    /// The hub uses it for this call, and neither stores nor charges it.
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) own_key_env: Option<String>,
    /// Print every event of the answer as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Say on stderr what the model thinks, which model answered, and how many tokens it took
    #[arg(long, short)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) hub: HubArguments,
}

#[derive(Args, Debug)]
pub(crate) struct ModelsArguments {
    /// Print the hub's answer as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) hub: HubArguments,
}

fn parse_temperature(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|number| (0.0..=2.0).contains(number))
        .ok_or_else(|| "it is a number from 0 to 2".to_owned())
}
