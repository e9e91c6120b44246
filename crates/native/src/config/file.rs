//! The TOML file: its keys and values with their lines, unknown keys refused with a suggestion.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::settings::{self, SETTINGS, Setting};
use super::tables::{Fields, TableList};
use super::value::Value;
use super::{ConfigError, ai, clients};

/// A setting that the file gives.
#[derive(Debug)]
pub(super) struct FileEntry {
    pub(super) setting: &'static Setting,
    pub(super) line: usize,
    pub(super) value: Value,
}

/// A table of a list that the file gives.
#[derive(Debug)]
pub(super) struct TableEntry {
    pub(super) list: &'static TableList,
    pub(super) line: usize,
    pub(super) fields: Fields,
}

/// Everything that a file gives.
#[derive(Debug)]
pub(super) struct FileContent {
    pub(super) entries: Vec<FileEntry>,
    pub(super) tables: Vec<TableEntry>,
}

/// Every list of tables.
pub(super) static LISTS: [&TableList; 3] = [&clients::LIST, &ai::PROVIDERS, &ai::MODELS];

/// Secrets have no key: a file that people copy and commit is no place for them.
const SECRET_KEYS: [&str; 7] = [
    "ai.openai_api_key",
    "ai.gemini_api_key",
    "ai.anthropic_api_key",
    "encryption_secrets",
    "auth_secret",
    "better_auth_secret",
    "database_url",
];

/// Reads what a configuration text says.
pub(super) fn parse(path: &Path, text: &str) -> Result<FileContent, ConfigError> {
    let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        message: error.message().to_owned(),
    })?;
    let mut reader = Reader {
        path: path.to_owned(),
        text,
        content: FileContent {
            entries: Vec::new(),
            tables: Vec::new(),
        },
    };
    reader.walk("", document.get_ref())?;
    Ok(reader.content)
}

struct Reader<'t> {
    path: PathBuf,
    text: &'t str,
    content: FileContent,
}

impl Reader<'_> {
    /// Recursion is bounded by the depth of the settings' own keys: anything deeper is unknown.
    fn walk(&mut self, prefix: &str, table: &DeTable<'_>) -> Result<(), ConfigError> {
        for (name, value) in table {
            let line = line_of(self.text, name.span().start);
            let key = match prefix {
                "" => name.get_ref().to_string(),
                prefix => format!("{prefix}.{}", name.get_ref()),
            };
            if let Some(setting) = settings::find(&key) {
                self.content.entries.push(FileEntry {
                    setting,
                    line,
                    value: value_of(value.get_ref()),
                });
                continue;
            }
            let list = LISTS.into_iter().find(|list| list.key == key);
            match (value.get_ref(), list) {
                (DeValue::Table(inner), _) if is_section(&key) => self.walk(&key, inner)?,
                (DeValue::Array(items), Some(list)) => {
                    for item in items {
                        let line = line_of(self.text, item.span().start);
                        match item.get_ref() {
                            DeValue::Table(table) => self.table(list, line, table)?,
                            _ => return Err(self.unknown(key, line)),
                        }
                    }
                }
                _ => return Err(self.unknown(key, line)),
            }
        }
        Ok(())
    }

    fn table(
        &mut self,
        list: &'static TableList,
        line: usize,
        table: &DeTable<'_>,
    ) -> Result<(), ConfigError> {
        let mut fields = Fields::new();
        for (name, value) in table {
            let field: &str = name.get_ref();
            if !list.fields.iter().any(|(known, _)| *known == field) {
                let known: Vec<_> = list.fields.iter().map(|(name, _)| *name).collect();
                return Err(ConfigError::UnknownKey {
                    path: self.path.clone(),
                    line: line_of(self.text, name.span().start),
                    key: format!("{}.{field}", list.key),
                    hint: format!("a {} has: {}", list.noun, known.join(", ")),
                });
            }
            fields.push((field.to_owned(), value_of(value.get_ref())));
        }
        self.content.tables.push(TableEntry { list, line, fields });
        Ok(())
    }

    fn unknown(&self, key: String, line: usize) -> ConfigError {
        let hint = if SECRET_KEYS.contains(&key.to_lowercase().as_str()) {
            format!(
                "secrets are not read from this file: set {} in the environment, or name a file with {}_file",
                key.rsplit('.').next().unwrap_or(&key).to_uppercase(),
                key.to_lowercase().trim_start_matches("better_")
            )
        } else if let Some(list) = LISTS.into_iter().find(|list| list.key == key) {
            format!("write each {} below a line [[{}]]", list.noun, list.key)
        } else if is_section(&key) {
            format!("`{key}` is a section: write [{key}] on a line of its own")
        } else {
            suggestion(&key).map_or_else(
                || "remove the line, or see docs/configuration.md for every key".to_owned(),
                |candidate| format!("did you mean `{candidate}`?"),
            )
        };
        ConfigError::UnknownKey {
            path: self.path.clone(),
            line,
            key,
            hint,
        }
    }
}

/// Whether settings lie below this key.
fn is_section(key: &str) -> bool {
    sections().any(|section| section == key)
}

fn sections() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().flat_map(|setting| {
        setting
            .key
            .match_indices('.')
            .map(|(at, _)| &setting.key[..at])
    })
}

/// The known key or section nearest to an unknown one, if any is near.
fn suggestion(key: &str) -> Option<&'static str> {
    let last = key.rsplit('.').next().unwrap_or(key);
    SETTINGS
        .iter()
        .map(|setting| setting.key)
        .chain(sections())
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(candidate, key);
            // The right name in the wrong section is as near as a slip of one letter.
            let candidate_last = candidate.rsplit('.').next().unwrap_or(candidate);
            let distance = distance.min(strsim::damerau_levenshtein(candidate_last, last) + 1);
            (distance, candidate)
        })
        .filter(|(distance, candidate)| *distance <= candidate.len().min(key.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn value_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        // Only decimal digits are kept as a number; other bases are spelled the way they were written.
        DeValue::Integer(integer) => Value::Integer(integer.to_string()),
        DeValue::Boolean(value) => Value::Switch(*value),
        DeValue::Array(items) => {
            let texts: Option<Vec<String>> = items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) => Some(text.to_string()),
                    _ => None,
                })
                .collect();
            texts.map_or(Value::Other("a list of something else"), Value::List)
        }
        DeValue::Float(number) => Value::Fraction(number.to_string()),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Table(_) => Value::Other("a table"),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}
