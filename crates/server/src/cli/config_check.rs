//! `postseal config check`: says whether `postseal serve` would take a configuration file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::cannot;
use crate::config::{Config, ConfigError};

/// Arguments of `postseal config check`.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// The configuration file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(args: &CheckArgs) -> ExitCode {
    match Config::load(Some(&args.file), None) {
        Ok(_) => {
            println!("{}: no mistakes", args.file.display());
            ExitCode::SUCCESS
        }
        Err(error @ ConfigError::Mistakes { .. }) => {
            eprintln!("{error}");
            ExitCode::from(1)
        }
        Err(error @ ConfigError::Unreadable { .. }) => cannot(error),
    }
}
