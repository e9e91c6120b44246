//! The reference page `docs/configuration.md`, made from the list of settings.

use super::file::LISTS;
use super::render::show;
use super::settings::{Draft, SETTINGS, Setting, Slot};
use super::tables::TableList;
use super::units::{format_duration, format_size};

const INTRODUCTION: &str = r#"# Configuration

<!-- Made from the list of settings in crates/native/src/config/settings.rs by `cargo xtask docs`; edit that list. -->

`epicenter serve` needs no configuration.
What you set is taken in this order, where later sources win: defaults, the file, the environment, flags.

The file is `epicenter-hub.toml` in the working directory, or the one that `--config FILE` or `EPICENTER_CONFIG` names.
An unknown key, a malformed value or a weak secret stops the start, with a line that says what to write instead.
`epicenter serve --check` prints the effective configuration, with secrets masked and the origin of every value, and exits.

Durations are a whole number and a unit (`ms`, `s`, `m`, `h`, `d`) as text: `"30m"`.
Sizes are a number of bytes, or a whole number and a unit (`KiB`, `MiB`, `GiB`) as text: `"5MiB"`.
Relative paths in the file are relative to the file's folder, others to the working directory.

```toml
listen = "127.0.0.1:8787"
public_origin = "https://hub.example"
mode = "shared"

[shared]
admit = { emails = ["ada@example.org"], domains = ["example.com"] }

[limits]
max_frame_bytes = "5MiB"

[rooms]
lifetime = "30m"
```

## Secrets

Secrets come from the environment or from files, never from the configuration file and never from flags.
A secret that is given this way is not copied into the data directory; a root or auth secret that is not given is generated there on the first start, in a file that only its owner can read.

| Variable | Also read as | File instead | What it is |
|---|---|---|---|
| `ENCRYPTION_SECRETS` | | `ENCRYPTION_SECRETS_FILE` | The root secrets from which every owner's keys are derived, as `2:NEW,1:OLD`; the newest needs at least 32 bytes. Losing them loses the data they encrypt. |
| `AUTH_SECRET` | `BETTER_AUTH_SECRET` | `AUTH_SECRET_FILE`, `BETTER_AUTH_SECRET_FILE` | Seals the private signing keys; at least 32 bytes, or several as `2:NEW,1:OLD`. Replacing it makes a new signing key and never costs data. |
| `DATABASE_URL` | | `DATABASE_URL_FILE` | The PostgreSQL database of accounts, sessions, grants and signing keys, as `postgres://user:password@host:5432/database`. Without it they are in the data directory. |
| `OPENAI_API_KEY` | | `OPENAI_API_KEY_FILE` | The key with which the hub calls OpenAI. It leaves in requests to OpenAI, or to `OPENAI_BASE_URL`, and nowhere else. |
| `GEMINI_API_KEY` | | `GEMINI_API_KEY_FILE` | The same for Gemini. |
| `ANTHROPIC_API_KEY` | | `ANTHROPIC_API_KEY_FILE` | The same for Anthropic. |

A secret and its file variable may not both be set.
`openssl rand -base64 32` makes a good secret.
"#;

/// The whole page in Markdown.
pub fn reference_page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut draft = Draft::new();
    let mut current_section = None;
    for setting in SETTINGS {
        let (section, _) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if current_section != Some(section) {
            match section {
                "" => page.push_str("\n## Top level\n"),
                section => page.push_str(&format!("\n## `[{section}]`\n")),
            }
            current_section = Some(section);
        }
        page.push_str(&entry(setting, &mut draft));
    }
    for list in LISTS {
        page.push_str(&table_section(list));
    }
    page
}

fn table_section(list: &TableList) -> String {
    let mut text = format!("\n## `[[{}]]`\n\n{}\n\n", list.key, list.about);
    for (field, about) in list.fields {
        text.push_str(&format!("* `{field}`: {about}\n"));
    }
    text.push_str(&format!("\n```toml\n{}```\n", list.example));
    text
}

fn entry(setting: &Setting, draft: &mut Draft) -> String {
    let slot = (setting.slot)(draft);
    let default = match setting.default_text {
        Some(text) => text.to_owned(),
        None => show(&slot).map_or_else(|| "none".to_owned(), |value| format!("`{value}`")),
    };
    let mut text = format!("\n### `{}`\n\n{}\n\n", setting.key, setting.about);
    text.push_str(&format!("* Value: {}\n* Default: {default}\n", kind(&slot)));
    if !setting.environment.is_empty() {
        text.push_str(&format!(
            "* Environment: `{}`\n",
            setting.environment.join("`, `")
        ));
    }
    if let Some(flag) = setting.flag {
        text.push_str(&format!("* Flag: `{flag}`\n"));
    }
    text
}

fn kind(slot: &Slot<'_>) -> String {
    match slot {
        Slot::Address(_) => "IP address and port".to_owned(),
        Slot::AddressOrOff(_) => "IP address and port, or `\"off\"`".to_owned(),
        Slot::Path(_) => "path".to_owned(),
        Slot::Origin(_) => "origin, such as `\"https://hub.example\"`".to_owned(),
        Slot::Url(_) => "http or https address".to_owned(),
        Slot::Text(_) => "text".to_owned(),
        Slot::Choice(choices, _) => format!("one of `\"{}\"`", choices.join("\"`, `\"")),
        Slot::Switch(_) => "`true` or `false`".to_owned(),
        Slot::TextList(_) => "list of texts".to_owned(),
        Slot::Duration(_, range) => format!(
            "duration from {} to {}",
            format_duration(*range.start()),
            format_duration(*range.end())
        ),
        Slot::Size(_, range) => format!(
            "size from {} to {}",
            format_size(*range.start() as u64),
            format_size(*range.end() as u64)
        ),
        Slot::Count(_, range) => format!("number from {} to {}", range.start(), range.end()),
        Slot::SmallCount(_, range) => format!("number from {} to {}", range.start(), range.end()),
        Slot::OffOrCount(_, range) => format!(
            "`\"off\"` or number from {} to {}",
            range.start(),
            range.end()
        ),
    }
}
