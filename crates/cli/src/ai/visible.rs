//! What models and hubs say, made safe to show: a terminal obeys some characters instead of showing them.
//!
//! An escape sequence can rename a window, write to the clipboard, or make lines that were shown say something else; the
//! controls of writing direction make text read differently from what it is. None of them is needed to read an answer.

/// Without characters that a terminal obeys, but with line breaks and tabs.
pub(super) fn text(text: &str) -> String {
    let is_kept = |character: &char| matches!(character, '\n' | '\t') || is_shown(*character);
    text.chars().filter(is_kept).collect()
}

/// The same on one line.
pub(super) fn line(text: &str) -> String {
    let kept = text.chars().map(|character| match character {
        '\n' | '\r' | '\t' => ' ',
        other => other,
    });
    kept.filter(|character| is_shown(*character)).collect()
}

/// JSON on one line, with everything that a terminal obeys as an escape of JSON: nothing is lost.
pub(super) fn json_line(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for character in json.chars() {
        if is_shown(character) {
            safe.push(character);
        } else {
            // Those that are left stand in strings: compact JSON has no other place for them.
            safe.push_str(&format!("\\u{:04x}", u32::from(character)));
        }
    }
    safe
}

fn is_shown(character: char) -> bool {
    let is_direction = matches!(
        character,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    // Line and paragraph separators break lines for some readers of lines.
    let is_separator = matches!(character, '\u{2028}' | '\u{2029}');
    !character.is_control() && !is_direction && !is_separator
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{json_line, line, text};

    const HOSTILE: &str = "a\u{1b}]0;owned\u{7}b\u{9b}31mc\rd\u{8}e\u{7f}f\u{202e}g\0h\ti\nj";

    #[test]
    fn what_a_terminal_obeys_is_left_out() {
        assert_eq!(text(HOSTILE), "a]0;ownedb31mcdefgh\ti\nj");
        assert_eq!(line(HOSTILE), "a]0;ownedb31mc defgh i j");
        assert_eq!(text("Grüße, 世界 👩‍💻 שלום"), "Grüße, 世界 👩‍💻 שלום");
    }

    #[test]
    fn json_loses_nothing() {
        let value = json!({ "delta": HOSTILE });
        let shown = json_line(&value.to_string());
        assert!(!shown.contains(|character: char| character.is_control()));
        assert!(!shown.contains('\u{202e}'));
        let again: Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(again, value);
    }
}
