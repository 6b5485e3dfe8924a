//! The figures of all rounds, and how they are printed.

use std::fmt::Write as _;
use std::time::Duration;

use crate::work::{Operation, Work};
use crate::{floor, ours};

/// CPU time a message of each round, by who did what.
#[derive(Default)]
pub(crate) struct Figures {
    rows: Vec<Row>,
}

struct Row {
    name: String,
    operation: Operation,
    message: usize,
    /// By round; a worker may be in some of them only.
    each: Vec<(u32, f64)>,
    rounds: u32,
}

impl Figures {
    pub(crate) fn add(&mut self, name: &str, operation: Operation, message: usize, each: Duration) {
        let is_it =
            |row: &Row| row.name == name && row.operation == operation && row.message == message;
        // The floor is in every round, and first.
        let round = match self.row(floor::NAME, operation, message) {
            Some(floor) if name != floor::NAME => floor.rounds - 1,
            Some(floor) => floor.rounds,
            None => 0,
        };
        let at = self.rows.iter().position(is_it).unwrap_or_else(|| {
            let name = name.to_owned();
            self.rows.push(Row { name, operation, message, each: Vec::new(), rounds: 0 });
            self.rows.len() - 1
        });
        let row = &mut self.rows[at];
        row.each.push((round, each.as_secs_f64() * 1e6));
        row.rounds = round + 1;
    }

    fn row(&self, name: &str, operation: Operation, message: usize) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.name == name && row.operation == operation && row.message == message)
    }

    /// One block for each operation and message.
    pub(crate) fn table(&self, work: &Work) -> String {
        let mut text = String::new();
        for (operation, message) in work.cells() {
            let (Some(floor), Some(ours)) = (
                self.row(floor::NAME, operation, message),
                self.row(ours::NAME, operation, message),
            ) else {
                continue;
            };
            let _ = writeln!(
                text,
                "\n{:<20}{:>17}{:>14}{:>21}{:>20}",
                format!("{} {}", operation.word(), work.samples[message].name),
                "CPU µs each",
                "a second",
                "share of the floor",
                "Postseal is faster",
            );
            let _ = writeln!(
                text,
                "{:<20}{:>9}{:>8}{:>14}{:>12}{:>9}{:>11}{:>9}",
                "", "best", "median", "best", "best", "median", "best", "median",
            );
            let of_cell = |row: &&Row| row.operation == operation && row.message == message;
            for row in self.rows.iter().filter(of_cell) {
                let (share_best, share) = floor.over(row);
                let (faster_best, faster) = row.over(ours);
                let _ = write!(
                    text,
                    "{:<20}{:>9.1}{:>8.1}{:>14.0}",
                    row.name,
                    row.best(),
                    row.median(),
                    1e6 / row.best(),
                );
                if row.name != floor::NAME {
                    let _ = write!(text, "{:>10.1} %{:>7.1} %", share_best * 100.0, share * 100.0);
                }
                if row.name != floor::NAME && row.name != ours::NAME {
                    let _ = write!(text, "{faster_best:>9.2} x{faster:>7.2} x");
                }
                let _ = writeln!(text);
            }
        }
        text
    }
}

impl Row {
    fn best(&self) -> f64 {
        self.each.iter().map(|(_, each)| *each).fold(f64::INFINITY, f64::min)
    }

    fn median(&self) -> f64 {
        median(self.each.iter().map(|(_, each)| *each).collect())
    }

    /// This time over the other's: of the best rounds, and the median over the rounds with both.
    fn over(&self, other: &Self) -> (f64, f64) {
        let ratios = self.each.iter().filter_map(|(round, each)| {
            let (_, others) = other.each.iter().find(|(of, _)| of == round)?;
            Some(each / others)
        });
        (self.best() / other.best(), median(ratios.collect()))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match (values.get(low), values.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_round() {
        let mut figures = Figures::default();
        for (floor, ours, peer) in [(10, 20, Some(40)), (100, 100, None), (10, 40, Some(40))] {
            let us = Duration::from_micros;
            figures.add(floor::NAME, Operation::Sign, 0, us(floor));
            figures.add(ours::NAME, Operation::Sign, 0, us(ours));
            if let Some(peer) = peer {
                figures.add("peer", Operation::Sign, 0, us(peer));
            }
        }
        let row = |name| figures.row(name, Operation::Sign, 0).unwrap();
        let (best, share) = row(floor::NAME).over(row(ours::NAME));
        assert!((best - 0.5).abs() < 1e-9 && (share - 0.5).abs() < 1e-9, "{best} {share}");
        let (best, faster) = row("peer").over(row(ours::NAME));
        assert!((best - 2.0).abs() < 1e-9 && (faster - 1.5).abs() < 1e-9, "{best} {faster}");
    }
}
