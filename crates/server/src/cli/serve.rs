//! `postseal serve`: everything in one process, until a signal ends it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::cannot;
use crate::config::Config;

/// Arguments of `postseal serve`.
#[derive(Args, Debug)]
pub(super) struct ServeArgs {
    /// The configuration file; without it every setting has its default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of the store, the master key and held messages; made if it is missing
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub(super) fn run(args: &ServeArgs) -> ExitCode {
    let config = match Config::load(args.config.as_deref(), args.data.as_deref()) {
        Ok(config) => config,
        Err(error) => return cannot(error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cannot(format_args!("cannot start the runtime: {error}")),
    };
    crate::log::start(config.log_format, config.log_level);
    let ended = runtime.block_on(crate::serve::serve(config));
    // A look-up of a host name that the system has begun cannot be stopped, and is not waited for.
    runtime.shutdown_timeout(crate::serve::LAST_LINES);
    crate::log::flush(crate::serve::LAST_LINES);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cannot(error),
    }
}
