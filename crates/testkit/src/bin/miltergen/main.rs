//! Drives any milter the way an MTA does, and measures it.
//!
//! ```text
//! miltergen --address unix:/run/postseal/milter.sock --message m.eml --concurrency 8 --total 20000
//! ```
//!
//! One thread for each connection. A connection negotiates once and then carries many messages, as
//! Postfix does within one SMTP session: the client and HELO once, then for each message MAIL, RCPT,
//! DATA, the fields, the body and its end. What is counted is messages a second, latency, errors,
//! and messages that came back without a `DKIM-Signature`.
//!
//! It is written from the description of the protocol alone and uses nothing of the filter's own
//! code, so that a mistake there is not made here again. It drives loopback addresses and Unix
//! sockets only, and every run is bounded in messages and in seconds.
//!
//! Reading order: `mail` (a message to send), `connection` (the protocol), `load` (threads and
//! figures), `options` (the command line).

mod connection;
mod load;
mod mail;
mod options;

use std::process::ExitCode;

use crate::options::{HELP, Invocation, Options};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Invocation::Run(options)) => options,
        Ok(Invocation::Help) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("miltergen: {error:#}\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let report = match load::run(&options) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("miltergen: {error:#}");
            return ExitCode::from(2);
        }
    };
    println!("{}", if options.json { report.to_json() } else { report.to_string() });
    let unsigned_is_an_error = options.expect_signature && report.unsigned > 0;
    if report.errors > 0 || unsigned_is_an_error { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
