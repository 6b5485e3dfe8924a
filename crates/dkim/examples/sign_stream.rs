//! Signs a message of any size from standard input, and prints the field to be put in front of it.
//!
//! `cargo run -p postseal-dkim --example sign_stream < message`
//!
//! The header is held, the body never is: it is hashed as it comes. What is read has to be the message
//! as it goes on the wire, with CRLF.

use std::error::Error;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use postseal_dkim::{
    Algorithm, Canonicalization, FieldSelection, Header, MAX_HEADER_LEN, MessageSigning,
    SignRequest, SignedField, UnixTime, key_record_text,
};

fn main() -> Result<(), Box<dyn Error>> {
    let key = Ed25519KeyPair::generate()?;
    eprintln!("{}", key_record_text(Algorithm::Ed25519Sha256, key.public_key().as_ref()));
    let field = sign_stream(io::stdin().lock(), &key, now()?)?;
    io::stdout().write_all(field.raw())?;
    Ok(())
}

fn sign_stream(
    message: impl Read,
    key: &Ed25519KeyPair,
    now: UnixTime,
) -> Result<SignedField, Box<dyn Error>> {
    let mut message = BufReader::new(message);
    let raw = read_header(&mut message)?;
    let header = Header::parse(&raw)?;
    let request = SignRequest {
        signing_domain: "example.com".parse()?,
        selector: "ed1".parse()?,
        algorithm: Algorithm::Ed25519Sha256,
        canonicalization: Canonicalization::RELAXED,
        signed_at: now,
        expires_at: None,
        identity: None,
        fields: FieldSelection::default(),
    };
    let mut signing = MessageSigning::start(vec![request], &header)?;
    loop {
        let chunk = message.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        signing.body(chunk);
        let len = chunk.len();
        message.consume(len);
    }
    let unsigned = signing.finish().pop().ok_or("one signature was asked for")?;
    let signature = key.sign(unsigned.digest());
    Ok(unsigned.complete(signature.as_ref()))
}

/// Reads up to the empty line, which belongs to neither part.
fn read_header(message: &mut BufReader<impl Read>) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    // One octet more than the bound, so that Header::parse sees when there is too much.
    let mut limited = message.take(MAX_HEADER_LEN as u64 + 1);
    while limited.read_until(b'\n', &mut header)? > 0 {
        if header == b"\r\n" || header.ends_with(b"\r\n\r\n") {
            header.truncate(header.len() - 2);
            break;
        }
    }
    Ok(header)
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

    const NOW: UnixTime = UnixTime(1_790_000_000);

    /// Gives one octet at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = buffer.len().min(1);
            self.0.read(&mut buffer[..len])
        }
    }

    #[test]
    fn the_field_verifies_however_the_message_arrives() {
        let key = Ed25519KeyPair::generate().unwrap();
        let record = key_record_text(Algorithm::Ed25519Sha256, key.public_key().as_ref());
        let body = "A line of the body, many times.\r\n".repeat(1_000);
        let message = format!("From: ann@example.com\r\nX: y\n\r\n z\r\n\r\n{body}");
        let field = sign_stream(message.as_bytes(), &key, NOW).unwrap();
        assert_eq!(sign_stream(Slow(message.as_bytes()), &key, NOW).unwrap(), field);

        let signed = [field.raw(), message.as_bytes()].concat();
        let (header, body) = Header::of_message(&signed).unwrap();
        let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), NOW);
        verifier.answer(queries[0].id, KeyAnswer::from_texts([record]));
        verifier.body(body);
        assert!(verifier.finish().has_pass());
    }

    #[test]
    fn a_header_without_end_is_refused() {
        let key = Ed25519KeyPair::generate().unwrap();
        let endless = b"From: a@example.com\r\n".chain(io::repeat(b'a'));
        assert!(sign_stream(endless, &key, NOW).is_err());
    }
}
