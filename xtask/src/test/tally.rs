//! Reads from a test runner's output how many tests passed and failed.

use std::ops::AddAssign;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl Tally {
    /// `     Summary [   1.2s] 34 tests run: 33 passed (1 slow), 1 failed, 2 timed out, 0 skipped`.
    pub(crate) fn of_nextest(output: &str) -> Option<Self> {
        let line = output
            .lines()
            .rev()
            .map(plain)
            .find(|line| line.trim_start().starts_with("Summary ["))?;
        let (_, counts) = line.split_once("run:")?;
        let failed = ["failed", "timed out", "exec failed"]
            .iter()
            .map(|word| number_before(counts, word))
            .sum();
        Some(Self {
            passed: number_before(counts, "passed"),
            failed,
        })
    }

    /// `test result: ok. 5 passed; 0 failed; …`, once for each crate.
    pub(crate) fn of_rustdoc(output: &str) -> Option<Self> {
        let mut all = None;
        for line in output
            .lines()
            .filter(|line| line.starts_with("test result:"))
        {
            let line = line.replace([';', '.'], ",");
            *all.get_or_insert_with(Self::default) += Self {
                passed: number_before(&line, "passed"),
                failed: number_before(&line, "failed"),
            };
        }
        all
    }

    /// `ℹ pass 12` and `ℹ fail 0`, or `# pass 12` of the TAP reporter; `cancelled` counts as failed.
    pub(crate) fn of_node(output: &str) -> Option<Self> {
        let count = |word: &str| {
            output
                .lines()
                .rev()
                .find_map(|line| number_after(&plain(line), word))
        };
        Some(Self {
            passed: count("pass")?,
            failed: count("fail")? + count("cancelled").unwrap_or(0),
        })
        .filter(|tally| *tally != Self::default())
    }
}

/// The sum of the numbers before `word` in a list like `33 passed (1 slow), 1 failed`.
fn number_before(list: &str, word: &str) -> u32 {
    let number = |item: &str| {
        let mut parts = item.split_whitespace();
        let number = parts.find_map(|part| part.parse::<u32>().ok())?;
        parts
            .collect::<Vec<_>>()
            .join(" ")
            .starts_with(word)
            .then_some(number)
    };
    list.split(',').filter_map(number).sum()
}

/// The number of a line like `ℹ pass 12`.
fn number_after(line: &str, word: &str) -> Option<u32> {
    let mut parts = line.split_whitespace();
    let marked = matches!(parts.next()?, "ℹ" | "#");
    (marked && parts.next()? == word).then(|| parts.next()?.parse().ok())?
}

/// A line without its colours.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        text += before;
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nextest_counts_failures_and_timeouts() {
        let output = "...\n     Summary [   1.234s] 34 tests run: 31 passed (1 slow, 2 leaky), 2 failed, 1 timed out, 0 skipped\n";
        assert_eq!(
            Tally::of_nextest(output),
            Some(Tally {
                passed: 31,
                failed: 3
            })
        );
    }

    #[test]
    fn nextest_is_read_through_its_colours() {
        let output = "\u{1b}[32;1m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m2\u{1b}[0m tests run: \u{1b}[1m2\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, 0 skipped";
        assert_eq!(
            Tally::of_nextest(output),
            Some(Tally {
                passed: 2,
                failed: 0
            })
        );
    }

    #[test]
    fn doc_tests_of_all_crates_are_added() {
        let output = "test result: ok. 5 passed; 0 failed; 0 ignored\nnoise\ntest result: FAILED. 1 passed; 2 failed; 0 ignored\n";
        assert_eq!(
            Tally::of_rustdoc(output),
            Some(Tally {
                passed: 6,
                failed: 2
            })
        );
    }

    #[test]
    fn node_counts_cancelled_tests_as_failed() {
        let output = "✔ it works\nℹ tests 4\nℹ pass 2\nℹ fail 1\nℹ cancelled 1\n";
        assert_eq!(
            Tally::of_node(output),
            Some(Tally {
                passed: 2,
                failed: 2
            })
        );
    }

    #[test]
    fn output_without_counts_counts_nothing() {
        assert_eq!(Tally::of_nextest("error"), None);
        assert_eq!(Tally::of_rustdoc("error"), None);
        assert_eq!(Tally::of_node("ℹ pass 0\nℹ fail 0\n"), None);
    }
}
