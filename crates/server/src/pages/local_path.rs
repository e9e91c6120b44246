//! Paths on this origin that a link may name as the place to go on to.

/// A path that no browser reads as another origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LocalPath(String);

impl LocalPath {
    /// `None` for whatever could lead elsewhere: another scheme or host, and the spellings that browsers turn into
    /// one (`//host`, `/\host`, tabs and line ends within, which they drop).
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        let path = text.split(['?', '#']).next().unwrap_or_default();
        let is_path = path.starts_with('/') && !path.contains("//") && !text.contains('\\');
        (is_visible && is_path).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::LocalPath;

    #[test]
    fn paths_of_this_origin_are_taken() {
        for path in [
            "/",
            "/consent?a=b%20c#d",
            "/a/../b",
            "/a?next=https://b//c",
            "/%2F",
        ] {
            assert_eq!(LocalPath::parse(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn nothing_that_leads_elsewhere_is_taken() {
        for text in [
            "",
            "a",
            "?a",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "/\t/evil.example",
            "\t//evil.example",
            "/\n/evil.example",
            "/\r\nset-cookie: a=b",
            " //evil.example",
            "/ /evil.example",
            "/a//evil.example",
            "/.//evil.example",
            "/a?b\\c",
            "/ä",
            "@evil.example",
            ".evil.example",
        ] {
            assert_eq!(LocalPath::parse(text), None, "{text:?}");
        }
    }
}
