//! Which CPU runs what, what a process used of it, and what it can do.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postseal_testkit::peers;

/// One CPU for the daemon that is measured, the others for the load.
pub(crate) struct Cpus {
    daemon: u32,
    /// As taskset takes it.
    generator: String,
    is_shared: bool,
}

impl Cpus {
    /// Takes the first CPU that this program may use for daemons, and goes away from it itself.
    pub(crate) fn split() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .context("/proc does not say which CPUs may be used")?;
        let allowed = parse_list(list.trim())?;
        let (daemon, rest) = allowed.split_first().context("no CPU may be used")?;
        let is_shared = rest.is_empty();
        let rest: Vec<String> = rest.iter().map(ToString::to_string).collect();
        let generator = if is_shared { daemon.to_string() } else { rest.join(",") };
        let this = Self { daemon: *daemon, generator, is_shared };
        taskset(Command::new("taskset"), &this.generator, std::process::id())?;
        Ok(this)
    }

    /// A command that runs on the daemon's CPU from its start.
    pub(crate) fn pinned(&self, program: &Path) -> Command {
        let mut command = Command::new("taskset");
        command.arg("-c").arg(self.daemon.to_string()).arg(program);
        command
    }

    /// Moves a daemon that runs already.
    pub(crate) fn pin(&self, process: u32) -> Result<()> {
        taskset(peers::as_root("taskset"), &self.daemon.to_string(), process)
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let value = |key: &str| {
            let line = info.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
        };
        let flags: Vec<&str> = value("flags").split(' ').collect();
        writeln!(
            f,
            "CPU: {}; {} of them",
            value("model name"),
            info.matches("processor\t").count()
        )?;
        for (flag, what) in FEATURES {
            let has = if flags.contains(&flag) { "yes" } else { "no" };
            writeln!(f, "  {flag:<12}{has:<4} {what}")?;
        }
        if let Ok(mask) = std::env::var("OPENSSL_ia32cap") {
            writeln!(f, "  masked by OPENSSL_ia32cap={mask}")?;
        }
        write!(f, "daemons run on CPU {}, the load on {}", self.daemon, self.generator)?;
        if self.is_shared {
            write!(f, "; one CPU for both: messages a second mean little")?;
        }
        Ok(())
    }
}

/// What a process and its children used so far, in user and kernel mode.
pub(crate) fn cpu_time(process: u32) -> Result<Duration> {
    let ticks: u64 = family(process).into_iter().map(|each| ticks(each).unwrap_or_default()).sum();
    ensure!(ticks > 0 || Path::new(&format!("/proc/{process}")).exists(), "a daemon ended");
    Ok(TICK * u32::try_from(ticks)?)
}

/// What this thread used so far.
pub(crate) fn cpu_time_of_this_thread() -> Result<Duration> {
    // The kernel adds up what a thread used when it is scheduled.
    std::thread::yield_now();
    let text = fs::read_to_string("/proc/thread-self/schedstat")
        .context("the kernel does not count the CPU time of threads")?;
    let nanoseconds = text.split(' ').next().context("schedstat is empty")?.parse()?;
    Ok(Duration::from_nanos(nanoseconds))
}

/// The octets of a process that are in memory.
pub(crate) fn resident(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: u64 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("/proc does not say how much memory a process has")?
        .parse()?;
    Ok(kilobytes << 10)
}

/// A process and all that descends from it.
fn family(process: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut todo = vec![process];
    while let Some(process) = todo.pop() {
        found.push(process);
        // What ends meanwhile has no more children.
        let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            todo.extend(children.split_ascii_whitespace().filter_map(|id| id.parse::<u32>().ok()));
        }
    }
    found
}

/// `utime` and `stime` of proc(5), which hold the threads that ended too.
fn ticks(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may have blanks.
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// `0-2,5` as numbers.
fn parse_list(list: &str) -> Result<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<u32>()?..=last.parse()?);
    }
    Ok(cpus)
}

fn taskset(mut command: Command, cpus: &str, process: u32) -> Result<()> {
    command.args(["-a", "-p", "-c", cpus]).arg(process.to_string()).stdout(Stdio::null());
    let status = command.status().context("cannot run taskset, which is in util-linux")?;
    ensure!(status.success(), "taskset refuses CPU {cpus}");
    Ok(())
}

/// `USER_HZ`, which is 100 on every architecture we know of.
const TICK: Duration = Duration::from_millis(10);

/// What makes RSA and SHA-256 fast.
const FEATURES: [(&str, &str); 4] = [
    ("avx512ifma", "RSA in AVX-512, more than twice as fast"),
    ("avx2", "RSA in AVX2, where there is no AVX-512"),
    ("adx", "RSA in general registers"),
    ("sha_ni", "SHA-256 in hardware"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists_of_cpus() {
        let cases: [(&str, &[u32]); 4] =
            [("0", &[0]), ("0-1", &[0, 1]), ("0-2,5", &[0, 1, 2, 5]), ("3,8-9", &[3, 8, 9])];
        for (list, want) in cases {
            assert_eq!(parse_list(list).unwrap(), want, "{list}");
        }
        assert!(parse_list("").is_err());
    }

    #[test]
    fn a_thread_that_works_uses_cpu_time() {
        let before = cpu_time_of_this_thread().unwrap();
        let mut sum = 0_u64;
        while cpu_time_of_this_thread().unwrap() < before + Duration::from_millis(20) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(cpu_time(std::process::id()).unwrap() >= TICK);
        assert!(resident(std::process::id()).unwrap() > 1 << 20);
    }
}
