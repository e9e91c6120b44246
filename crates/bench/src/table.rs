//! The one table that a benchmark prints: a row per figure, a column per server, and their ratio.

use std::fmt::Write as _;
use std::io::{self, Write as _};

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    compare: Compare,
    columns: Vec<&'static str>,
    lines: Vec<Line>,
}

/// What the first column is divided by, behind the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    /// Each of the others.
    WithEach,
    /// The smallest of the others: figures are costs.
    WithBest,
}

#[derive(Debug)]
enum Line {
    Heading(String),
    Note(String),
    Row {
        label: &'static str,
        decimals: usize,
        values: Vec<Option<f64>>,
    },
}

const LABEL_WIDTH: usize = 50;
const COLUMN_WIDTH: usize = 14;

impl Table {
    pub(crate) fn new(columns: Vec<&'static str>, compare: Compare) -> Self {
        Self {
            compare,
            columns,
            lines: Vec::new(),
        }
    }

    pub(crate) fn heading(&mut self, text: String) {
        self.lines.push(Line::Heading(text));
    }

    /// Words below a row.
    pub(crate) fn note(&mut self, text: String) {
        self.lines.push(Line::Note(text));
    }

    /// One value for each column, in their order; `None` where there is none.
    pub(crate) fn row(&mut self, label: &'static str, decimals: usize, values: Vec<Option<f64>>) {
        self.lines.push(Line::Row {
            label,
            decimals,
            values,
        });
    }

    /// Fixed-width text. Behind the columns stands the first one divided by what it is compared with.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        let mut header: Vec<String> = self.columns.iter().map(ToString::to_string).collect();
        match (self.compare, self.columns.as_slice()) {
            (_, [] | [_]) => {}
            (Compare::WithBest, _) | (_, [_, _]) => header.push("ratio".to_owned()),
            (Compare::WithEach, [_, others @ ..]) => {
                header.extend(others.iter().map(|other| format!("/ {other}")));
            }
        }
        // Writing to a string cannot fail.
        let _ = write!(out, "{:LABEL_WIDTH$}", "");
        for column in header {
            let _ = write!(out, "{column:>COLUMN_WIDTH$}");
        }
        for line in &self.lines {
            match line {
                Line::Heading(text) => {
                    let _ = write!(out, "\n\n{text}");
                }
                Line::Note(text) => {
                    let _ = write!(out, "\n  {text}");
                }
                Line::Row {
                    label,
                    decimals,
                    values,
                } => {
                    let _ = write!(out, "\n  {label:width$}", width = LABEL_WIDTH - 2);
                    for value in values {
                        let _ = write!(out, "{:>COLUMN_WIDTH$}", number(*value, *decimals));
                    }
                    for ratio in self.compare.ratios(values) {
                        let _ = write!(out, "{:>COLUMN_WIDTH$}", number(ratio, 2));
                    }
                }
            }
        }
        out.push('\n');
        out
    }
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

/// Results go to stdout.
pub(crate) fn print(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Talk goes to stderr.
pub(crate) fn tell(text: &str) {
    // Nobody is left to be told that stderr is closed.
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// An error with its causes, on stderr.
pub(crate) fn complain(error: &anyhow::Error) {
    tell(&format!("error: {error:#}"));
}

impl Compare {
    fn ratios(self, values: &[Option<f64>]) -> Vec<Option<f64>> {
        let Some((first, others)) = values
            .split_first()
            .filter(|(_, others)| !others.is_empty())
        else {
            return Vec::new();
        };
        let ratio = |other: Option<f64>| {
            let other = other.filter(|other| *other != 0.0)?;
            first.map(|first| first / other)
        };
        match self {
            Self::WithEach => others.iter().copied().map(ratio).collect(),
            Self::WithBest => vec![ratio(others.iter().flatten().copied().reduce(f64::min))],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_in_columns_with_their_ratio() {
        let mut table = Table::new(vec!["hub", "y-sweet"], Compare::WithEach);
        table.heading("1 room".to_owned());
        table.row("updates/s", 0, vec![Some(300.0), Some(100.0)]);
        table.row("p50 ms", 2, vec![Some(1.0), None]);
        let expect = [
            "                                                             hub       y-sweet         ratio",
            "",
            "1 room",
            "  updates/s                                                  300           100          3.00",
            "  p50 ms                                                    1.00             -             -",
            "",
        ];
        assert_eq!(table.render(), expect.join("\n"));
    }

    #[test]
    fn three_columns_have_two_ratios_and_notes_stand_below() {
        let mut table = Table::new(vec!["hub", "yjs", "yrs"], Compare::WithEach);
        table.row("merge", 1, vec![Some(1.0), Some(4.0), None]);
        table.note("yrs not run: more than 60 s".to_owned());
        let expect = [
            "                                                             hub           yjs           yrs         / yjs         / yrs",
            "  merge                                                      1.0           4.0             -          0.25             -",
            "  yrs not run: more than 60 s",
            "",
        ];
        assert_eq!(table.render(), expect.join("\n"));
    }

    #[test]
    fn one_column_has_no_ratio() {
        let mut table = Table::new(vec!["hub"], Compare::WithBest);
        table.row("x", 0, vec![Some(1.0)]);
        assert!(!table.render().contains("ratio"));
    }

    #[test]
    fn the_first_is_compared_with_each_or_with_the_best() {
        let values = [Some(6.0), Some(3.0), None, Some(2.0)];
        let each = [Some(2.0), None, Some(3.0)];
        assert_eq!(Compare::WithEach.ratios(&values), each);
        assert_eq!(Compare::WithBest.ratios(&values), [Some(3.0)]);
        assert_eq!(Compare::WithBest.ratios(&[Some(6.0), None]), [None]);
        assert_eq!(Compare::WithBest.ratios(&[Some(6.0)]), []);
    }
}
