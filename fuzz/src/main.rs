//! Runs one fuzz target: the law that FUZZ_TARGET names. Without it, the names are printed.
//!
//! All targets are in one program, so that one build has them all. A target is a line in the list `LAWS` of
//! its crate; libFuzzer's own arguments and exit codes hold.

#![no_main]

use std::process::exit;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

/// The name of a target, and its law, which takes any bytes and panics if it is broken.
type Target = (&'static str, fn(&[u8]));

/// Where the laws are.
const LAWS: [&[Target]; 5] = [
    postseal_dkim::fuzzing::LAWS,
    postseal_dns::fuzzing::LAWS,
    postseal_engine::fuzzing::LAWS,
    postseal_keys::fuzzing::LAWS,
    postseal_wire::fuzzing::LAWS,
];

static LAW: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let laws = || LAWS.iter().copied().flatten();
    let Ok(wanted) = std::env::var("FUZZ_TARGET") else {
        laws().for_each(|(name, _)| println!("{name}"));
        exit(0);
    };
    let Some((_, law)) = laws().find(|(name, _)| *name == wanted) else {
        eprintln!("no fuzz target is called {wanted}");
        exit(2);
    };
    *law
});

fuzz_target!(init: LazyLock::force(&LAW), |data: &[u8]| LAW(data));
