//! `make demo`: the main job on real messages, end to end.
//!
//! It starts the release binary as a process of its own, with an empty data folder and on free ports, and
//! two more servers in this process: a DNS server that holds the customers' zones under `.test`, and an SMTP
//! sink that stands for the next hop. Then it does what a platform does: makes two tenants, two pools and
//! their domains over the HTTP API, publishes the keys, clicks Verify, and sends mail. For each message it
//! prints the row of the rule that fired and why, the signatures, and the verdict of `postseal verify` over DNS.
//!
//! It exits with 1 when a row or a verdict is not the expected one, and leaves nothing running.

mod platform;
mod report;

use std::process::ExitCode;

use anyhow::Result;
use postseal_testkit::daemon::binary_beside_this_program;
use postseal_testkit::message::MessageBuilder;

use crate::platform::Demo;
use crate::report::Expected;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("demo: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run()) {
        Ok(0) => {
            println!(
                "\nEvery message was signed by the expected row, and every signature verifies."
            );
            ExitCode::SUCCESS
        }
        Ok(wrong) => {
            println!("\n{wrong} of the above went wrong.");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<usize> {
    let binary = binary_beside_this_program()?;
    let mut demo = Demo::start(&binary).await?;

    let mut wrong = 0;
    for case in &CASES {
        println!("\n── through the SMTP proxy: {}", case.title);
        let outcome = demo.send_through_proxy(case)?;
        wrong += usize::from(!report::print(&outcome, &case.expected));
    }

    match platform::postfix_root() {
        Some(postfix) => {
            demo.start_postfix(&postfix)?;
            for case in &CASES {
                println!("\n── through Postfix and the milter: {}", case.title);
                let outcome = demo.send_through_postfix(case)?;
                wrong += usize::from(!report::print(&outcome, &case.expected));
            }
        }
        None => {
            println!("\nPostfix is not installed, or root is not at hand: its part was skipped.")
        }
    }
    demo.stop()?;
    Ok(wrong)
}

/// A message to send, and what has to become of it.
pub(crate) struct Case {
    title: &'static str,
    /// The local part and domain of From.
    from: &'static str,
    recipient: &'static str,
    /// The name of the pool, as the message names it.
    pool: &'static str,
    expected: Expected,
}

impl Case {
    fn message(&self) -> Vec<u8> {
        MessageBuilder::simple(&format!("Acme News <{}>", self.from), self.recipient)
            .set("Subject", self.title)
            .field("MIME-Version", "1.0")
            .field("Content-Type", "text/plain; charset=utf-8")
            .field("X-Postseal-Pool", self.pool)
            .body(b"Dear reader,\r\n\r\nthis is what you signed up for.\r\n\r\n-- \r\nAcme\r\n")
            .build()
    }
}

static CASES: [Case; 4] = [
    Case {
        title: "a From that its owner verified, on pool 1",
        from: "news@acme.test",
        recipient: "reader@inbox.test",
        pool: "pool_1",
        expected: Expected::Signed { row: 1, signing_domains: &["acme.test"] },
    },
    Case {
        title: "a From that nobody verified, on pool 2",
        from: "news@unverified.test",
        recipient: "reader@inbox.test",
        pool: "pool_2",
        expected: Expected::Signed { row: 2, signing_domains: &["pool2.esp.test"] },
    },
    Case {
        title: "the same to a reader at Yahoo",
        from: "news@unverified.test",
        recipient: "reader@yahoo.com",
        pool: "pool_2",
        expected: Expected::Signed { row: 2, signing_domains: &["pool2.esp.test", "fbl.esp.test"] },
    },
    Case {
        title: "a From that another tenant verified",
        from: "ceo@globex.test",
        recipient: "reader@inbox.test",
        pool: "pool_1",
        expected: Expected::Refused { reply: 550 },
    },
];
