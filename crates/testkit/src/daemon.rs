//! Runs the binary `postseal serve` for a test: in a data folder of its own, on free ports.
//!
//! The configuration has JSON log lines, and the daemon says in them where it listens
//! (`"event":"listening"`) and when it is ready (`"event":"ready"`), so that no test guesses a port or
//! waits for a fixed time. All that it wrote can be looked at ([`Daemon::log`]).
//!
//! A daemon that is dropped is killed.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    child: Mutex<Child>,
    process: u32,
    binary: PathBuf,
    folder: Arc<TempDir>,
    settings: Settings,
    output: Arc<Output>,
}

/// How a daemon starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The configuration but for `data` and `[log]`, which the runner writes itself.
    pub config: String,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
    /// `[log] level`
    pub log_level: &'static str,
}

impl Default for Settings {
    /// Every front door on a free port of 127.0.0.1; all mail of the milter is the platform's own account's.
    fn default() -> Self {
        Self { config: CONFIG.to_owned(), environment: Vec::new(), log_level: "info" }
    }
}

impl Settings {
    /// The default settings with more text behind their configuration.
    pub fn with(more: &str) -> Self {
        let mut settings = Self::default();
        settings.config.push_str(more);
        settings
    }

    /// A configuration of one's own.
    pub fn only(config: &str) -> Self {
        Self { config: config.to_owned(), ..Self::default() }
    }
}

impl Daemon {
    /// Starts `binary` and waits until it says that it is ready. In a test of the server crate the binary is
    /// `env!("CARGO_BIN_EXE_postseal")`, elsewhere [`binary_beside_this_program`].
    ///
    /// # Errors
    ///
    /// When it ends before it is ready, or takes more than half a minute; with what it wrote.
    pub fn start(binary: &Path, settings: Settings) -> Result<Self> {
        let folder =
            Arc::new(TempDir::with_prefix("postseal-").context("no folder for the daemon")?);
        Self::start_in(binary, folder, settings)
    }

    /// Starts a daemon in the folder of an earlier one, which has ended.
    ///
    /// # Errors
    ///
    /// As [`Daemon::start`].
    pub fn start_again(&self) -> Result<Self> {
        self.start_again_with(self.settings.clone())
    }

    /// The same with other settings.
    ///
    /// # Errors
    ///
    /// As [`Daemon::start`].
    pub fn start_again_with(&self, settings: Settings) -> Result<Self> {
        Self::start_in(&self.binary, Arc::clone(&self.folder), settings)
    }

    /// Starts a daemon without waiting for it.
    ///
    /// # Errors
    ///
    /// When there is no such binary.
    pub fn spawn(binary: &Path, folder: Arc<TempDir>, settings: Settings) -> Result<Self> {
        let config = folder.path().join("postseal.toml");
        let data = folder.path().join("data");
        let text = format!(
            "data = {:?}\n{}\n[log]\nformat = \"json\"\nlevel = {:?}\n",
            data.display().to_string(),
            settings.config,
            settings.log_level
        );
        std::fs::write(&config, text)?;
        let mut child = Command::new(binary)
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .envs(settings.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let output = Arc::new(Output::default());
        let stdout = child.stdout.take().context("no pipe from the daemon")?;
        let stderr = child.stderr.take().context("no pipe from the daemon")?;
        Output::follow(&output, stdout)?;
        Output::follow(&output, stderr)?;
        Ok(Self {
            process: child.id(),
            child: Mutex::new(child),
            binary: binary.to_owned(),
            folder,
            settings,
            output,
        })
    }

    /// Waits until the daemon says that it is ready.
    ///
    /// # Errors
    ///
    /// As [`Daemon::start`].
    pub fn wait_until_ready(&self) -> Result<()> {
        self.wait_for("ready", |line| event(line) == Some("ready")).map(drop)
    }

    /// Waits for a line of JSON for which `is_it` holds, also one written before.
    ///
    /// # Errors
    ///
    /// When the daemon ends, or no such line comes in half a minute; with what it wrote.
    pub fn wait_for(&self, what: &str, mut is_it: impl FnMut(&Value) -> bool) -> Result<Value> {
        let until = Instant::now() + PATIENCE;
        let mut read = 0;
        loop {
            let state = self.output.lock();
            while let Some(line) = state.lines.get(read) {
                read += 1;
                if let Ok(value) = serde_json::from_str(line)
                    && is_it(&value)
                {
                    return Ok(value);
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if state.open == 0 {
                drop(state);
                let status = self.child().wait()?;
                bail!("the daemon ended ({status}) before {what:?}:\n{}", self.log());
            }
            if left.is_zero() {
                drop(state);
                bail!("the daemon did not say {what:?} in {PATIENCE:?}:\n{}", self.log());
            }
            drop(self.output.changed.wait_timeout(state, left));
        }
    }

    /// Waits for a line that begins with `start`, on standard output or error, and returns what follows.
    ///
    /// # Errors
    ///
    /// As [`Daemon::wait_for`].
    pub fn wait_for_line(&self, start: &str) -> Result<String> {
        let until = Instant::now() + PATIENCE;
        let mut state = self.output.lock();
        loop {
            if let Some(rest) = state.lines.iter().find_map(|line| line.strip_prefix(start)) {
                return Ok(rest.to_owned());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.open == 0 {
                drop(state);
                bail!("the daemon did not write {start:?}:\n{}", self.log());
            }
            (state, _) = self
                .output
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until it has written `count` lines of JSON for an event in all, and returns the last of them.
    ///
    /// # Errors
    ///
    /// As [`Daemon::wait_for`].
    pub fn wait_for_event(&self, name: &str, count: usize) -> Result<Value> {
        let mut seen = 0;
        self.wait_for(&format!("{name}, {count} times"), |line| {
            seen += usize::from(event(line) == Some(name));
            seen >= count
        })
    }

    /// The lines of JSON that it wrote so far for an event, such as `message`.
    pub fn events(&self, name: &str) -> Vec<Value> {
        let state = self.output.lock();
        state
            .lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|line| event(line) == Some(name))
            .collect()
    }

    /// Where each listener of a front door (`http`, `milter`, `smtp`, `dns`) listens, in the order of the
    /// configuration.
    pub fn listeners(&self, front_door: &str) -> Vec<String> {
        self.events("listening")
            .iter()
            .filter(|line| line.get("front_door").and_then(Value::as_str) == Some(front_door))
            .filter_map(|line| line.get("address").and_then(Value::as_str).map(str::to_owned))
            .collect()
    }

    /// The address of the first listener of a front door.
    ///
    /// # Errors
    ///
    /// When there is none, or its address is not one of IP.
    pub fn address(&self, front_door: &str) -> Result<SocketAddr> {
        let listeners = self.listeners(front_door);
        let first = listeners
            .first()
            .with_context(|| format!("no {front_door} listener:\n{}", self.log()))?;
        first.parse().with_context(|| format!("{front_door} listens on {first:?}"))
    }

    /// The URL of the HTTP API, without a slash at its end.
    ///
    /// # Errors
    ///
    /// When there is no HTTP listener.
    pub fn url(&self) -> Result<String> {
        Ok(format!("http://{}", self.address("http")?))
    }

    /// All that it wrote so far, standard output and error together.
    pub fn log(&self) -> String {
        self.output.lock().lines.join("\n")
    }

    /// Its folder: the configuration is `postseal.toml` there, the data folder `data`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// How it was started.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The number of its process.
    pub fn process(&self) -> u32 {
        self.process
    }

    /// Kills it at once, as a loss of power would (SIGKILL), and returns when it is gone.
    ///
    /// # Errors
    ///
    /// When the system cannot tell.
    pub fn kill(&self) -> Result<()> {
        let mut child = self.child();
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Sends it a signal by name, such as `TERM` or `HUP`.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.process.to_string())
            .status()
            .context("cannot run kill")?;
        if !status.success() {
            bail!("the daemon has ended:\n{}", self.log());
        }
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    ///
    /// When it does not end in half a minute.
    pub fn stop(&self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.wait()
    }

    /// Waits until it ends.
    ///
    /// # Errors
    ///
    /// When it does not end in half a minute.
    pub fn wait(&self) -> Result<ExitStatus> {
        let until = Instant::now() + PATIENCE;
        // Its output ends when it does; after that the status is there at once.
        let mut state = self.output.lock();
        while state.open > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                bail!("the daemon goes on after {PATIENCE:?}:\n{}", self.log());
            }
            (state, _) = self
                .output
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        Ok(self.child().wait()?)
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_in(binary: &Path, folder: Arc<TempDir>, settings: Settings) -> Result<Self> {
        let daemon = Self::spawn(binary, folder, settings)?;
        daemon.wait_until_ready()?;
        Ok(daemon)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.kill();
        if thread::panicking() {
            eprintln!("--- the daemon's output\n{}\n---", self.log());
        }
    }
}

/// The binary `postseal` of the same build as the program that runs.
///
/// # Errors
///
/// When it was not built.
pub fn binary_beside_this_program() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    // A test lies one folder deeper than the binaries.
    let found = this
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("postseal"))
        .find(|path| path.is_file());
    found.with_context(|| {
        format!("there is no postseal beside {}: build postseal-server first", this.display())
    })
}

fn event(line: &Value) -> Option<&str> {
    line.get("event").and_then(Value::as_str)
}

/// What a daemon wrote.
#[derive(Debug, Default)]
struct Output {
    state: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    /// Pipes that have not ended.
    open: u32,
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(output: &Arc<Self>, pipe: impl Read + Send + 'static) -> Result<()> {
        output.lock().open += 1;
        let output = Arc::clone(output);
        thread::Builder::new().name("daemon output".to_owned()).spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while let Ok(octets) = pipe.read_until(b'\n', &mut line)
                && octets > 0
            {
                output.lock().lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                output.changed.notify_all();
                line.clear();
            }
            output.lock().open -= 1;
            output.changed.notify_all();
        })?;
        Ok(())
    }
}

/// The configuration of [`Settings::default`].
const CONFIG: &str = r#"
[http]
listen = "127.0.0.1:0"

[[milter]]
listen = "inet:0@127.0.0.1"
tenant = 0

[[smtp]]
listen = "127.0.0.1:0"
"#;

/// How long a daemon may take to get ready or to end.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A stand-in for the binary: a shell script that checks how it was called, then does `body`.
    fn stand_in(body: &str) -> (TempDir, PathBuf) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("postseal");
        let script = format!("#!/bin/sh\n[ \"$1 $2\" = 'serve --config' ] || exit 9\n{body}\n");
        // Written by another process: a file that is open for writing here could be inherited by a child that
        // another test starts just then, and could not be executed until that is gone.
        let mut install = Command::new("install")
            .args(["-m", "755", "/dev/stdin"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        install.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(install.wait().unwrap().success());
        (folder, path)
    }

    const LISTENING: &str = r#"
echo 'first API key: k'
echo '{"event":"listening","front_door":"milter","address":"127.0.0.1:1"}' >&2
echo '{"event":"listening","front_door":"http","address":"127.0.0.1:2"}' >&2
echo '{"event":"listening","front_door":"milter","address":"unix:/m"}' >&2
echo '{"event":"ready"}' >&2
"#;

    #[test]
    fn learns_addresses_from_the_log_and_stops_by_signal() {
        let (_folder, binary) = stand_in(&format!(
            "{LISTENING}\ntrap 'echo bye; exit 3' TERM\nwhile :; do sleep 0.05; done"
        ));
        let daemon = Daemon::start(&binary, Settings::default()).unwrap();
        assert_eq!(daemon.address("milter").unwrap().port(), 1);
        assert_eq!(daemon.listeners("milter"), ["127.0.0.1:1", "unix:/m"]);
        assert_eq!(daemon.url().unwrap(), "http://127.0.0.1:2");
        assert!(daemon.address("smtp").is_err());
        assert_eq!(daemon.events("listening").len(), 3);
        daemon.wait_for_event("listening", 3).unwrap();
        assert_eq!(daemon.stop().unwrap().code(), Some(3));
        assert!(daemon.log().contains("first API key: k") && daemon.log().contains("bye"));
    }

    #[test]
    fn kills_and_starts_again_in_the_same_folder() {
        // Ready only with a data folder of its own, in which it leaves a trace.
        let (_folder, binary) = stand_in(&format!(
            "data=$(sed -n 's/^data = \"\\(.*\\)\"/\\1/p' \"$3\")\nmkdir -p \"$data\"\nls \"$data\" >&2\n: > \"$data/trace\"\n{LISTENING}\nexec sleep 60"
        ));
        let first = Daemon::start(&binary, Settings::with("[dns]\n")).unwrap();
        assert!(!first.log().contains("trace"));
        first.kill().unwrap();
        assert!(first.data().join("trace").exists());
        let second = first.start_again().unwrap();
        assert!(second.log().contains("trace"));
        assert_ne!(first.process(), second.process());
        let config = std::fs::read_to_string(second.folder().join("postseal.toml")).unwrap();
        assert!(config.contains("\n[dns]\n") && config.contains("format = \"json\""), "{config}");
    }

    #[test]
    fn a_daemon_that_ends_early_is_an_error_with_what_it_said() {
        let (_folder, binary) = stand_in("echo 'the port is taken' >&2; exit 2");
        let error = Daemon::start(&binary, Settings::default()).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("the port is taken") && text.contains("exit status: 2"), "{text}");
    }
}
