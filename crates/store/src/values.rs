//! Between domain types and columns.

use std::net::IpAddr;

use epicenter_identity::{ClientId, GrantId, Scopes, UserId};
use epicenter_server::accounts::store::SessionId;
use epicenter_server::secret::SecretHash;

use crate::sql::{Row, SqlError, Value};

/// What a parameter may be made of.
pub(crate) trait IntoValue {
    fn into_value(self) -> Value;
}

/// The parameters of a statement, in the order of their numbers.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::values::IntoValue::into_value($value)),*]
    };
}
pub(crate) use values;

impl IntoValue for &str {
    fn into_value(self) -> Value {
        Value::Text(self.to_owned())
    }
}

impl IntoValue for &String {
    fn into_value(self) -> Value {
        Value::Text(self.clone())
    }
}

impl IntoValue for String {
    fn into_value(self) -> Value {
        Value::Text(self)
    }
}

impl IntoValue for u64 {
    /// Times and counts; what no column can hold is as good as never.
    fn into_value(self) -> Value {
        Value::Integer(i64::try_from(self).unwrap_or(i64::MAX))
    }
}

impl IntoValue for i64 {
    fn into_value(self) -> Value {
        Value::Integer(self)
    }
}

impl IntoValue for usize {
    fn into_value(self) -> Value {
        Value::Integer(i64::try_from(self).unwrap_or(i64::MAX))
    }
}

impl IntoValue for bool {
    fn into_value(self) -> Value {
        Value::Integer(i64::from(self))
    }
}

impl IntoValue for &[u8] {
    fn into_value(self) -> Value {
        Value::Blob(self.to_vec())
    }
}

impl IntoValue for &Vec<u8> {
    fn into_value(self) -> Value {
        Value::Blob(self.clone())
    }
}

impl IntoValue for &SecretHash {
    fn into_value(self) -> Value {
        Value::Blob(self.as_bytes().to_vec())
    }
}

impl IntoValue for &UserId {
    fn into_value(self) -> Value {
        self.as_str().into_value()
    }
}

impl IntoValue for &ClientId {
    fn into_value(self) -> Value {
        self.as_str().into_value()
    }
}

impl IntoValue for &GrantId {
    fn into_value(self) -> Value {
        self.as_str().into_value()
    }
}

impl IntoValue for &SessionId {
    fn into_value(self) -> Value {
        self.as_str().into_value()
    }
}

impl IntoValue for Scopes {
    fn into_value(self) -> Value {
        Value::Text(self.to_string())
    }
}

impl IntoValue for IpAddr {
    fn into_value(self) -> Value {
        Value::Text(self.to_string())
    }
}

impl<T: IntoValue> IntoValue for Option<T> {
    fn into_value(self) -> Value {
        self.map_or(Value::Null, T::into_value)
    }
}

/// What a column may be read as.
pub(crate) trait FromValue: Sized {
    /// `None` when the column holds something else.
    fn from_value(value: Value) -> Option<Self>;
}

impl FromValue for String {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl FromValue for u64 {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Integer(number) => u64::try_from(number).ok(),
            _ => None,
        }
    }
}

impl FromValue for i64 {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Integer(number) => Some(number),
            _ => None,
        }
    }
}

impl FromValue for bool {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Integer(0) => Some(false),
            Value::Integer(1) => Some(true),
            _ => None,
        }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Blob(bytes) => Some(bytes),
            _ => None,
        }
    }
}

impl<const LENGTH: usize> FromValue for [u8; LENGTH] {
    fn from_value(value: Value) -> Option<Self> {
        Vec::from_value(value)?.try_into().ok()
    }
}

impl FromValue for SecretHash {
    fn from_value(value: Value) -> Option<Self> {
        <[u8; 32]>::from_value(value).map(Self::from_bytes)
    }
}

impl FromValue for UserId {
    fn from_value(value: Value) -> Option<Self> {
        Self::parse(&String::from_value(value)?).ok()
    }
}

impl FromValue for ClientId {
    fn from_value(value: Value) -> Option<Self> {
        Self::parse(&String::from_value(value)?).ok()
    }
}

impl FromValue for GrantId {
    fn from_value(value: Value) -> Option<Self> {
        Self::parse(&String::from_value(value)?).ok()
    }
}

impl FromValue for SessionId {
    fn from_value(value: Value) -> Option<Self> {
        String::from_value(value).map(Self::new)
    }
}

impl FromValue for Scopes {
    fn from_value(value: Value) -> Option<Self> {
        String::from_value(value).map(|text| Self::parse_lenient(&text))
    }
}

impl FromValue for IpAddr {
    fn from_value(value: Value) -> Option<Self> {
        String::from_value(value)?.parse().ok()
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

/// Reads the columns of a row from left to right.
pub(crate) struct Columns(std::vec::IntoIter<Value>);

impl Columns {
    pub(crate) fn of(row: Row) -> Self {
        Self(row.0.into_iter())
    }

    /// The next column; `what` is what the log says about one that is not as it was written.
    pub(crate) fn next<T: FromValue>(&mut self, what: &'static str) -> Result<T, SqlError> {
        let value = self.0.next().ok_or(SqlError::Damaged(what))?;
        T::from_value(value).ok_or(SqlError::Damaged(what))
    }
}

/// The first row, for queries by a unique key.
pub(crate) fn first(rows: Vec<Row>) -> Option<Columns> {
    rows.into_iter().next().map(Columns::of)
}
