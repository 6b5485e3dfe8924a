//! Runs every file in `testdata/vectors`.
//!
//! A vector is a message in a file of its own, readable and usable by any implementation:
//!
//! ```text
//! expect: pass                      a result for each signature, from the top
//! reason: why that is right, with the RFC that says so
//! key: owner text                   a TXT record; any number of lines
//! now: 1800000000
//!                                   an empty line, and then the message, with local line ends
//! From: …
//! ```

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::HashMap;
use std::path::Path;

use postseal_dkim::{Header, KeyAnswer, LocalFile, UnixTime, Verifier, VerifyRules};

struct Vector<'a> {
    expect: Vec<&'a str>,
    reason: &'a str,
    keys: HashMap<&'a str, Vec<&'a str>>,
    now: UnixTime,
    message: &'a [u8],
}

impl<'a> Vector<'a> {
    fn parse(file: &'a [u8]) -> Self {
        let end = file.windows(2).position(|two| two == b"\n\n").unwrap();
        let head = str::from_utf8(&file[..end]).unwrap();
        let mut vector = Self {
            expect: Vec::new(),
            reason: "",
            keys: HashMap::new(),
            now: UnixTime(0),
            message: &file[end + 2..],
        };
        for line in head.lines() {
            match line.split_once(": ").unwrap() {
                ("expect", words) => vector.expect = words.split(' ').collect(),
                ("reason", reason) => vector.reason = reason,
                ("now", secs) => vector.now = UnixTime(secs.parse().unwrap()),
                ("key", record) => {
                    let (owner, text) = record.split_once(' ').unwrap();
                    vector.keys.entry(owner).or_default().push(text);
                }
                (name, _) => panic!("{name} is no part of a vector"),
            }
        }
        assert!(vector.reason.contains("(RFC "), "{}", vector.reason);
        vector
    }

    fn results(&self) -> Vec<&'static str> {
        let wire = LocalFile::new(self.message).to_wire();
        let (header, body) = Header::of_message(&wire).unwrap();
        let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), self.now);
        for query in queries {
            let texts = self.keys.get(query.name.as_str());
            let texts = texts.map(Vec::as_slice).unwrap_or_default();
            verifier.answer(query.id, KeyAnswer::from_texts(texts));
        }
        verifier.body(body);
        verifier.finish().signatures.iter().map(|s| s.outcome.result().as_str()).collect()
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the vectors are files")]
fn every_vector_has_the_expected_result() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/vectors");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = std::fs::read(&path).unwrap();
        let vector = Vector::parse(&file);
        assert_eq!(vector.results(), vector.expect, "{}: {}", path.display(), vector.reason);
        count += 1;
    }
    assert!(count >= 40, "only {count} vectors were found");
}
