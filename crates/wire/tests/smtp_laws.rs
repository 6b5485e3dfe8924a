//! Laws of the SMTP sessions and of message content, on generated input.

use postseal_wire::smtp::BareNewlines;
use postseal_wire::smtp::address::Mailbox;
use postseal_wire::smtp::command::Command;
use postseal_wire::smtp::data::{DotStuffing, Framing};
use postseal_wire::smtp::fuzzing;
use proptest::prelude::*;

/// Bytes that mean something to a decoder, more often than others.
fn wire_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => Just(b'\r'), 4 => Just(b'\n'), 3 => Just(b'.'), 1 => Just(0u8), 2 => Just(b'a'),
        1 => any::<u8>(),
    ];
    prop::collection::vec(byte, 0..60)
}

/// Streams of whole commands, chunks and content, in any order.
fn client_stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"EHLO a.example\r\n".to_vec()),
        Just(b"HELO a\r\n".to_vec()),
        Just(b"MAIL FROM:<a@b.example> SIZE=5\r\n".to_vec()),
        Just(b"MAIL FROM:<>\r\n".to_vec()),
        Just(b"RCPT TO:<c@d.example> NOTIFY=NEVER\r\n".to_vec()),
        Just(b"DATA\r\n".to_vec()),
        Just(b"A: b\r\n\r\ntext\r\n.\r\n".to_vec()),
        Just(b"\r\n.\r\n".to_vec()),
        Just(b"BDAT 3\r\na\r\n".to_vec()),
        Just(b"BDAT 2 LAST\r\n\r\n".to_vec()),
        Just(b"RSET\r\n".to_vec()),
        Just(b"STARTTLS\r\n".to_vec()),
        Just(b"AUTH PLAIN\r\n".to_vec()),
        Just(b"AHUAcA==\r\n".to_vec()),
        Just(b"*\r\n".to_vec()),
        wire_bytes(),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_server_session_takes_any_stream(stream in client_stream(), cut: prop::sample::Index, repair: bool) {
        let newlines = if repair { BareNewlines::Repair } else { BareNewlines::Refuse };
        let cut = if stream.is_empty() { 0 } else { cut.index(stream.len()) };
        fuzzing::server(&stream, cut, newlines);
    }

    #[test]
    fn a_server_session_takes_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzzing::server(&bytes, bytes.len() / 2, BareNewlines::Refuse);
    }

    #[test]
    fn a_client_session_takes_any_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        codes in prop::collection::vec((200u16..600, any::<bool>()), 0..20),
    ) {
        let mut server: Vec<u8> = codes
            .iter()
            .flat_map(|(code, more)| format!("{code}{}x\r\n", if *more { '-' } else { ' ' }).into_bytes())
            .collect();
        server.extend_from_slice(&bytes);
        fuzzing::client(&server);
    }

    #[test]
    fn stuffing_and_unstuffing_are_inverse(bytes in wire_bytes()) {
        fuzzing::content(&bytes, Framing::Chunks);
        let ended = [bytes.as_slice(), b"\r\n.\r\n"].concat();
        fuzzing::content(&ended, Framing::Dot);
    }

    #[test]
    fn stuffing_does_not_depend_on_chunks(
        parts in prop::collection::vec(wire_bytes(), 0..6),
    ) {
        let mut whole = (DotStuffing::default(), Vec::new());
        whole.0.write(&parts.concat(), &mut whole.1);
        whole.0.finish(&mut whole.1);
        let mut cut = (DotStuffing::default(), Vec::new());
        for part in &parts {
            cut.0.write(part, &mut cut.1);
        }
        cut.0.finish(&mut cut.1);
        prop_assert_eq!(whole.1, cut.1);
    }

    #[test]
    fn a_path_that_parses_is_written_as_it_came(text in "[ -~é]{0,30}") {
        if let Ok(mailbox) = Mailbox::parse(&text) {
            prop_assert_eq!(mailbox.as_str(), text.as_str());
            let again = format!("RCPT TO:<{mailbox}>");
            prop_assert!(matches!(Command::parse(again.as_bytes()), Ok(Command::Rcpt(r)) if r.mailbox == mailbox));
        }
    }
}
