//! What a provider says may be passed on, but not what it repeats of a key or tells about the house's account (`ai.md`).
//!
//! OpenAI answers a wrong key with most of it, and names the organization in its rate limits; Google names the project in
//! its quotas and wherever it says that something is not allowed.

use crate::secret::Secret;

const REDACTED: &str = "[redacted]";

/// Longer texts are cut: an error is read by a person.
const MAX_CHARS: usize = 500;

/// How keys of the known providers begin. No ordinary word does, so that the shortest rest is hidden as well.
const KEY_MARKS: [&str; 8] = ["sk-", "sk_", "pk-", "AIza", "gsk_", "xai-", "hf_", "rk-"];

/// How names of accounts begin, and words like `user-defined` as well. The last one is that of the projects that Google's
/// AI Studio makes.
const ACCOUNT_MARKS: [&str; 5] = ["org-", "user-", "proj_", "proj-", "gen-lang-client-"];

/// Names of accounts are 24 letters and digits in a row. A word without digits is seldom half as long.
const MIN_NAME_CHARS: usize = 12;

/// Google's numbers of projects have about twelve digits. Behind the bare word `project`, fewer than these may be a count.
const MIN_PROJECT_DIGITS: usize = 5;

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
    let mut words = Words::default();
    for character in text.chars().take(MAX_CHARS * 4) {
        words.put(character);
    }
    words.end_word();
    let out = words.out;
    match out.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => out.get(..end).unwrap_or_default().to_owned() + "…",
        None => out,
    }
}

/// A text on its way from word to word; a word is hidden for what it is, or for what stands before it.
#[derive(Default)]
struct Words {
    out: String,
    word: String,
    /// The word before, in small letters.
    before: String,
    /// What stands between that one and this one.
    between: String,
}

impl Words {
    fn put(&mut self, character: char) {
        if character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '*') {
            self.word.push(character);
            return;
        }
        self.end_word();
        let shown = if character.is_control() {
            ' '
        } else {
            character
        };
        self.between.push(shown);
        self.out.push(shown);
    }

    fn end_word(&mut self) {
        if self.word.is_empty() {
            return;
        }
        let word = std::mem::take(&mut self.word);
        let is_hidden =
            word.contains("**") || is_key(&word) || is_account(&word) || self.is_project(&word);
        self.out
            .push_str(if is_hidden { REDACTED } else { word.as_str() });
        let word = word.to_ascii_lowercase();
        self.before = if self.before == "project" && word == "number" {
            "project_number".to_owned()
        } else {
            word
        };
        self.between.clear();
    }

    /// Google writes `projects/ID`, `project_number:123` and `project 123`.
    fn is_project(&self, word: &str) -> bool {
        // As in `"projectNumber": "123"`; behind the end of a sentence it is something else.
        let is_near = self.between.chars().count() <= 4
            && self
                .between
                .chars()
                .all(|character| " :=#'\"(/".contains(character));
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
        match self.before.as_str() {
            "projects" => self.between == "/",
            "project_number" | "projectnumber" => is_near && is_number,
            "project" => is_near && is_number && word.len() >= MIN_PROJECT_DIGITS,
            _ => false,
        }
    }
}

fn is_key(word: &str) -> bool {
    KEY_MARKS
        .iter()
        .any(|mark| word.len() > mark.len() && word.starts_with(mark))
}

fn is_account(word: &str) -> bool {
    let name = ACCOUNT_MARKS
        .iter()
        .find_map(|mark| word.strip_prefix(mark));
    name.is_some_and(|name| {
        name.bytes().any(|byte| byte.is_ascii_digit())
            || name
                .split(['-', '_'])
                .any(|part| part.len() >= MIN_NAME_CHARS)
    })
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
        check(
            "The user user-AbCdEfGhIjKlMnOp of proj_a1 may not.",
            "The user [redacted] of [redacted] may not.",
        );
        check("key=canary/key+1!", "key=[redacted]!");
        check("a\r\nb", "a  b");
        check("task-force", "task-force");
        assert_eq!(redact(&"ä".repeat(10_000), None).chars().count(), 501);
    }

    #[test]
    fn projects_of_google_go() {
        #[track_caller]
        fn check(text: &str, expect: &str) {
            assert_eq!(redact(text, None), expect);
        }
        check(
            "Quota exceeded for consumer 'project_number:123456789012'.",
            "Quota exceeded for consumer 'project_number:[redacted]'.",
        );
        check(
            "The API is not used in project 123456789012: see https://x.example/?project=123456789012.",
            "The API is not used in project [redacted]: see https://x.example/?project=[redacted].",
        );
        check(
            "Project 12345 is disabled",
            "Project [redacted] is disabled",
        );
        check(
            "project number 1234, project #123456, {\"projectNumber\": \"1234\"}",
            "project number [redacted], project #[redacted], {\"projectNumber\": \"[redacted]\"}",
        );
        check("projects/123", "projects/[redacted]");
        check(
            "denied on //x.example/Projects/my-team-prod/locations/eu",
            "denied on //x.example/Projects/[redacted]/locations/eu",
        );
        check("consumer gen-lang-client-0123456789", "consumer [redacted]");
    }

    #[test]
    fn words_that_look_like_accounts_stay() {
        #[track_caller]
        fn check(text: &str) {
            assert_eq!(redact(text, None), text);
        }
        check("user-defined and user-defined-functions, at org-level, user-");
        check("a proj_dir, a proj-file");
        check("project 3 of 4, all projects in a project / 2 of them");
        check("That is your project. 123456 tokens were sent by 2 projects, 30000 more");
        check("the project uses 123456 tokens, number 123456");
    }
}
