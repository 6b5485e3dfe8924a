//! Signs a message that is whole in memory, and prints it with its key record.
//!
//! `cargo run -p postseal-dkim --example sign_message`

use std::error::Error;
use std::io::{self, Write as _};

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use postseal_dkim::{
    Algorithm, Canonicalization, FieldSelection, Header, MessageSigning, SignRequest, UnixTime,
    key_record_name, key_record_text,
};

const MESSAGE: &[u8] = b"From: Ann <ann@example.com>\r\n\
    To: bob@example.net\r\n\
    Subject: Hello\r\n\
    Date: Fri, 27 Nov 2026 10:00:00 +0000\r\n\
    \r\n\
    Hello Bob.\r\n";

fn main() -> Result<(), Box<dyn Error>> {
    // RsaKeyPair::from_pkcs8 opens a key that exists.
    let key = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let request = request(now()?)?;

    println!("{} TXT", key_record_name(&request.selector, &request.signing_domain)?);
    println!("{}\n", key_record(&key)?);
    io::stdout().write_all(&signed(MESSAGE, request, &key)?)?;
    Ok(())
}

fn request(now: UnixTime) -> Result<SignRequest, Box<dyn Error>> {
    Ok(SignRequest {
        signing_domain: "example.com".parse()?,
        selector: "s1".parse()?,
        algorithm: Algorithm::RsaSha256,
        canonicalization: Canonicalization::RELAXED,
        signed_at: now,
        expires_at: Some(now.plus_secs(7 * 24 * 3600)),
        identity: None,
        fields: FieldSelection::default(),
    })
}

/// The message with its signature in front.
fn signed(
    message: &[u8],
    request: SignRequest,
    key: &RsaKeyPair,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let (header, body) = Header::of_message(message)?;
    let mut signing = MessageSigning::start(vec![request], &header)?;
    signing.body(body);

    let mut signed = Vec::new();
    for unsigned in signing.finish() {
        let digest = Digest::import_less_safe(unsigned.digest(), &SHA256)?;
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign_digest(&RSA_PKCS1_SHA256, &digest, &mut signature)?;
        signed.extend_from_slice(unsigned.complete(&signature).raw());
    }
    signed.extend_from_slice(message);
    Ok(signed)
}

fn key_record(key: &RsaKeyPair) -> Result<String, Box<dyn Error>> {
    Ok(key_record_text(Algorithm::RsaSha256, key.public_key().as_der()?.as_ref()))
}

#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the crate has no clock, its caller has"
)]
fn now() -> Result<UnixTime, Box<dyn Error>> {
    use std::time::{SystemTime, UNIX_EPOCH};
    Ok(UnixTime(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs()))
}

#[cfg(test)]
mod tests {
    use postseal_dkim::{KeyAnswer, Verifier, VerifyRules};

    use super::*;

    #[test]
    fn what_it_prints_verifies() {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let signed = signed(MESSAGE, request(UnixTime(1_790_000_000)).unwrap(), &key).unwrap();
        assert!(signed.ends_with(MESSAGE));

        let (header, body) = Header::of_message(&signed).unwrap();
        let now = UnixTime(1_790_000_060);
        let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), now);
        assert_eq!(queries[0].name.as_str(), "s1._domainkey.example.com");
        verifier.answer(queries[0].id, KeyAnswer::from_texts([key_record(&key).unwrap()]));
        verifier.body(body);
        assert!(verifier.finish().has_pass());
    }
}
