//! Chains with one labelled fault each, or with something that is none.

use std::collections::BTreeMap;

use postseal_dkim::arc::ArcReport;

use super::sealer::{Chain, FIELDS, Key, LEFT_OUT, Scope};

/// What a chain is expected to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Want {
    None,
    /// With its oldest-pass.
    Pass(usize),
    /// With the code of the reason.
    Fail(&'static str),
}

impl Want {
    pub(crate) fn of(report: &ArcReport) -> Self {
        match (report.result.oldest_pass(), report.result.code()) {
            (Some(oldest), _) => Self::Pass(usize::from(oldest)),
            (None, "no-set") => Self::None,
            (None, code) => Self::Fail(code),
        }
    }
}

type Sealed = Vec<[(String, String); 3]>;

/// One chain with one fault.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) message: String,
    pub(crate) records: BTreeMap<String, String>,
    pub(crate) want: Want,
}

/// RSA and Ed25519 by turns.
pub(crate) fn keys(sets: usize) -> Vec<Key> {
    [Key::Rsa, Key::Ed25519].into_iter().cycle().take(sets).collect()
}

/// All the cases with a chain of `n` sets, one for each of the keys, and the fault in set `k` from 1.
pub(crate) struct Cases {
    keys: Vec<Key>,
    n: usize,
    k: usize,
    all: Vec<Case>,
}

impl Cases {
    pub(crate) fn of(keys: Vec<Key>, k: usize) -> Vec<Case> {
        let mut this = Self { n: keys.len(), keys, k, all: Vec::new() };
        this.structure();
        this.statuses();
        this.message_signatures();
        this.seals();
        this.keys();
        this.harmless();
        this.all
    }

    /// A fault made before sealing.
    fn sealed(&mut self, name: &str, want: Want, fault: impl FnOnce(&mut Chain, usize)) {
        self.case(name, want, fault, |_, _| {}, |_| {});
    }

    /// A fault made after sealing.
    fn damaged(&mut self, name: &str, want: Want, fault: impl FnOnce(&mut Sealed, usize)) {
        self.case(name, want, |_, _| {}, fault, |_| {});
    }

    fn case(
        &mut self,
        name: &str,
        want: Want,
        before: impl FnOnce(&mut Chain, usize),
        after: impl FnOnce(&mut Sealed, usize),
        records: impl FnOnce(&mut BTreeMap<String, String>),
    ) {
        let mut chain = Chain::new(&self.keys);
        before(&mut chain, self.k - 1);
        let mut sealed = chain.seal();
        after(&mut sealed, self.k - 1);
        let mut by_owner = chain.records();
        records(&mut by_owner);
        let name = format!("{name}, set {} of {}", self.k, self.n);
        self.all.push(Case { name, message: chain.message(&sealed), records: by_owner, want });
    }

    /// What becomes of a chain whose message signature in set k does not verify.
    fn without_message_signature(&self) -> Want {
        if self.k == self.n { Want::Fail("message-signature") } else { Want::Pass(self.k + 1) }
    }

    fn structure(&mut self) {
        let (n, k) = (self.n, self.k);
        for (at, name) in FIELDS.iter().enumerate() {
            let want = Want::Fail("missing-field");
            self.damaged(&format!("no {name}"), want, |sealed, k| sealed[k][at].0 = "X".into());
            let twice = format!("{name} twice");
            self.damaged(&twice, Want::Fail("duplicate-field"), |sealed, k| {
                let (name, value) = &mut sealed[k][at];
                let copy = format!("{value}\r\n{name}:{value}");
                *value = copy;
            });
            for number in ["0", "51", "", "x", "-1", "001"] {
                let want = Want::Fail("bad-instance");
                self.damaged(&format!("i={number} in {name}"), want, |sealed, k| {
                    renumber(&mut sealed[k][at].1, k + 1, number);
                });
            }
            let other = if k == n { 1 } else { n };
            let want = if n == 1 { "missing-field" } else { "duplicate-field" };
            let other = if n == 1 { 2 } else { other };
            self.damaged(&format!("{name} renumbered"), Want::Fail(want), |sealed, k| {
                renumber(&mut sealed[k][at].1, k + 1, &other.to_string());
            });
        }
        let want = match (n, k == n) {
            (1, _) => Want::None,
            // The chain before: the message is as its last handler left it.
            (_, true) => Want::Pass(0),
            (_, false) => Want::Fail("missing-set"),
        };
        self.damaged("no set", want, |sealed, k| {
            sealed[k].iter_mut().for_each(|field| field.0 = "X".into());
        });
        self.sealed("results without i=", Want::Fail("bad-instance"), |chain, k| {
            chain.sets[k].results = " mx.example; none".into();
        });
        for at in ["message signature", "seal"] {
            let tags = |chain: &mut Chain, k: usize| match at {
                "seal" => chain.sets[k].seal.add("d", "hop.example"),
                _ => chain.sets[k].message_signature.add("d", "hop.example"),
            };
            self.sealed(&format!("d= twice in the {at}"), Want::Fail("bad-instance"), tags);
        }
    }

    fn statuses(&mut self) {
        let (n, k) = (self.n, self.k);
        let failed = Want::Fail(if k == n { "sealed-as-failed" } else { "wrong-cv" });
        let other = if k == 1 { "pass" } else { "none" };
        for (cv, want) in [
            (other, Want::Fail("wrong-cv")),
            ("fail", failed),
            ("Fail", failed),
            ("", Want::Fail("wrong-cv")),
            ("passed", Want::Fail("wrong-cv")),
        ] {
            self.sealed(&format!("cv={cv}"), want, |chain, k| chain.sets[k].seal.set("cv", cv));
        }
        self.sealed("no cv=", Want::Fail("wrong-cv"), |chain, k| chain.sets[k].seal.remove("cv"));
    }

    fn message_signatures(&mut self) {
        let want = self.without_message_signature();
        for tag in ["a", "bh", "d", "s", "h"] {
            self.sealed(&format!("message signature without {tag}="), want, |chain, k| {
                chain.sets[k].message_signature.set(tag, LEFT_OUT);
            });
        }
        for (tag, value) in [
            ("h", "from:to:arc-seal"),
            ("h", "to:subject"),
            ("h", ""),
            ("a", "rsa-sha512"),
            ("a", "rsa-sha1"),
            ("c", "none"),
            ("d", "example"),
            ("t", "soon"),
            ("x", "1790000001"),
            ("bh", "MTIz"),
            ("l", "9999"),
        ] {
            self.sealed(&format!("message signature with {tag}={value}"), want, |chain, k| {
                chain.sets[k].message_signature.set(tag, value);
            });
        }
        self.sealed("message signature broken under its seal", want, |chain, k| {
            chain.sets[k].message_signature_end = "A".into();
        });
        // Whoever changes the message seals what he sends; the signatures before him fail.
        let (n, k) = (self.n, self.k);
        if k < n {
            self.sealed("the next handler changes the body", Want::Pass(k + 1), |chain, k| {
                for set in &mut chain.sets[k + 1..] {
                    set.body.push_str("-- \r\nA list\r\n");
                }
            });
        }
        let want = Want::Fail("message-signature");
        self.damaged("newest message signature broken", want, |sealed, _| {
            break_signature(&mut sealed[n - 1][1].1);
        });
        if k == 1 {
            let plain = |case: &mut Case, from: &str, to: &str| {
                assert!(case.message.contains(from));
                case.message = case.message.replacen(from, to, 1);
            };
            for (name, from, to) in [
                ("the body is changed at the end", "lost the  game", "lost the  games"),
                ("a signed field is changed", "Is dinner", "Is supper"),
                ("a second From is added", "From: ", "From: Eve <eve@example.org>\r\nFrom: "),
            ] {
                self.damaged(name, want, |_, _| {});
                plain(self.all.last_mut().unwrap(), from, to);
            }
        }
    }

    fn seals(&mut self) {
        let want = Want::Fail("seal");
        for tag in ["a", "d", "s"] {
            self.sealed(&format!("seal without {tag}="), want, |chain, k| {
                chain.sets[k].seal.remove(tag);
            });
        }
        for (tag, value) in
            [("h", "from:to"), ("h", ""), ("a", "rsa-sha1"), ("a", "x"), ("d", "com"), ("t", "x")]
        {
            self.sealed(&format!("seal with {tag}={value}"), want, |chain, k| {
                chain.sets[k].seal.set(tag, value);
            });
        }
        self.damaged("seal broken", want, |sealed, k| break_signature(&mut sealed[k][2].1));
        self.damaged("seal without a signature", want, |sealed, k| {
            let value = &mut sealed[k][2].1;
            let end = value.find("b=").unwrap() + 2;
            value.truncate(end);
        });
        self.damaged("results changed", want, |sealed, k| {
            let changed = sealed[k][0].1.replace("spf=pass", "spf=fail");
            assert_ne!(sealed[k][0].1, changed);
            sealed[k][0].1 = changed;
        });
        self.sealed("results sealed behind the message signature", want, |chain, k| {
            chain.sets[k].scope = Scope::Swapped;
        });
        if self.k > 1 {
            self.sealed("only the own set is sealed", want, |chain, k| {
                chain.sets[k].scope = Scope::OwnSet;
            });
            self.damaged("results of two sets exchanged", want, |sealed, k| {
                let (one, two) = (sealed[k][0].1.clone(), sealed[k - 1][0].1.clone());
                sealed[k][0].1 = two.replacen(&format!("i={k}"), &format!("i={}", k + 1), 1);
                sealed[k - 1][0].1 = one.replacen(&format!("i={}", k + 1), &format!("i={k}"), 1);
            });
        }
        if self.k < self.n {
            self.damaged("older message signature broken", want, |sealed, k| {
                break_signature(&mut sealed[k][1].1);
            });
        }
    }

    fn keys(&mut self) {
        let k = self.k;
        let other = match self.keys[k - 1] {
            Key::Rsa => Key::Ed25519,
            Key::Ed25519 => Key::Rsa,
        };
        let foreign = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        for (selector, want) in
            [("ams", self.without_message_signature()), ("seal", Want::Fail("seal"))]
        {
            for (what, text) in [
                ("no key", None),
                ("revoked key", Some("v=DKIM1; p=".to_owned())),
                ("key of another kind", Some(other.record())),
                ("key of a stranger", Some(foreign.to_owned())),
                ("broken record", Some("v=DKIM1; k=rsa; p=x".to_owned())),
                ("key for another service", Some("s=tlsrpt".to_owned())),
                ("server failure", Some("SERVFAIL".to_owned())),
                ("time-out", Some("TIMEOUT".to_owned())),
            ] {
                let name = format!("{what} for the {selector}");
                let owner = format!("{selector}._domainkey.hop{k}.example");
                self.case(
                    &name,
                    want,
                    |_, _| {},
                    |_, _| {},
                    |records| {
                        let old = records.remove(&owner).unwrap();
                        match text {
                            Some(text) if text == "s=tlsrpt" => {
                                records.insert(owner, format!("{old}; {text}"));
                            }
                            Some(text) => {
                                records.insert(owner, text);
                            }
                            None => {}
                        }
                    },
                );
            }
        }
    }

    fn harmless(&mut self) {
        let pass = Want::Pass(0);
        for (tag, value) in [
            ("v", "2"),
            ("darn", "gmail.com"),
            ("c", "simple/simple"),
            ("c", "relaxed"),
            ("c", "simple/relaxed"),
            ("l", "5"),
            ("t", "1900000000"),
            ("x", "1900000001"),
            ("h", "From : To : arc-authentication-results : nothing"),
        ] {
            self.sealed(&format!("message signature with {tag}={value}"), pass, |chain, k| {
                chain.sets[k].message_signature.set(tag, value);
            });
        }
        if self.k > 1 {
            // RFC 8617 §4.1.2 forbids it to sealers; the field that is meant is that of the first set.
            self.sealed("message signature that covers another", pass, |chain, k| {
                chain.sets[k].message_signature.set("h", "from:arc-message-signature");
            });
        }
        for (tag, value) in [("darn", "gmail.com"), ("x", "1"), ("v", "7"), ("c", "simple")] {
            self.sealed(&format!("seal with {tag}={value}"), pass, |chain, k| {
                chain.sets[k].seal.set(tag, value);
            });
        }
        self.sealed("instance with comments", pass, |chain, k| {
            chain.sets[k].results = format!(" (x (y))\r\n i = {} ; mx.example; none", k + 1);
        });
        self.sealed("tags behind b=", pass, |chain, k| {
            chain.sets[k].seal_end = "; z=1".into();
            chain.sets[k].message_signature_end = ";\r\n\tz=1;".into();
        });
        self.damaged("folded again", pass, |sealed, k| {
            for (_, value) in &mut sealed[k] {
                *value = value.replace("; ", ";\r\n \t ").replace("\r\n\tspf", " spf");
            }
        });
        self.damaged("names in another case", pass, |sealed, k| {
            sealed[k].iter_mut().for_each(|(name, _)| *name = name.to_ascii_uppercase());
        });
        self.damaged("unrelated fields between", pass, |sealed, k| {
            for (_, value) in &mut sealed[k] {
                value.push_str("\r\nX-Seen: yes\r\nReceived: by c.example\r\nARC-Sealed: i=1");
            }
        });
        self.damaged("sets in another order", pass, |sealed, k| {
            sealed.rotate_left(k);
            sealed[0].reverse();
        });
    }
}

/// Gives the field another instance. The number may stand behind a space.
fn renumber(value: &mut String, from: usize, to: &str) {
    let (old, new) = (format!(" i={from};"), format!(" i={to};"));
    assert!(value.contains(&old), "{value}");
    *value = value.replacen(&old, &new, 1);
}

/// Changes one character of the value of `b=`.
pub(crate) fn break_signature(value: &mut String) {
    let at = value.find("b=").unwrap() + 12;
    let other = if &value[at..=at] == "A" { "B" } else { "A" };
    value.replace_range(at..=at, other);
}
