//! The command line: one file for each command, and the statuses they exit with.
//!
//! `0` the command did what it says (for `verify`: a signature passes; for `arc-verify`: the chain passes), `1` it ran and
//! the answer is no, `2` it could not run: wrong arguments, unreadable input, a missing file. The reason is one line on
//! standard error.

mod arc_verify;
mod bench;
mod config_check;
mod key_lookup;
mod keygen;
mod message_input;
mod serve;
mod sign;
mod verify;
mod verify_json;
mod verify_reason;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Signs an email platform's outgoing mail with DKIM.
#[derive(Debug, Parser)]
#[command(name = "postseal", version, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process: milter, SMTP proxy, HTTP API, DNS server
    Serve(serve::ServeArgs),
    /// Make a key pair and print its DNS record
    Keygen(keygen::KeygenArgs),
    /// Sign the message on standard input
    Sign(sign::SignArgs),
    /// Verify the signatures of the message on standard input
    Verify(verify::VerifyArgs),
    /// Verify the ARC chain of the message on standard input
    ArcVerify(verify::VerifyArgs),
    /// Measure how many messages a second this machine signs and verifies
    Bench(bench::BenchArgs),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration file; print each mistake with its line and column
    Check(config_check::CheckArgs),
}

/// Runs a command and gives the status of the process.
pub fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Serve(args) => serve::run(&args),
        Command::Keygen(args) => keygen::run(&args),
        Command::Sign(args) => sign::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::ArcVerify(args) => arc_verify::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Config(ConfigCommand::Check(args)) => config_check::run(&args),
    }
}

/// Says on standard error why a command could not run, and gives its status.
fn cannot(reason: impl std::fmt::Display) -> ExitCode {
    eprintln!("postseal: {reason}");
    ExitCode::from(2)
}
