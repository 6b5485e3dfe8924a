//! The figures, and how they are printed.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::cpu::Cpu;
use super::work::Operation;

/// What a run found.
pub(super) struct Report {
    pub(super) cpu: Cpu,
    /// How many threads `all_threads` are.
    pub(super) threads: usize,
    /// For how long each figure was measured.
    pub(super) each: Duration,
    pub(super) figures: Vec<Figure>,
}

/// Messages a second.
pub(super) struct Figure {
    pub(super) operation: Operation,
    pub(super) algorithm: &'static str,
    pub(super) message: &'static str,
    /// The length of the message.
    pub(super) octets: usize,
    pub(super) one_thread: f64,
    /// All threads together.
    pub(super) all_threads: f64,
}

impl Report {
    pub(super) fn in_json(&self) -> String {
        let features: serde_json::Map<String, Value> =
            self.cpu.features.iter().map(|(name, is)| ((*name).to_owned(), json!(is))).collect();
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|figure| {
                json!({
                    "operation": figure.operation.word(),
                    "algorithm": figure.algorithm,
                    "message": figure.message,
                    "octets": figure.octets,
                    "one_thread": figure.one_thread,
                    "all_threads": figure.all_threads,
                })
            })
            .collect();
        let value = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cpu": {
                "model": self.cpu.model,
                "features": features,
                "masked_by": self.cpu.mask,
                "rsa": self.cpu.rsa(),
                "sha256": self.cpu.sha256(),
            },
            "threads": self.threads,
            "seconds_each": self.each.as_secs_f64(),
            "figures": figures,
        });
        format!("{value}\n")
    }

    pub(super) fn in_a_table(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_table(&mut text);
        text
    }

    fn write_table(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "{}", self.cpu.model)?;
        for (name, is_there) in &self.cpu.features {
            writeln!(text, "  {name:<12}{}", if *is_there { "yes" } else { "no" })?;
        }
        writeln!(text, "RSA in {}", self.cpu.rsa())?;
        writeln!(text, "SHA-256 {}", self.cpu.sha256())?;
        if let Some(mask) = &self.cpu.mask {
            writeln!(text, "OPENSSL_ia32cap={mask} may hide some of that")?;
        }
        let threads = format!("{} threads", self.threads);
        writeln!(text, "\n{:<34}{:>14}{threads:>14}", "messages a second", "1 thread")?;
        for figure in &self.figures {
            let Figure { operation, algorithm, message, one_thread, all_threads, .. } = figure;
            writeln!(
                text,
                "{:<10}{algorithm:<12}{message:<12}{one_thread:>14.0}{all_threads:>14.0}",
                operation.word(),
            )?;
        }
        Ok(())
    }
}
