//! The figures of all rounds, and how they are printed.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::floor::Floor;
use crate::load::Load;

/// One figure of one round.
pub(crate) struct Sample {
    /// CPU microseconds a message.
    cpu: f64,
    /// The floor of the same round, in microseconds.
    floor: f64,
    /// Messages a second.
    rate: f64,
}

impl Sample {
    pub(crate) fn new(used: Duration, load: &Load, floor: Duration) -> Result<Self> {
        ensure!(load.messages > 0, "no message went through: {}", load.first_error);
        Ok(Self {
            cpu: microseconds(used) / load.messages as f64,
            floor: microseconds(floor),
            rate: load.rate(),
        })
    }
}

/// All of them, by what was measured, in the order in which it first came.
#[derive(Default)]
pub(crate) struct Figures {
    floor: Vec<(String, Vec<f64>)>,
    rows: Vec<(String, Vec<Sample>)>,
}

impl Figures {
    pub(crate) fn add(&mut self, name: &str, sample: Sample) {
        of(&mut self.rows, name).push(sample);
    }

    pub(crate) fn floor(&mut self, floor: &Floor, messages: &[&str]) {
        of(&mut self.floor, "one RSA-2048 signature").push(microseconds(floor.rsa));
        for (hash, message) in floor.hashes.iter().zip(messages) {
            of(&mut self.floor, &format!("SHA-256 over {message}")).push(microseconds(*hash));
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{:34}{:>14}{:>20}{:>14}", "", "CPU µs each", "× the floor", "messages/s")?;
        writeln!(
            f,
            "{:34}{:>7}{:>7}{:>11}{:>9}{:>14}",
            "", "best", "median", "best", "median", "best"
        )?;
        for (name, values) in &self.floor {
            writeln!(f, "{name:34}{:7.1}{:7.1}", least(values), median(values))?;
        }
        for (name, samples) in &self.rows {
            let each = |figure: fn(&Sample) -> f64| samples.iter().map(figure).collect::<Vec<_>>();
            let (cpu, floor) = (each(|sample| sample.cpu), each(|sample| sample.floor));
            let ratios = each(|sample| sample.cpu / sample.floor);
            writeln!(
                f,
                "{name:34}{:7.0}{:7.0}{:11.2}{:9.2}{:14.0}",
                least(&cpu),
                median(&cpu),
                least(&cpu) / least(&floor),
                median(&ratios),
                each(|sample| sample.rate).into_iter().fold(0.0, f64::max),
            )?;
        }
        writeln!(
            f,
            "\nThe floor of a milter is one RSA-2048 signature and one SHA-256 pass over the message,"
        )?;
        write!(f, "that of the proxy one RSA-2048 signature.")
    }
}

fn of<'a, T>(rows: &'a mut Vec<(String, Vec<T>)>, name: &str) -> &'a mut Vec<T> {
    let at = rows.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
        rows.push((name.to_owned(), Vec::new()));
        rows.len() - 1
    });
    &mut rows[at].1
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    match (sorted.get(low), sorted.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_least_and_the_middle() {
        let cases: [(&[f64], f64, f64); 3] =
            [(&[2.0], 2.0, 2.0), (&[3.0, 1.0], 1.0, 2.0), (&[5.0, 1.0, 2.0], 1.0, 2.0)];
        for (values, want_least, want_median) in cases {
            assert_eq!((least(values), median(values)), (want_least, want_median), "{values:?}");
        }
    }
}
