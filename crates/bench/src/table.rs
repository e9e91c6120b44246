//! The one table that a benchmark prints: a row per figure, a column per server, and their ratio.

use std::fmt::Write as _;
use std::io::{self, Write as _};

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<&'static str>,
    lines: Vec<Line>,
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

const LABEL_WIDTH: usize = 44;
const COLUMN_WIDTH: usize = 14;

impl Table {
    pub(crate) fn new(columns: Vec<&'static str>) -> Self {
        Self {
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

    /// Fixed-width text. Behind the columns stands the first one divided by each of the others.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        let mut header: Vec<String> = self.columns.iter().map(ToString::to_string).collect();
        match self.columns.as_slice() {
            [] | [_] => {}
            [_, _] => header.push("ratio".to_owned()),
            [_, others @ ..] => header.extend(others.iter().map(|other| format!("/ {other}"))),
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
                    let (first, others) = values.split_first().unwrap_or((&None, &[]));
                    for other in others {
                        let other = other.filter(|other| *other != 0.0);
                        let ratio = first.zip(other).map(|(first, other)| first / other);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_in_columns_with_their_ratio() {
        let mut table = Table::new(vec!["hub", "y-sweet"]);
        table.heading("1 room".to_owned());
        table.row("updates/s", 0, vec![Some(300.0), Some(100.0)]);
        table.row("p50 ms", 2, vec![Some(1.0), None]);
        let expect = [
            "                                                       hub       y-sweet         ratio",
            "",
            "1 room",
            "  updates/s                                            300           100          3.00",
            "  p50 ms                                              1.00             -             -",
            "",
        ];
        assert_eq!(table.render(), expect.join("\n"));
    }

    #[test]
    fn three_columns_have_two_ratios_and_notes_stand_below() {
        let mut table = Table::new(vec!["hub", "yjs", "yrs"]);
        table.row("merge", 1, vec![Some(1.0), Some(4.0), None]);
        table.note("yrs not run: more than 60 s".to_owned());
        let expect = [
            "                                                       hub           yjs           yrs         / yjs         / yrs",
            "  merge                                                1.0           4.0             -          0.25             -",
            "  yrs not run: more than 60 s",
            "",
        ];
        assert_eq!(table.render(), expect.join("\n"));
    }

    #[test]
    fn one_column_has_no_ratio() {
        let mut table = Table::new(vec!["hub"]);
        table.row("x", 0, vec![Some(1.0)]);
        assert!(!table.render().contains("ratio"));
    }
}
