//! The one table that a benchmark prints: a row per figure, a column per server, and their ratio.

use std::fmt::Write as _;
use std::io::{self, Write as _};

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<&'static str>,
    compare: Compare,
    lines: Vec<Line>,
}

/// What the first column is divided by in the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    WithSecond,
    /// The smallest of the others: figures are costs.
    WithBest,
}

#[derive(Debug)]
enum Line {
    Heading(String),
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
            columns,
            compare,
            lines: Vec::new(),
        }
    }

    pub(crate) fn heading(&mut self, text: String) {
        self.lines.push(Line::Heading(text));
    }

    /// One value for each column, in their order; `None` where there is none.
    pub(crate) fn row(&mut self, label: &'static str, decimals: usize, values: Vec<Option<f64>>) {
        self.lines.push(Line::Row {
            label,
            decimals,
            values,
        });
    }

    /// Fixed-width text. With two columns or more another one holds the first divided by what it is compared with.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        let compared = self.columns.len() >= 2;
        let mut header = self.columns.clone();
        if compared {
            header.push("ratio");
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
                Line::Row {
                    label,
                    decimals,
                    values,
                } => {
                    let _ = write!(out, "\n  {label:width$}", width = LABEL_WIDTH - 2);
                    for value in values {
                        let _ = write!(out, "{:>COLUMN_WIDTH$}", number(*value, *decimals));
                    }
                    if let Some(ratio) = self.compare.ratio(values).filter(|_| compared) {
                        let _ = write!(out, "{ratio:>COLUMN_WIDTH$.2}");
                    }
                }
            }
        }
        out.push('\n');
        out
    }
}

impl Compare {
    fn ratio(self, values: &[Option<f64>]) -> Option<f64> {
        let (first, others) = values.split_first()?;
        let other = match self {
            Self::WithSecond => others.first().copied().flatten(),
            Self::WithBest => others.iter().flatten().copied().reduce(f64::min),
        };
        let other = other.filter(|other| *other != 0.0)?;
        first.map(|first| first / other)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_in_columns_with_their_ratio() {
        let mut table = Table::new(vec!["hub", "y-sweet"], Compare::WithSecond);
        table.heading("1 room".to_owned());
        table.row("updates/s", 0, vec![Some(300.0), Some(100.0)]);
        table.row("p50 ms", 2, vec![Some(1.0), None]);
        let expect = [
            "                                                             hub       y-sweet         ratio",
            "",
            "1 room",
            "  updates/s                                                  300           100          3.00",
            "  p50 ms                                                    1.00             -",
            "",
        ];
        assert_eq!(table.render(), expect.join("\n"));
    }

    #[test]
    fn one_column_has_no_ratio() {
        let mut table = Table::new(vec!["hub"], Compare::WithSecond);
        table.row("x", 0, vec![Some(1.0)]);
        assert!(!table.render().contains("ratio"));
    }

    #[test]
    fn the_first_is_compared_with_the_second_or_the_best() {
        let values = [Some(6.0), Some(3.0), None, Some(2.0)];
        assert_eq!(Compare::WithSecond.ratio(&values), Some(2.0));
        assert_eq!(Compare::WithBest.ratio(&values), Some(3.0));
        assert_eq!(Compare::WithBest.ratio(&[Some(6.0), None]), None);
    }
}
