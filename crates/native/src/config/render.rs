//! The effective configuration as TOML that loads again, without any secret.

use std::fmt::Write as _;

use epicenter_server::ai::catalog::{Credits, Model, Price};
use epicenter_server::ai::settings::{Provider, ProviderKey};
use epicenter_server::oauth::clients::OAuthClient;

use super::load::Loaded;
use super::settings::{Draft, SETTINGS, SHARED, Slot};
use super::units::{format_duration, format_size};
use super::{AdminListen, ai, clients};

/// Writes every setting with its value and where that comes from.
///
/// The text is a configuration file that gives the same configuration, but for the secrets, which appear as comments
/// that say whether they are set.
pub fn render(loaded: &Loaded) -> String {
    let mut draft = Draft::of(loaded.config.clone(), Some(loaded.config.data_dir.clone()));
    let mut text = String::new();
    let mut current_section = "";
    for setting in SETTINGS {
        let (section, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if section == SHARED && draft.mode != SHARED {
            continue;
        }
        if section != current_section {
            text.push_str(&format!("\n[{section}]\n"));
            current_section = section;
        }
        let origin = loaded
            .sources
            .get(setting.key)
            .map_or_else(|| "default".to_owned(), ToString::to_string);
        let line = match setting.key {
            "encryption_secrets_file" => secret_line(
                "ENCRYPTION_SECRETS",
                loaded.config.encryption_secrets.is_some(),
                &origin,
            ),
            "auth_secret_file" => {
                secret_line("AUTH_SECRET", loaded.config.auth_secret.is_some(), &origin)
            }
            "ai.openai_api_key_file" => ai_key_line("OPENAI_API_KEY", 0, loaded, &origin),
            "ai.gemini_api_key_file" => ai_key_line("GEMINI_API_KEY", 1, loaded, &origin),
            "ai.anthropic_api_key_file" => ai_key_line("ANTHROPIC_API_KEY", 2, loaded, &origin),
            "database_url_file" if loaded.config.database_url.is_some() => {
                secret_line("DATABASE_URL", true, &origin)
            }
            "database_url_file" => {
                "# DATABASE_URL: not set; the identity store is in the data directory".to_owned()
            }
            // Written out, it would be an address that somebody asked for.
            "admin.listen" if matches!(loaded.config.admin.listen, AdminListen::IfFree(_)) => {
                format!("# {name}: {}", setting.default_text.unwrap_or("not set"))
            }
            _ => match show(&(setting.slot)(&mut draft)) {
                Some(value) => format!("{name} = {value} # {origin}"),
                None => format!("# {name}: {}", setting.default_text.unwrap_or("not set")),
            },
        };
        text.push_str(&line);
        text.push('\n');
    }
    for client in &loaded.config.oauth.clients {
        text.push_str(&client_table(client));
    }
    let ai = &loaded.config.ai;
    for provider in ai.providers.iter().skip(ai::BUILT_IN_NAMES.len()) {
        text.push_str(&provider_table(provider));
    }
    for model in &ai.models {
        text.push_str(&model_table(model));
    }
    text
}

fn provider_table(provider: &Provider) -> String {
    let key = match provider.key {
        ProviderKey::Held(_) => "# key: ********\n",
        ProviderKey::Missing | ProviderKey::NotNeeded => "",
    };
    format!(
        "\n[[{}]]\nname = {}\nbase_url = {}\nown_key = {}\n{key}",
        ai::PROVIDERS.key,
        quote(&provider.name),
        quote(&provider.base_url),
        provider.own_key,
    )
}

fn model_table(model: &Model) -> String {
    let mut names = ai::capability_names(model.capabilities);
    let mut text = format!(
        "\n[[{}]]\nprovider = {}\nmodel = {}\ncontext = {}\nmax_output = {}\ncapabilities = {}\n",
        ai::MODELS.key,
        quote(&model.provider),
        quote(&model.name),
        model.context_tokens,
        model.max_output_tokens,
        show(&Slot::TextList(&mut names)).unwrap_or_default(),
    );
    text.push_str(&format!(
        "ignores_sampling = {}\nwants_signatures = {}\n",
        model.ignores_sampling, model.wants_signatures,
    ));
    let mut price = |name: &str, credits: Credits| {
        text.push_str(&format!("{name} = {credits}\n"));
    };
    match model.price {
        Price::PerCall(credits) => price("credits", credits),
        Price::PerMillionTokens { input, output } => {
            price("input_credits", input);
            price("output_credits", output);
        }
    }
    if let Some((provider, name)) = &model.fallback {
        let fallback = quote(&format!("{provider}/{name}"));
        text.push_str(&format!("fallback = {fallback}\n"));
    }
    text
}

fn client_table(client: &OAuthClient) -> String {
    let list = |items: Vec<String>| show(&Slot::TextList(&mut { items })).unwrap_or_default();
    let scopes = client.default_scopes.iter();
    let mut text = format!(
        "\n[[{}]]\nid = {}\nname = {}\ntype = {}\nredirect_uris = {}\ntrusted = {}\ndefault_scopes = {}\n",
        clients::LIST.key,
        quote(client.id.as_str()),
        quote(&client.name),
        quote(clients::kind_name(client.kind)),
        list(client.redirect_uris.clone()),
        client.trusted,
        list(scopes.map(|scope| scope.to_string()).collect()),
    );
    if client.secret.is_some() {
        text.push_str("# secret_sha256: ********\n");
    }
    text
}

fn ai_key_line(variable: &str, place: usize, loaded: &Loaded, origin: &str) -> String {
    let provider = loaded.config.ai.providers.get(place);
    match provider.map(|provider| &provider.key) {
        Some(ProviderKey::Held(_)) => secret_line(variable, true, origin),
        _ => format!("# {variable}: not set"),
    }
}

fn secret_line(variable: &str, is_set: bool, origin: &str) -> String {
    if is_set {
        format!("# {variable}: ******** ({origin})")
    } else {
        format!("# {variable}: the hub's own, kept in the data directory")
    }
}

/// The TOML value in a slot; none when nothing is set.
pub(super) fn show(slot: &Slot<'_>) -> Option<String> {
    Some(match slot {
        Slot::Address(value) => quote(&value.to_string()),
        Slot::AddressOrOff(None) => quote("off"),
        Slot::AddressOrOff(Some(value)) => quote(&value.to_string()),
        Slot::Path(value) => quote(&value.as_ref()?.to_string_lossy()),
        Slot::Origin(value) => quote(value.as_ref()?.as_str()),
        Slot::Url(value) | Slot::Text(value) => quote(value),
        Slot::Choice(_, value) => quote(value),
        Slot::Switch(value) => value.to_string(),
        Slot::TextList(values) => {
            let items: Vec<String> = values.iter().map(|value| quote(value)).collect();
            format!("[{}]", items.join(", "))
        }
        Slot::Duration(value, _) => quote(&format_duration(**value)),
        Slot::Size(value, _) => quote(&format_size(**value as u64)),
        Slot::Count(value, _) => value.to_string(),
        Slot::SmallCount(value, _) => value.to_string(),
        Slot::OffOrCount(value, _) => match value {
            Some(count) => count.to_string(),
            None => quote("off"),
        },
    })
}

/// A TOML basic string.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            character if character.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\u{:04X}", character as u32);
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
