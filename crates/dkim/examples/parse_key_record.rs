//! Says what key records are worth: the texts of TXT records, as arguments.
//!
//! `cargo run -p postseal-dkim --example parse_key_record -- 'v=DKIM1; k=ed25519; p=…'`

use postseal_dkim::{IdentityRule, KeyRecord, MIN_RSA_BITS, Mode, Service};

fn main() {
    let mut texts: Vec<_> = std::env::args().skip(1).collect();
    if texts.is_empty() {
        texts.push("v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".to_owned());
        texts.push("v=DKIM1; p=".to_owned());
    }
    for text in texts {
        println!("{}", verdict(&text));
    }
}

fn verdict(text: &str) -> String {
    let record = match KeyRecord::parse(text.as_bytes()) {
        Ok(record) => record,
        Err(error) => return format!("no key: {error}"),
    };
    let key = record.public_key();
    let mut verdict = format!("a key for {}", key.algorithm());
    if let Some(bits) = key.rsa_bits() {
        verdict.push_str(&format!(", {bits} bits"));
        if bits < MIN_RSA_BITS {
            verdict.push_str(" (too short to count)");
        }
    }
    if record.service() != Service::Email {
        verdict.push_str(", not for mail");
    }
    if record.mode() == Mode::Testing {
        verdict.push_str(", only for a test");
    }
    if record.identity_rule() == IdentityRule::Exact {
        verdict.push_str(", not for identities below the domain");
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_wrong_with_a_record() {
        let key = "k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        let cases = [
            (format!("v=DKIM1; {key}"), "a key for ed25519-sha256"),
            (
                format!("{key}; t=y:s; s=tlsrpt"),
                "a key for ed25519-sha256, not for mail, only for a test, not for identities below the domain",
            ),
            ("v=DKIM1; p=".to_owned(), "no key: the key is revoked"),
            ("v=spf1 -all".to_owned(), "no key: v= is not DKIM1"),
        ];
        for (text, want) in cases {
            assert_eq!(verdict(&text), want, "{text}");
        }
        main();
    }
}
