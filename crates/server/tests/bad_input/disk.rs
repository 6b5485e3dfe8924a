//! A full disk: the API says so, signing goes on, and all is well when there is room again.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use postseal_testkit::api_client::ApiClient;
use postseal_testkit::message::MessageBuilder;
use postseal_testkit::peers;
use postseal_testkit::scene::{READER, Scene, signing_domains, simple};

use super::scene;

#[tokio::test(flavor = "multi_thread")]
async fn with_its_disk_full_the_api_says_so_and_signing_goes_on() -> Result<()> {
    let mut scene = scene("").await?;
    let key = scene.platform.daemon.wait_for_line("first API key (shown once): ")?;
    scene.platform.daemon.stop()?;
    let _disk = SmallDisk::under(&scene.platform.daemon.data())?;
    let again = scene.platform.daemon.start_again()?;
    scene.platform.daemon = again;
    scene.platform.account = ApiClient::new(&scene.platform.daemon.url()?, &key);
    let filler = scene.platform.daemon.data().join("filler");
    both_doors_sign(&scene)?;

    fill(&filler)?;
    let mut failed = 0;
    for number in 0..5 {
        let reply = scene
            .platform
            .account
            .post(
                "/api/v1/sending-domains",
                serde_json::json!({ "domain": format!("d{number}.test") }),
            )
            .await?;
        if reply.status != 200 {
            failed += 1;
            ensure!(reply.status == 507, "{} {}", reply.status, reply.body);
            let text = reply.body.to_string();
            ensure!(text.contains("disk") && text.contains("full"), "{text}");
        }
        both_doors_sign(&scene).with_context(|| format!("after {number} tries"))?;
    }
    ensure!(failed >= 3, "the disk is not full");
    // What does not fit into memory has nowhere to wait: the sender keeps it.
    let large = MessageBuilder::simple("news@acme.test", READER).body_of(3 << 20).build();
    let before = scene.platform.sink.count();
    let reply = scene.send(&scene.acme, READER, &large)?;
    ensure!((450..453).contains(&reply.code), "{reply}");
    ensure!(scene.platform.sink.count() == before, "refused and sent on");
    let health = scene.platform.account.get("/readyz").await?;
    ensure!(health.status == 200, "it signs, so it is ready: {}", health.body);

    fs::remove_file(&filler)?;
    scene.platform.make_domain(&scene.acme_api(), "later.test").await?;
    scene.wait_until("acme", &simple("news@later.test"), |outcome| {
        signing_domains(&outcome.apply(b"\r\n")) == ["later.test"]
    })?;
    scene.deliver(&scene.acme, READER, &large)?;
    scene.platform.daemon.stop()?;
    Ok(())
}

trait Again {
    /// The API of acme at the daemon of now.
    fn acme_api(&self) -> ApiClient;
}

impl Again for Scene {
    fn acme_api(&self) -> ApiClient {
        self.platform.account.with_key(&self.acme.key)
    }
}

fn both_doors_sign(scene: &Scene) -> Result<()> {
    let message = simple("news@acme.test");
    ensure!(signing_domains(&scene.deliver(&scene.acme, READER, &message)?) == ["acme.test"]);
    let outcome = scene.filter("acme", READER, &message)?;
    ensure!(signing_domains(&outcome.apply(b"\r\n")) == ["acme.test"], "{outcome:?}");
    Ok(())
}

/// Writes until there is no room for an octet.
fn fill(path: &Path) -> Result<()> {
    let mut octets = Vec::new();
    let mut size = 1 << 20;
    while size > 0 {
        let mut more = octets.clone();
        more.resize(octets.len() + size, 0_u8);
        match fs::write(path, &more) {
            Ok(()) => octets = more,
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => size /= 2,
            Err(error) => return Err(error.into()),
        }
    }
    // What fits is kept, and so is the part of the last write that did.
    let _ = fs::write(path, [&octets[..], &[0; 4096]].concat());
    Ok(())
}

/// A file system of a few megabytes in place of a folder, with what was in it.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn under(folder: &Path) -> Result<Self> {
        let kept = folder.with_extension("kept");
        let owner = fs::metadata(folder)?;
        fs::rename(folder, &kept)?;
        fs::create_dir(folder)?;
        let options = format!("size=8m,mode=700,uid={},gid={}", owner.uid(), owner.gid());
        let status = peers::as_root("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder)
            .status()?;
        ensure!(status.success(), "cannot mount a small disk");
        let disk = Self(folder.to_owned());
        let status =
            std::process::Command::new("cp").arg("-a").arg(kept.join(".")).arg(folder).status()?;
        ensure!(status.success(), "cannot copy");
        Ok(disk)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the daemon of a test that failed may still have it open.
        let _ = peers::as_root("umount").arg("-l").arg(&self.0).status();
    }
}
