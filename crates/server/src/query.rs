//! Query parameters, decoded once and strictly.
//!
//! Form decoders of the usual kind replace what is not UTF-8; an id is never guessed here, so that two spellings of one
//! request cannot be read in two ways.

use epicenter_api::percent_decode;

/// The values of a parameter in order, `None` for one that cannot be decoded; `+` is a space, as browsers write it.
pub(crate) fn values<'a>(
    query: Option<&'a str>,
    name: &'a str,
) -> impl Iterator<Item = Option<String>> + 'a {
    query
        .unwrap_or_default()
        .split('&')
        .filter_map(move |pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key).as_deref() == Some(name)).then(|| decode(value))
        })
}

fn decode(text: &str) -> Option<String> {
    percent_decode(&text.replace('+', " ")).map(|decoded| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    #[track_caller]
    fn check(query: Option<&str>, expect: &[Option<&str>]) {
        let values: Vec<_> = super::values(query, "deviceId").collect();
        let values: Vec<_> = values.iter().map(Option::as_deref).collect();
        assert_eq!(values, expect);
    }

    #[test]
    fn values_come_in_order_and_decoded() {
        check(None, &[]);
        check(Some(""), &[]);
        check(Some("x=1&deviceId=a%20b"), &[Some("a b")]);
        check(Some("deviceId=a+b"), &[Some("a b")]);
        check(Some("deviceId="), &[Some("")]);
        check(Some("deviceId"), &[Some("")]);
        check(Some("deviceid=a"), &[]);
        check(Some("deviceId=%FF&device%49d=b=c"), &[None, Some("b=c")]);
        check(Some("deviceId=%zz"), &[None]);
    }
}
