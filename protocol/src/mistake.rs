//! What is wrong with a configuration file, for whoever wrote it: the line, and for a key that does
//! not exist the one that was probably meant.

/// Names less alike than this are no guess (Jaro-Winkler, 0 to 1).
const ALIKE_MIN: f64 = 0.7;

/// A file that was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// From 1 on; `None` if the parser names no place.
    pub line: Option<usize>,
    /// In the parser's words, on one line.
    pub message: String,
    /// The key that does not exist, and the one that was probably meant.
    pub misspelt: Option<(String, String)>,
}

impl Mistake {
    /// `text` is the file that `error` is about.
    pub fn of(text: &str, error: &toml::de::Error) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start));
        let message = error.message().trim().replace('\n', " ");
        Self {
            line: before.map(|before| before.matches('\n').count() + 1),
            misspelt: misspelt(&message),
            message,
        }
    }

    /// `line 3: `, or nothing.
    pub fn place(&self) -> String {
        let line = |line| format!("line {line}: ");
        self.line.map(line).unwrap_or_default()
    }
}

/// serde says ``unknown field `x`, expected one of `a`, `b` ``.
fn misspelt(message: &str) -> Option<(String, String)> {
    let names = message.strip_prefix("unknown field")?;
    let mut names = names.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    Some((unknown.to_owned(), closest(unknown, names)?.to_owned()))
}

/// The known name that `name` was probably meant to be.
pub fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(alike, _)| *alike > ALIKE_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[expect(dead_code, reason = "only whether it parses matters")]
        listen: String,
    }

    fn mistake(text: &str) -> Mistake {
        Mistake::of(text, &toml::from_str::<File>(text).unwrap_err())
    }

    #[test]
    fn a_misspelt_key_has_its_line_and_the_key_that_was_meant() {
        let found = mistake("listen = \"a\"\n\nlsten = \"b\"\n");
        assert_eq!(found.place(), "line 3: ");
        let expected = ("lsten".to_owned(), "listen".to_owned());
        assert_eq!(found.misspelt, Some(expected));
    }

    #[test]
    fn a_key_like_no_other_is_no_guess() {
        let found = mistake("listen = \"a\"\nzzz = 1\n");
        assert_eq!(found.misspelt, None);
        assert!(found.message.contains("`zzz`"), "{}", found.message);
    }

    #[test]
    fn a_value_of_the_wrong_kind_has_its_line() {
        assert_eq!(mistake("\nlisten = 7\n").line, Some(2));
    }
}
