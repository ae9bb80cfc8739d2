//! Figures as a table: four lines for each number of connections, and how the gateway stands to the best of the
//! others.

use super::measure::{Figures, Row};
use super::servers::Kind;

/// A figure of the table, and how it is written.
struct Line {
    title: &'static str,
    of: fn(&Figures) -> f64,
    digits: usize,
    more_is_better: bool,
}

const LINES: [Line; 4] = [
    Line {
        title: "requests/s",
        of: |f| f.per_second,
        digits: 0,
        more_is_better: true,
    },
    Line {
        title: "p50, ms",
        of: |f| f.p50,
        digits: 2,
        more_is_better: false,
    },
    Line {
        title: "p99, ms",
        of: |f| f.p99,
        digits: 2,
        more_is_better: false,
    },
    Line {
        title: "CPU, µs a request",
        of: |f| f.processor,
        digits: 1,
        more_is_better: false,
    },
];

/// The table as Markdown.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let Some(first) = rows.first() else {
        return String::new();
    };
    let names: Vec<_> = first.figures.iter().map(|(kind, _)| kind.name()).collect();
    let mut table = format!(
        "| connections | | {} | gateway to the best other |\n|---|---|{}---|\n",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    for row in rows {
        for (index, line) in LINES.iter().enumerate() {
            let connections = if index == 0 {
                row.connections.to_string()
            } else {
                String::new()
            };
            let cell =
                |(_, figures): &(Kind, Figures)| format!("{:.*}", line.digits, (line.of)(figures));
            let cells: Vec<_> = row.figures.iter().map(cell).collect();
            let ratio = line
                .ratio(row)
                .map_or("–".into(), |ratio| format!("{ratio:.2}"));
            table += &format!(
                "| {connections} | {} | {} | {ratio} |\n",
                line.title,
                cells.join(" | ")
            );
        }
    }
    table.trim_end().to_owned()
}

impl Line {
    fn ratio(&self, row: &Row) -> Option<f64> {
        let (_, own) = row
            .figures
            .iter()
            .find(|(kind, _)| *kind == Kind::Gateway)?;
        let others = row.figures.iter().filter(|(kind, _)| kind.is_peer());
        let others = others.map(|(_, figures)| (self.of)(figures));
        let best = if self.more_is_better {
            others.reduce(f64::max)
        } else {
            others.reduce(f64::min)
        };
        Some((self.of)(own) / best?)
    }
}
