//! Handing a whole message on: does the hop suit, the envelope, the signatures, the content, the answer.
//!
//! ```text
//!   hop of the pool ──> offers what the message needs? ──> RSET MAIL RCPT … ──> sign ──> DATA, content
//!        │ none             │ no                             │ refused           │ no       │
//!        v                  v                                v                   v          v
//!    451 4.3.5         4xx, 5xx                      that refusal, for all    4xx, 5xx   the hop's answer
//! ```
//!
//! The signatures come after the recipients were taken, so that none is made for a message that goes to
//! nobody. After the final dot the answer is the hop's, whatever it is.

use std::sync::Arc;

use postseal_dkim::Header;
use postseal_engine::{Refusal, Removal};
use postseal_wire::smtp::{
    BodyType, Extensions, Mail, Recipient, Reply, ReplyClass, ReplyCode, Summary,
};

use super::Door;
use super::hop::{Envelope, Hop, HopError, MessageReply};
use super::transaction::{Decision, Message, Route, Transaction};

/// Replays the envelope where the hop has not had it, signs, and sends the message.
pub(super) async fn hand_on(door: &Door, transaction: Transaction, summary: Summary) -> Reply {
    let Transaction { mut mail, recipients, route, message, .. } = transaction;
    let Some(Message { id, header, mut body, decision, .. }) = message else { return lost() };
    let pool = match &decision {
        Decision::Sign(in_flight) => in_flight.pool(),
        Decision::Pass { pool } => pool.as_ref(),
        Decision::Pending => return lost(),
    };
    let Some(hop) = door.hop_of(pool) else { return no_hop() };
    if summary.eight_bit {
        // Said by the content, whether or not the client said so.
        mail.body = Some(BodyType::EightBitMime);
    }
    let _share;
    let begun = match route {
        Route::ByHeader => {
            let octets = Some(summary.octets.saturating_add(ADDED_OCTETS));
            let envelope = Envelope { mail: &mail, octets, recipients: &recipients };
            match hop.begin(envelope, |has| suits(&mail, &recipients, Some(summary), has)).await {
                Err(error) => return failed(&hop, &error),
                Ok((connection, answers)) => match answers.refusal() {
                    None => connection,
                    Some(reply) => {
                        tracing::info!(queue_id = id, hop = hop.name(), %reply, "an envelope is refused");
                        hop.give_back(connection);
                        return about_message(reply);
                    }
                },
            }
        }
        Route::Broken => return HopError::Closed.reply(),
        Route::Open { hop: open, connection, share } => {
            // Held to the end, as the connection is.
            _share = share;
            if !Arc::ptr_eq(&open, &hop) {
                // The pool was given another hop in between. It never leaves by the old one in silence.
                open.give_back(connection);
                return Reply::new(
                    ReplyCode::LOCAL_ERROR,
                    (4, 0),
                    "the next hop changed, try again",
                );
            }
            if let Err(reply) = suits(&mail, &recipients, Some(summary), connection.extensions()) {
                hop.give_back(connection);
                return reply;
            }
            connection
        }
    };
    let mut connection = begun;
    let mut before = Vec::with_capacity(header.len() + 4096);
    match decision {
        Decision::Pending => return lost(),
        Decision::Pass { .. } => before.extend_from_slice(&header),
        Decision::Sign(in_flight) => match in_flight.finish().await {
            Err(refusal) => {
                hop.give_back(connection);
                return reply_of(&refusal);
            }
            Ok(signed) => {
                for field in &signed.fields {
                    before.extend_from_slice(field.raw());
                }
                match Header::parse(&header) {
                    Ok(header) => before.extend_from_slice(&without(&header, &signed.remove)),
                    // It was parsed before.
                    Err(_) => return lost(),
                }
            }
        },
    }
    before.extend_from_slice(b"\r\n");
    drop(header);
    match connection.message(&before, &mut body).await {
        Err(error) => failed(&hop, &error),
        Ok(MessageReply::ToData(reply)) => {
            tracing::info!(queue_id = id, hop = hop.name(), %reply, "a message is refused at DATA");
            hop.give_back(connection);
            about_message(reply)
        }
        Ok(MessageReply::BrokeOff(reply)) => {
            tracing::info!(queue_id = id, hop = hop.name(), %reply, "a message is refused before its end");
            about_message(reply)
        }
        Ok(MessageReply::ToMessage(reply)) => {
            tracing::info!(event = "handed_on", queue_id = id, hop = hop.name(), %reply);
            if reply.code() != ReplyCode::NOT_AVAILABLE {
                hop.give_back(connection);
            }
            reply
        }
    }
}

/// Says whether a hop that offers `offered` can take the message, as far as it is known.
///
/// What was declared and is not offered gets a 4xx: we offered it before we knew this hop, and the client
/// hears from our next answer to EHLO that we no longer do. What the content itself needs gets a 5xx, since
/// another try would change nothing.
pub(super) fn suits(
    mail: &Mail,
    recipients: &[Recipient],
    content: Option<Summary>,
    offered: &Extensions,
) -> Result<(), Reply> {
    let later = |status, text: &str| Err(Reply::new(ReplyCode::LOCAL_ERROR, status, text));
    let has_dsn = !mail.dsn.is_empty() || recipients.iter().any(|to| !to.dsn.is_empty());
    if mail.smtputf8 && !offered.smtputf8 {
        return later((6, 7), "the next hop does not take SMTPUTF8");
    }
    if has_dsn && !offered.dsn {
        return later((5, 4), "the next hop does not take DSN parameters");
    }
    match content {
        None if mail.body == Some(BodyType::EightBitMime) && !offered.eight_bit_mime => {
            return later((6, 3), "the next hop does not take 8BITMIME");
        }
        Some(summary) if summary.eight_bit && !offered.eight_bit_mime => {
            let text = "the message has 8-bit text, and the next hop takes 7-bit text only";
            return Err(Reply::new(ReplyCode::FAILED, (6, 3), text));
        }
        None | Some(_) => {}
    }
    let octets = content.map_or(mail.size, |summary| Some(summary.octets + ADDED_OCTETS));
    match (octets, offered.size.limit()) {
        (Some(octets), Some(limit)) if octets > limit => {
            let text = "the message is larger than the next hop takes";
            Err(Reply::new(ReplyCode::TOO_LARGE, (3, 4), text))
        }
        _ => Ok(()),
    }
}

/// A hop's reply before it has the message, as the client gets it.
///
/// Most are about the message and are passed on as they are. Those that are about our own dealings with
/// the hop would be taken by the client for dealings with us: it gets a 4xx, and an operator looks.
pub(super) fn about_message(reply: Reply) -> Reply {
    match reply.code().number() {
        421 => Reply::new(ReplyCode::LOCAL_ERROR, (3, 2), "the next hop is closing, try later"),
        500..=504 | 530 | 534 | 535 | 538 => {
            tracing::error!(%reply, "a next hop does not take what we send");
            Reply::new(ReplyCode::LOCAL_ERROR, (4, 0), "the next hop refuses us, try later")
        }
        _ => reply,
    }
}

pub(super) fn failed(hop: &Hop, error: &HopError) -> Reply {
    tracing::warn!(hop = hop.name(), %error, "a message did not get through a next hop");
    error.reply()
}

pub(super) fn reply_of(refusal: &Refusal) -> Reply {
    let code = ReplyCode::new(refusal.code).unwrap_or(ReplyCode::LOCAL_ERROR);
    let postseal_engine::EnhancedCode(_, subject, detail) = refusal.enhanced;
    Reply::new(code, (subject.into(), detail.into()), &refusal.text)
}

pub(super) fn is_negative(reply: &Reply) -> bool {
    matches!(reply.class(), ReplyClass::Transient | ReplyClass::Permanent)
}

pub(super) fn no_hop() -> Reply {
    tracing::error!("a pool has no next hop in the configuration");
    Reply::new(ReplyCode::LOCAL_ERROR, (3, 5), "no next hop is configured for this mail")
}

/// The state of the transaction is gone: our own mistake, and the client keeps the message.
pub(super) fn lost() -> Reply {
    tracing::error!("a transaction was lost");
    Reply::new(ReplyCode::LOCAL_ERROR, (3, 0), "local error, try again")
}

/// The header section without the fields that are taken out.
pub(super) fn without(header: &Header<'_>, remove: &[Removal]) -> Vec<u8> {
    header
        .fields()
        .enumerate()
        .filter(|(index, _)| remove.iter().all(|removal| removal.index != *index))
        .flat_map(|(_, field)| field.raw())
        .copied()
        .collect()
}

/// Octets that a message grows by: a trace field and up to four signatures.
pub(super) const ADDED_OCTETS: u64 = 8 * 1024;
