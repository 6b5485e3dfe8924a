//! The binary `postseal`: parse the command line, run, exit with the command's status.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    postseal_server::cli::run(postseal_server::cli::Arguments::parse())
}
