//! What a provider says may be passed on, but not what it repeats of a key or tells about the house's account (`ai.md`).
//!
//! OpenAI answers a wrong key with most of it, and names the organization in its rate limits.

use crate::secret::Secret;

const REDACTED: &str = "[redacted]";

/// Longer texts are cut: an error is read by a person.
const MAX_CHARS: usize = 500;

/// How keys and account names of the known providers begin.
const MARKS: [&str; 12] = [
    "sk-", "sk_", "pk-", "AIza", "org-", "proj_", "proj-", "gsk_", "xai-", "hf_", "rk-", "user-",
];

/// Fewer visible characters of a key than this may be an ordinary word.
const MIN_KEY_BYTES: usize = 6;

/// The text without keys, account names and control characters, not too long.
pub(super) fn redact(text: &str, key: Option<&Secret>) -> String {
    let mut text = text.to_owned();
    if let Some(key) = key.map(Secret::expose)
        && key.len() >= MIN_KEY_BYTES
    {
        text = text.replace(key, REDACTED);
    }
    let mut out = String::new();
    let mut word = String::new();
    for character in text.chars().take(MAX_CHARS * 4) {
        if character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '*') {
            word.push(character);
            continue;
        }
        put(&mut out, &mut word);
        out.push(if character.is_control() {
            ' '
        } else {
            character
        });
    }
    put(&mut out, &mut word);
    match out.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => out.get(..end).unwrap_or_default().to_owned() + "…",
        None => out,
    }
}

fn put(out: &mut String, word: &mut String) {
    let is_masked = word.contains("**");
    let is_marked = MARKS
        .iter()
        .any(|mark| word.len() > mark.len() && word.starts_with(mark));
    out.push_str(if is_masked || is_marked {
        REDACTED
    } else {
        word
    });
    word.clear();
}

#[cfg(test)]
mod tests {
    use super::redact;
    use crate::secret::Secret;

    #[test]
    fn keys_and_accounts_go_and_the_rest_stays() {
        #[track_caller]
        fn check(text: &str, expect: &str) {
            let key = Secret::presented("canary/key+1");
            assert_eq!(redact(text, Some(&key)), expect);
        }
        check(
            "Incorrect API key provided: sk-bad. You can find yours at https://x.example/keys.",
            "Incorrect API key provided: [redacted]. You can find yours at https://x.example/keys.",
        );
        check(
            "Incorrect API key provided: abcd****************wxyz.",
            "Incorrect API key provided: [redacted].",
        );
        check(
            "Rate limit reached for gpt-4o in organization org-Abc123 on tokens per min.",
            "Rate limit reached for gpt-4o in organization [redacted] on tokens per min.",
        );
        check("key=canary/key+1!", "key=[redacted]!");
        check("a\r\nb", "a  b");
        check("task-force", "task-force");
        assert_eq!(redact(&"ä".repeat(10_000), None).chars().count(), 501);
    }
}
