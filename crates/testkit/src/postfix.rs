//! A Postfix of a test's own: own folder, own ports, own queue, started and stopped by the test.
//!
//! Its programs are those of the Debian root that `tests/install-peers` unpacks, or of any other root that
//! has Postfix ([`Settings::root`]), which it runs in by chroot. It never reads `/etc/postfix`, and any
//! number of instances run beside each other and beside the system's own.
//!
//! It sends everything to one next hop, asks no DNS, retries within seconds, and asks the filters it is
//! told to, with `milter_default_action = tempfail` unless told otherwise.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::peers;
use crate::smtp_client::SmtpClient;

/// A running Postfix.
#[derive(Debug)]
pub struct Postfix {
    master: Child,
    root: PathBuf,
    /// The folder as the test sees it.
    folder: TempDir,
    /// The folder as Postfix sees it.
    inside: String,
    addresses: Vec<SocketAddr>,
}

/// How a Postfix starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The root in which Postfix is installed; `/` for the system's own programs.
    pub root: PathBuf,
    /// Where all mail goes.
    pub next_hop: SocketAddr,
    /// The filters, as in `smtpd_milters`: `inet:127.0.0.1:8891`.
    pub milters: Vec<String>,
    /// `milter_protocol`
    pub milter_protocol: u32,
    /// `milter_default_action`
    pub milter_default_action: &'static str,
    /// One entry for each listener, with the text of its further options in `master.cf`, such as
    /// `-o milter_macro_daemon_name=bulk`; empty for none.
    pub listeners: Vec<String>,
    /// Further lines of `main.cf`, which win over those above them.
    pub main: Vec<(String, String)>,
}

impl Settings {
    /// One listener, no filter.
    ///
    /// # Errors
    ///
    /// When `tests/install-peers` has not run.
    pub fn new(next_hop: SocketAddr) -> Result<Self> {
        Ok(Self {
            root: peers::debian_root()?,
            next_hop,
            milters: Vec::new(),
            milter_protocol: 6,
            milter_default_action: "tempfail",
            listeners: vec![String::new()],
            main: Vec::new(),
        })
    }

    /// One listener and one filter.
    ///
    /// # Errors
    ///
    /// When `tests/install-peers` has not run.
    pub fn with_milter(next_hop: SocketAddr, milter: SocketAddr) -> Result<Self> {
        let mut settings = Self::new(next_hop)?;
        settings.milters.push(format!("inet:{}:{}", milter.ip(), milter.port()));
        Ok(settings)
    }
}

impl Postfix {
    /// Starts Postfix and waits until each listener greets.
    ///
    /// # Errors
    ///
    /// When it does not start; with its log.
    pub fn start(settings: &Settings) -> Result<Self> {
        // Ports are chosen before Postfix binds them: another program may be faster, once in a while.
        let mut attempts = 0;
        loop {
            attempts += 1;
            match Self::start_once(settings) {
                Err(error)
                    if attempts < ATTEMPTS
                        && format!("{error:#}").contains("Address already in use") => {}
                result => return result,
            }
        }
    }

    /// The address of the first listener.
    pub fn address(&self) -> SocketAddr {
        self.addresses.first().copied().unwrap_or((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// The addresses of the listeners, in the order of the settings.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        // The file is root's own, and is not there before the first line.
        let output = self.inside("cat").arg(format!("{}/maillog", self.inside)).output();
        output
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default()
    }

    /// How many messages are in its queue, waiting or under way.
    ///
    /// # Errors
    ///
    /// When the queue cannot be looked at.
    pub fn queued(&self) -> Result<usize> {
        let folders = ["maildrop", "incoming", "active", "deferred", "hold"]
            .map(|queue| format!("{}/queue/{queue}", self.inside));
        let output =
            self.inside("find").args(folders).args(["-type", "f"]).output().context("find")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(output.stdout.iter().filter(|octet| **octet == b'\n').count())
    }

    /// Waits until the queue is empty.
    ///
    /// # Errors
    ///
    /// When it is not in `patience`; with the log.
    pub fn wait_until_empty(&self, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        loop {
            let queued = self.queued()?;
            if queued == 0 {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("{queued} messages are queued after {patience:?}:\n{}", self.log());
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Has it try everything in the queue now.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn flush(&self) -> Result<()> {
        self.run("/usr/sbin/postqueue", &["-c", &self.config_folder(), "-f"], b"")
    }

    /// Hands a message over with its `sendmail` command, which asks the filters of `non_smtpd_milters`.
    ///
    /// # Errors
    ///
    /// When it refuses the message.
    pub fn sendmail(&self, sender: &str, recipients: &[&str], message: &[u8]) -> Result<()> {
        let config = self.config_folder();
        let mut arguments = vec!["-C", &config, "-i", "-f", sender, "--"];
        arguments.extend(recipients);
        // A program hands its mail over in the system's own form.
        let text: Vec<u8> = message.iter().copied().filter(|octet| *octet != b'\r').collect();
        self.run("/usr/sbin/sendmail", &arguments, &text)
    }

    /// Stops it; dropping it does the same.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn start_once(settings: &Settings) -> Result<Self> {
        ensure!(
            settings.root.join("usr/lib/postfix/sbin/master").exists(),
            "there is no Postfix in {}",
            settings.root.display()
        );
        let is_system = settings.root == Path::new("/");
        let parent = if is_system { std::env::temp_dir() } else { settings.root.join("srv") };
        let folder = TempDir::with_prefix_in("postfix-", parent)?;
        let inside = if is_system {
            folder.path().display().to_string()
        } else {
            let name = folder.path().file_name().unwrap_or_default();
            format!("/srv/{}", name.to_string_lossy())
        };

        let mut addresses = Vec::new();
        let mut sockets = Vec::new();
        for _ in &settings.listeners {
            // All are held until all are chosen, so that they differ.
            let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            addresses.push(socket.local_addr()?);
            sockets.push(socket);
        }
        drop(sockets);

        std::fs::create_dir(folder.path().join("etc"))?;
        write_config(&folder.path().join("etc/main.cf"), &main_cf(settings, &inside))?;
        write_config(&folder.path().join("etc/master.cf"), &master_cf(settings, &addresses))?;
        let status = peers::inside(&settings.root, "/bin/sh")
            .args(["-euc", SET_UP, "sh", &inside])
            .status()
            .context("cannot set up the queue")?;
        ensure!(status.success(), "cannot set up the queue of Postfix: {status}");

        // The master ends by itself if a test is killed before it can stop it.
        let master = peers::inside(&settings.root, "/usr/lib/postfix/sbin/master")
            .args(["-e", LIFETIME, "-c"])
            .arg(format!("{inside}/etc"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start Postfix")?;
        let mut postfix = Self { master, root: settings.root.clone(), folder, inside, addresses };
        postfix.wait_until_ready()?;
        Ok(postfix)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        for address in self.addresses.clone() {
            // Another program's greeting would be on a port that Postfix then could not bind.
            while SmtpClient::connect(address).is_err() {
                if let Some(status) = self.master.try_wait()? {
                    bail!("Postfix ended ({status}):\n{}", self.log());
                }
                if Instant::now() > until {
                    bail!("Postfix does not greet after {PATIENCE:?}:\n{}", self.log());
                }
                thread::sleep(LOOK_AGAIN);
            }
        }
        if let Some(status) = self.master.try_wait()? {
            bail!("Postfix ended ({status}):\n{}", self.log());
        }
        Ok(())
    }

    fn config_folder(&self) -> String {
        format!("{}/etc", self.inside)
    }

    fn inside(&self, program: &str) -> std::process::Command {
        peers::inside(&self.root, program)
    }

    fn run(&self, program: &str, arguments: &[&str], input: &[u8]) -> Result<()> {
        let mut child = self
            .inside(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| program.to_owned())?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input)?;
        }
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "{program}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.master.try_wait()?.is_none() {
            // The master passes the signal on to the processes that it started. Through sudo it is not our
            // child, so its number comes from its own file.
            let file = format!("{}/queue/pid/master.pid", self.inside);
            self.inside("/bin/sh").args(["-c", "kill -TERM $(cat \"$0\")", &file]).status()?;
            let until = Instant::now() + PATIENCE;
            while self.master.try_wait()?.is_none() {
                if Instant::now() > until {
                    bail!("Postfix goes on after {PATIENCE:?}");
                }
                thread::sleep(LOOK_AGAIN);
            }
        }
        // Its files are root's and postfix's; the folder itself goes with the TempDir.
        let folder = self.folder.path().to_owned();
        peers::as_root("find").arg(folder).args(["-mindepth", "1", "-delete"]).status()?;
        Ok(())
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- Postfix's log\n{}\n---", self.log());
        }
        let _ = self.end();
    }
}

/// Writes a configuration file with a time in the past: Postfix does not read one that is younger than a
/// second or two, and waits until it is not.
fn write_config(path: &Path, text: &str) -> Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    Ok(file.set_modified(SystemTime::now() - Duration::from_secs(60))?)
}

fn main_cf(settings: &Settings, inside: &str) -> String {
    let milters = settings.milters.join(", ");
    let mut text = format!(
        "# Written by a test.
compatibility_level = 3.6
queue_directory = {inside}/queue
data_directory = {inside}/data
maillog_file = {inside}/maillog
maillog_file_prefixes = /srv, /tmp, {inside}
mail_owner = postfix
setgid_group = postdrop
myhostname = mta.postseal.test
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
disable_dns_lookups = yes
smtp_host_lookup = native
relayhost = [{hop}]:{port}
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_authorized_xclient_hosts = 127.0.0.1
smtpd_peername_lookup = no
smtpd_tls_security_level = none
smtp_tls_security_level = none
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
message_size_limit = 104857600
mailbox_size_limit = 0
queue_run_delay = 2s
minimal_backoff_time = 1s
maximal_backoff_time = 3s
smtp_connection_cache_on_demand = no
smtp_destination_concurrency_failed_cohort_limit = 0
smtpd_milters = {milters}
non_smtpd_milters = {milters}
milter_protocol = {protocol}
milter_default_action = {action}
",
        hop = settings.next_hop.ip(),
        port = settings.next_hop.port(),
        protocol = settings.milter_protocol,
        action = settings.milter_default_action,
    );
    for (name, value) in &settings.main {
        let _ = writeln!(text, "{name} = {value}");
    }
    text
}

fn master_cf(settings: &Settings, addresses: &[SocketAddr]) -> String {
    let mut text = String::from("# Written by a test.\n");
    for (options, address) in settings.listeners.iter().zip(addresses) {
        let _ = writeln!(text, "{address} inet n - n - - smtpd {options}");
    }
    text.push_str(SERVICES);
    text
}

/// Makes the folders that `postfix start` would make, with the owners they need.
const SET_UP: &str = "
cd \"$1\"
mkdir queue data
for folder in active bounce corrupt defer deferred flush hold incoming private saved trace; do
    mkdir -m 700 queue/$folder
done
mkdir queue/pid
mkdir -m 730 queue/maildrop
mkdir -m 710 queue/public
chown postfix data queue/*
chown root queue/pid
chgrp postdrop queue/maildrop queue/public
chown -R root:root etc queue/pid
chmod 755 . etc queue queue/pid
";

/// The services of Postfix that a relay needs.
const SERVICES: &str = "\
pickup    unix n - n 1 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix - - n - - smtp
relay     unix - - n - - smtp
showq     unix n - n - - showq
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
tlsmgr    unix - - n 1000? 1 tlsmgr
postlog   unix-dgram n - n - 1 postlogd
";

/// Seconds after which the master ends by itself.
const LIFETIME: &str = "1200";

/// How often a port may be taken by someone else first.
const ATTEMPTS: u32 = 4;

/// How long Postfix may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at what Postfix does not announce.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{self, MessageBuilder};
    use crate::sink::{Action, Sink, Stage};

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn carries_a_message_to_the_next_hop_by_smtp_and_by_sendmail() {
        let sink = Sink::start().unwrap();
        let postfix = Postfix::start(&Settings::new(sink.address()).unwrap()).unwrap();
        let sent = MessageBuilder::simple("a@b.example", "c@d.example")
            .body(b"Hello\r\n\r\n.dot\r\n")
            .build();

        let mut client = SmtpClient::connect(postfix.address()).unwrap();
        client.ehlo().unwrap();
        let reply = client.send("a@b.example", &["c@d.example"], &sent).unwrap();
        assert_eq!(reply.code, 250, "{reply}\n{}", postfix.log());
        postfix.sendmail("a@b.example", &["e@f.example"], &sent).unwrap();

        let messages = sink.wait_for(2, PATIENCE).unwrap();
        for received in &messages {
            let (header, body) = message::split(&received.message);
            assert_eq!(body, b"Hello\r\n\r\n.dot\r\n");
            assert!(String::from_utf8_lossy(header).contains("by mta.postseal.test (Postfix"));
        }
        postfix.wait_until_empty(PATIENCE).unwrap();
        let folder = postfix.folder.path().to_owned();
        postfix.stop().unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn keeps_what_the_next_hop_does_not_take_and_tries_again() {
        let sink = Sink::start().unwrap();
        sink.once(Stage::EndOfData, Action::Reply("451 4.3.0 later".to_owned()));
        let postfix = Postfix::start(&Settings::new(sink.address()).unwrap()).unwrap();
        let mut client = SmtpClient::connect(postfix.address()).unwrap();
        client.ehlo().unwrap();
        let message = MessageBuilder::simple("a@b.example", "c@d.example").build();
        assert_eq!(client.send("a@b.example", &["c@d.example"], &message).unwrap().code, 250);
        assert_eq!(postfix.queued().unwrap(), 1);
        postfix.flush().unwrap();
        sink.wait_for(1, PATIENCE).unwrap();
        assert!(postfix.log().contains("451 4.3.0 later"), "{}", postfix.log());
    }

    #[test]
    fn refuses_mail_while_its_filter_is_gone() {
        let sink = Sink::start().unwrap();
        let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let settings = Settings::with_milter(sink.address(), nobody).unwrap();
        let postfix = Postfix::start(&settings).unwrap();
        let mut client = SmtpClient::connect(postfix.address()).unwrap();
        client.ehlo().unwrap();
        let message = MessageBuilder::simple("a@b.example", "c@d.example").build();
        let reply = client.send("a@b.example", &["c@d.example"], &message).unwrap();
        assert_eq!(reply.code, 451, "{reply}");
        assert_eq!(sink.count(), 0);
    }
}
