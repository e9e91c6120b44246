//! The parameters of OAuth requests, decoded once and strictly (RFC 6749 section 3.1).
//!
//! A parameter that stands twice is refused whatever it is: two readers of one request must not see two requests. One
//! without a value counts as left out.

use std::collections::BTreeMap;
use std::fmt;

use epicenter_api::percent_decode;
use zeroize::Zeroizing;

/// Parameters by name. Values may be secrets: they are wiped when dropped and never shown.
pub(super) struct Parameters(BTreeMap<String, Zeroizing<String>>);

/// A query or form that has no single reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParametersError {
    #[error("a parameter cannot be decoded")]
    Malformed,
    #[error("a parameter stands there twice")]
    Duplicate,
}

impl Parameters {
    /// Reads a query or form.
    pub(super) fn parse(text: &str) -> Result<Self, ParametersError> {
        let mut parameters = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or(ParametersError::Malformed)?;
            let value = decode(value).ok_or(ParametersError::Malformed)?;
            if parameters.insert(name, Zeroizing::new(value)).is_some() {
                return Err(ParametersError::Duplicate);
            }
        }
        parameters.retain(|_, value| !value.is_empty());
        Ok(Self(parameters))
    }

    /// The value of a parameter that is there and not empty.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str())
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// Percent-decodes one name or value of a form or query; `+` is a space.
pub(super) fn decode(text: &str) -> Option<String> {
    percent_decode(&text.replace('+', " ")).map(|decoded| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::{Parameters, ParametersError};

    #[test]
    fn parameters_are_decoded_and_empty_ones_left_out() {
        let parameters = Parameters::parse("a=x%20y+z&b=&c&d=1&&%65=%C3%A9").unwrap();
        assert_eq!(parameters.find("a"), Some("x y z"));
        assert_eq!(parameters.find("b"), None);
        assert_eq!(parameters.find("c"), None);
        assert_eq!(parameters.find("d"), Some("1"));
        assert_eq!(parameters.find("e"), Some("é"));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let error = |text: &str| Parameters::parse(text).map(|_| ()).unwrap_err();
        assert_eq!(error("a=1&a=1"), ParametersError::Duplicate);
        assert_eq!(error("a=1&a="), ParametersError::Duplicate);
        assert_eq!(error("a=1&%61=2"), ParametersError::Duplicate);
        assert_eq!(error("a=%FF"), ParametersError::Malformed);
        assert_eq!(error("a=%zz"), ParametersError::Malformed);
    }

    #[test]
    fn values_are_never_shown() {
        let parameters = Parameters::parse("code_verifier=hidden").unwrap();
        assert_eq!(format!("{parameters:?}"), "{\"code_verifier\"}");
    }
}
