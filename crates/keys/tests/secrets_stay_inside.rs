//! Private keys leave the crate by the doors named in its documentation, and by no other.
//!
//! The crate's types with secrets have no `Debug`, `Display` or `Clone`; errors carry nothing of the text
//! that was given as a key.

use std::fmt::{Debug, Display};
use std::marker::PhantomData;

use postseal_dkim::Algorithm;
use postseal_keys::{KeyCache, MasterKey, SigningJob, SigningKey, SigningThreads};

/// Makes a type that tells whether another has a trait: an inherent constant, which needs the trait, is
/// preferred to the one of a trait that every type has.
macro_rules! has {
    ($has:ident, $fallback:ident, $name:ident: $bound:path) => {
        trait $fallback {
            const $name: bool = false;
        }
        struct $has<T>(PhantomData<T>);
        impl<T> $fallback for $has<T> {}
        impl<T: $bound> $has<T> {
            const $name: bool = true;
        }
    };
}

has!(HasDebug, NoDebug, DEBUG: Debug);
has!(HasDisplay, NoDisplay, DISPLAY: Display);
has!(HasClone, NoClone, CLONE: Clone);

#[test]
fn secrets_can_be_neither_printed_nor_copied() {
    macro_rules! traits_of {
        ($t:ty) => {
            [HasDebug::<$t>::DEBUG, HasDisplay::<$t>::DISPLAY, HasClone::<$t>::CLONE]
        };
    }
    assert_eq!(traits_of!(String), [true; 3], "the question itself");
    assert_eq!(traits_of!(SigningKey), [false; 3]);
    assert_eq!(traits_of!(MasterKey), [false; 3]);
    assert_eq!(traits_of!(SigningJob), [false; 3]);
    assert_eq!(traits_of!(SigningThreads), [true, false, false]);
    assert_eq!(traits_of!(KeyCache), [true, false, false]);
}

#[test]
fn errors_show_nothing_of_what_was_given_as_a_key() {
    let key = SigningKey::generate(Algorithm::RsaSha256).unwrap_or_else(|error| panic!("{error}"));
    let pem = key.expose_pkcs8_pem();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();

    // The key with every kind of damage: cut, with a letter changed, with a strange letter, in the wrong
    // armour, twice, and as a master key.
    let mut texts = vec![
        format!(
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\n{body}\n-----END ENCRYPTED PRIVATE KEY-----"
        ),
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----"),
        format!("-----BEGIN PRIVATE KEY-----\n{body}"),
        format!("{body}{body}"),
        format!("{body}!"),
        body.repeat(100),
    ];
    for at in (0..body.len()).step_by(97) {
        texts.push(body[..at].to_owned());
        let mut changed = body.clone();
        let letter = if changed.as_bytes()[at] == b'A' { "B" } else { "A" };
        changed.replace_range(at..=at, letter);
        texts.push(changed);
    }
    let mut refused = 0;
    for text in &texts {
        let mut shown = String::new();
        if let Err(error) = SigningKey::import(text) {
            shown += &format!("{error} {error:?}");
        }
        if let Err(error) = MasterKey::from_text(text) {
            shown += &format!("{error} {error:?}");
        }
        if let Err(error) = key.matches_public_key(text) {
            shown += &format!("{error} {error:?}");
        }
        refused += usize::from(!shown.is_empty());
        for window in body.as_bytes().windows(8) {
            let window = std::str::from_utf8(window).unwrap();
            assert!(!shown.contains(window), "{shown}");
        }
    }
    assert!(refused > 20, "{refused}");
}
