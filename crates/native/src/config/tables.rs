//! Settings that are lists of tables: their fields, and how one table is read.

use epicenter_server::ai::catalog::Credits;

use super::value::{Problem, Value};

/// A list of tables that the file may have.
#[derive(Debug)]
pub(super) struct TableList {
    /// The key of the list.
    pub(super) key: &'static str,
    /// What one table is called.
    pub(super) noun: &'static str,
    /// What one may say, with what it means.
    pub(super) fields: &'static [(&'static str, &'static str)],
    /// What the list is for, and one table of it.
    pub(super) about: &'static str,
    pub(super) example: &'static str,
}

/// A table as the file has it: fields with their values.
pub(super) type Fields = Vec<(String, Value)>;

/// Takes the fields of one table; what is wrong names the table and the field.
pub(super) struct TableReader {
    noun: &'static str,
    named: String,
    fields: Fields,
}

impl TableReader {
    /// Of a table that `name_field` tells from others.
    pub(super) fn new(list: &'static TableList, name_field: &str, fields: Fields) -> Self {
        let named = fields.iter().find_map(|(name, value)| match value {
            Value::Text(text) if name == name_field => Some(text.clone()),
            _ => None,
        });
        Self {
            noun: list.noun,
            named: named.unwrap_or_else(|| format!("without {name_field}")),
            fields,
        }
    }

    pub(super) fn wrong(&self, field: &str, problem: &str, fix: &str) -> Problem {
        Problem::new(
            format!("{} {:?}: `{field}` {problem}", self.noun, self.named),
            fix,
        )
    }

    pub(super) fn take(&mut self, field: &str) -> Option<Value> {
        let at = self.fields.iter().position(|(name, _)| name == field)?;
        Some(self.fields.swap_remove(at).1)
    }

    pub(super) fn text(&mut self, field: &str) -> Result<Option<String>, Problem> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Text(text)) if !text.trim().is_empty() => Ok(Some(text)),
            Some(_) => Err(self.wrong(field, "is no text", "write text in double quotes")),
        }
    }

    pub(super) fn needed_text(&mut self, field: &str, fix: &str) -> Result<String, Problem> {
        let text = self.text(field)?;
        text.ok_or_else(|| self.wrong(field, "is missing", fix))
    }

    pub(super) fn texts(&mut self, field: &str) -> Result<Vec<String>, Problem> {
        match self.take(field) {
            None => Ok(Vec::new()),
            Some(Value::List(texts)) => Ok(texts),
            Some(_) => Err(self.wrong(field, "is no list of texts", "write [\"one\", \"two\"]")),
        }
    }

    /// A list that may be left out, which is not the same as an empty one.
    pub(super) fn optional_texts(&mut self, field: &str) -> Result<Option<Vec<String>>, Problem> {
        let is_there = self.fields.iter().any(|(name, _)| name == field);
        is_there.then(|| self.texts(field)).transpose()
    }

    pub(super) fn switch(&mut self, field: &str) -> Result<bool, Problem> {
        match self.take(field) {
            None => Ok(false),
            Some(Value::Switch(value)) => Ok(value),
            Some(_) => Err(self.wrong(field, "is neither true nor false", "write true or false")),
        }
    }

    pub(super) fn count(&mut self, field: &str) -> Result<Option<u64>, Problem> {
        const FIX: &str = "write a whole number from 1 to 1000000000";
        match self.take(field) {
            None => Ok(None),
            Some(Value::Integer(digits)) => match digits.parse() {
                Ok(count) if (1..=1_000_000_000).contains(&count) => Ok(Some(count)),
                _ => Err(self.wrong(field, "is no such number", FIX)),
            },
            Some(_) => Err(self.wrong(field, "is no number", FIX)),
        }
    }

    /// A number with at most three digits after the point, in thousandths.
    pub(super) fn thousandths(&mut self, field: &str) -> Result<Option<u64>, Problem> {
        let Some(value) = self.take(field) else {
            return Ok(None);
        };
        let parsed = match &value {
            Value::Integer(text) | Value::Fraction(text) => parse_thousandths(text),
            _ => None,
        };
        parsed.map(Some).ok_or_else(|| {
            self.wrong(
                field,
                "is no number of credits",
                "write a number from 0 to 1000000 with at most three digits after the point, such as 12.5",
            )
        })
    }
}

fn parse_thousandths(text: &str) -> Option<u64> {
    let credits = Credits::parse(text)?;
    (credits <= Credits::whole(1_000_000)).then(|| credits.as_thousandths())
}

#[cfg(test)]
mod tests {
    use super::parse_thousandths;

    #[test]
    fn credits_are_read_exactly() {
        for (text, expect) in [
            ("0", Some(0)),
            ("12", Some(12_000)),
            ("12.5", Some(12_500)),
            ("0.015", Some(15)),
            ("1000000", Some(1_000_000_000)),
            ("1000001", None),
            ("0.0015", None),
            ("-1", None),
            ("1e3", None),
            (".5", None),
            ("inf", None),
        ] {
            assert_eq!(parse_thousandths(text), expect, "{text}");
        }
    }
}
