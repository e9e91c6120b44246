//! Pure decisions about addresses, names, ids and the places to go to after signing in.
//!
//! One rule for each, used by the pages, the JSON routes and the command line alike.

use epicenter_identity::UserId;

use super::store::SessionId;
use crate::config::PublicOrigin;
use crate::ports::Random;

/// RFC 5321 section 4.5.3.1.3, less the angle brackets.
const MAX_EMAIL_BYTES: usize = 254;
/// RFC 5321 section 4.5.3.1.1.
const MAX_LOCAL_BYTES: usize = 64;
/// RFC 1035 section 2.3.4.
const MAX_LABEL_BYTES: usize = 63;
/// Longer names are nobody's, and break every list they stand in.
const MAX_NAME_CHARS: usize = 200;
/// Longer addresses are refused by browsers and proxies here and there.
const MAX_CALLBACK_BYTES: usize = 2_048;
/// 62 to the power of 32 is 190 bits.
const ID_CHARS: usize = 32;

/// The address as it is stored and compared: trimmed, ASCII lower case. `None` for what a browser's own `type=email` field
/// would not take either (the rule of the HTML standard), or what is too long.
///
/// Addresses beyond ASCII are refused: there one address has several spellings that look alike, and mail to them mostly
/// does not arrive.
pub fn parse_email(text: &str) -> Option<String> {
    let email = text.trim().to_ascii_lowercase();
    let (local, domain) = email.split_once('@')?;
    let is_label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_valid = email.len() <= MAX_EMAIL_BYTES
        && (1..=MAX_LOCAL_BYTES).contains(&local.len())
        && local.bytes().all(is_local)
        && domain.split('.').all(is_label);
    is_valid.then_some(email)
}

/// What the HTML standard allows before the `@`.
fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&byte)
}

/// The display name, trimmed; that of somebody who gave none is the part of the address before the `@`. `None` for one that
/// is too long, or that could change how the text around it is read.
pub fn parse_name(text: &str, email: &str) -> Option<String> {
    let name = text.trim();
    if name.is_empty() {
        let local = email.split('@').next().unwrap_or(email);
        return Some(local.to_owned());
    }
    let is_valid = name.chars().count() <= MAX_NAME_CHARS && !name.chars().any(is_unprintable);
    is_valid.then(|| name.to_owned())
}

/// Control characters, line breaks of every kind, and those that turn the direction of text.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// 32 letters and digits.
pub fn draw_id(random: &dyn Random) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    // Bytes beyond a multiple of the alphabet's size would favour its beginning.
    const FAIR: u8 = 248;
    let mut id = String::with_capacity(ID_CHARS);
    loop {
        let mut bytes = [0; ID_CHARS];
        random.fill(&mut bytes);
        for byte in bytes.into_iter().filter(|byte| *byte < FAIR) {
            if id.len() == ID_CHARS {
                return id;
            }
            id.extend(
                ALPHABET
                    .get(usize::from(byte) % ALPHABET.len())
                    .map(|letter| char::from(*letter)),
            );
        }
    }
}

/// The id of a new account.
pub fn draw_user_id(random: &dyn Random) -> UserId {
    UserId::parse(&draw_id(random)).expect("32 letters and digits are an id, and no reserved one")
}

/// The public id of a new session.
pub(crate) fn draw_session_id(random: &dyn Random) -> SessionId {
    SessionId::new(draw_id(random))
}

/// Whether a browser may be sent there after signing in: a path of this hub, or a URL of an origin that is trusted.
///
/// It must not be possible to read the text as a path here and as another host in a browser, so that whatever parsers are
/// known to disagree about is refused: control characters and spaces (which browsers cut out), backslashes (which they
/// read as slashes), empty segments at the beginning, and the percent-encoded forms of all these in the path.
pub(crate) fn is_safe_callback(text: &str, origin: &PublicOrigin, trusted: &[String]) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    if text.len() > MAX_CALLBACK_BYTES || !text.bytes().all(is_plain) {
        return false;
    }
    if text.starts_with('/') {
        return is_safe_path(text);
    }
    let origins = trusted.iter().map(String::as_str);
    let mut rests = std::iter::once(origin.as_str())
        .chain(origins)
        .filter_map(|origin| text.strip_prefix(origin));
    rests.any(|rest| {
        rest.is_empty()
            || rest.starts_with(['?', '#'])
            || (rest.starts_with('/') && is_safe_path(rest))
    })
}

fn is_safe_path(text: &str) -> bool {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let path = text.get(..end).unwrap_or_default();
    let decodes_to_trouble = path.split('%').skip(1).any(|rest| {
        let byte = rest
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        byte.is_none_or(|byte| byte <= b' ' || byte == 0x7f || matches!(byte, b'/' | b'\\'))
    });
    // `/.//host` and `/x/..//host` shrink to `//host` in those who resolve before they look.
    !path.contains("//") && !decodes_to_trouble
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{draw_id, draw_user_id, is_safe_callback, parse_email, parse_name};
    use crate::config::PublicOrigin;
    use crate::ports::Random;

    #[test]
    fn addresses_are_written_one_way() {
        #[track_caller]
        fn check(text: &str, expect: Option<&str>) {
            assert_eq!(parse_email(text).as_deref(), expect, "{text:?}");
        }
        check(" Ada@Example.COM\n", Some("ada@example.com"));
        check("ada+hub@localhost", Some("ada+hub@localhost"));
        check("a.b'c@x-y.example", Some("a.b'c@x-y.example"));
        for text in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "ada@@example.com",
            "ada@example.com@evil.example",
            "ada@example..com",
            "ada@-example.com",
            "ada@example-.com",
            "a da@example.com",
            "ada@exa mple.com",
            "ada\0@example.com",
            "ada@example.com\r\nBcc: eve@evil.example",
            "\"ada\"@example.com",
            "ada@[127.0.0.1]",
            "<script>@example.com",
            "ädä@example.com",
            "ada@еxample.com",
        ] {
            check(text, None);
        }
        let long = |local: usize, label: usize| {
            let label = "d".repeat(label);
            format!("{}@{label}.{label}.{label}.e", "l".repeat(local))
        };
        assert!(parse_email(&long(59, 63)).is_some(), "254 bytes");
        assert!(parse_email(&long(62, 63)).is_none(), "257 bytes");
        assert!(parse_email(&long(64, 20)).is_some());
        assert!(parse_email(&long(65, 20)).is_none());
        assert!(parse_email(&long(1, 64)).is_none());
    }

    #[test]
    fn names_are_trimmed_bounded_and_harmless() {
        let parse = |text: &str| parse_name(text, "ada@example.com");
        assert_eq!(parse(" Ada Lovelace "), Some("Ada Lovelace".to_owned()));
        assert_eq!(parse("  "), Some("ada".to_owned()));
        assert_eq!(parse("<b>Ada</b>"), Some("<b>Ada</b>".to_owned()));
        assert!(parse(&"ä".repeat(200)).is_some());
        assert!(parse(&"ä".repeat(201)).is_none());
        for text in [
            "a\0b",
            "a\nb",
            "a\u{1b}[31m",
            "a\u{202e}b",
            "a\u{2066}b",
            "a\u{2028}b",
            "a\u{85}b",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    struct Bytes(AtomicU64);

    impl Random for Bytes {
        fn fill(&self, bytes: &mut [u8]) {
            for byte in bytes {
                let next = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
                *byte = (next >> 56) as u8;
            }
        }
    }

    #[test]
    fn ids_are_letters_and_digits_and_use_all_of_them() {
        let random = Bytes(AtomicU64::new(1));
        let mut seen = HashSet::new();
        for _ in 0..200 {
            let id = draw_id(&random);
            assert_eq!(id.len(), 32);
            assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            seen.extend(id.bytes());
        }
        assert_eq!(seen.len(), 62);
        assert_eq!(draw_user_id(&random).as_str().len(), 32);
    }

    fn is_safe(text: &str) -> bool {
        let origin = PublicOrigin::parse("https://hub.example").unwrap();
        let trusted = [
            "https://app.example:8443".to_owned(),
            "chrome-extension://abc".to_owned(),
        ];
        is_safe_callback(text, &origin, &trusted)
    }

    #[test]
    fn paths_of_the_hub_and_trusted_origins_are_fine() {
        for text in [
            "/",
            "/x",
            "/x/y?next=//evil.example&a=%2F%5C#//",
            "/auth/oauth2/authorize?redirect_uri=https%3A%2F%2Fapp.example",
            "/caf%C3%A9",
            "https://hub.example",
            "https://hub.example/",
            "https://hub.example?x",
            "https://hub.example#x",
            "https://app.example:8443/done",
            "chrome-extension://abc/popup.html",
        ] {
            assert!(is_safe(text), "{text}");
        }
    }

    #[test]
    fn no_spelling_of_another_host_is() {
        for text in [
            "",
            "x",
            "?x",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "/\r\nSet-Cookie: a=b",
            "\t//evil.example",
            " //evil.example",
            " /x",
            "/x y",
            "/\0/evil.example",
            "/\u{7f}/evil.example",
            "/%09/evil.example",
            "/%0a/evil.example",
            "/%0D%0ASet-Cookie:a=b",
            "/%2f/evil.example",
            "/%2Fevil.example",
            "/%5Cevil.example",
            "/%5c%5cevil.example",
            "/%00",
            "/%",
            "/%2",
            "/%zz",
            "/%+2",
            "/.//evil.example",
            "/x/..//evil.example",
            "/..//evil.example",
            "/\u{ff0f}evil.example",
            "/é",
            "http:evil.example",
            "http:/evil.example",
            "https:evil.example",
            "https:///evil.example",
            "http://hub.example",
            "https://evil.example",
            "https://evil.example/https://hub.example",
            "https://hub.example.evil.example",
            "https://hub.example@evil.example",
            "https://hub.example:x@evil.example",
            "https://hub.example:444",
            "https://hub.example\\@evil.example",
            "https://hub.example%2eevil.example",
            "https://hub.example//evil.example",
            "https://app.example",
            "https://app.example:84430",
            "chrome-extension://abcd/x",
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            "java\tscript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
        ] {
            assert!(!is_safe(text), "{text:?}");
        }
        assert!(is_safe(&format!("/{}", "x".repeat(2_047))));
        assert!(!is_safe(&format!("/{}", "x".repeat(2_048))));
    }
}
