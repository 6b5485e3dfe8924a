//! Agrees with the MTA on version, actions and steps (`SMFIC_OPTNEG`).
//!
//! The MTA says what it can do; we answer with what of that we use. We never ask for anything that
//! was not offered, whatever the version: Sendmail and Postfix close the connection on an action
//! they did not offer, and would wait for replies that never come on such a step.
//!
//! ```text
//!   version (4 octets) | actions (4) | steps (4) | { stage (4) | names, NUL }*
//! ```
//!
//! The lists of macros only stand in our answer, and only if the MTA takes them.

use super::macros::{MacroRequest, MacroStage};
use super::reply::write_packet;
use super::state::ProtocolError;

/// What a filter may do with a message (`SMFIF_…`), a set of bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Actions(u32);

impl Actions {
    /// Add and insert header fields (`SMFIF_ADDHDRS`).
    pub const ADD_HEADERS: Self = Self(0x001);
    /// Change and delete header fields (`SMFIF_CHGHDRS`).
    pub const CHANGE_HEADERS: Self = Self(0x010);
    /// Say which macros to send (`SMFIF_SETSYMLIST`).
    pub const SET_MACROS: Self = Self(0x100);

    /// Whether all of `others` are among these.
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

/// What happens on the way to the end of a message (`SMFIP_…`), a set of bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Steps(u32);

impl Steps {
    /// The MTA does not send HELO (`SMFIP_NOHELO`).
    pub const NO_HELO: Self = Self(0x2);
    /// The MTA does not send commands it does not know (`SMFIP_NOUNKNOWN`).
    pub const NO_UNKNOWN: Self = Self(0x100);
    /// The MTA does not send DATA (`SMFIP_NODATA`).
    pub const NO_DATA: Self = Self(0x200);
    /// The MTA takes the answer that no more of the body is needed (`SMFIP_SKIP`).
    pub const SKIP: Self = Self(0x400);
    /// The MTA also sends recipients it has refused (`SMFIP_RCPT_REJ`). We never ask for it.
    pub const REFUSED_RECIPIENTS: Self = Self(0x800);
    /// No reply to a header field (`SMFIP_NR_HDR`).
    pub const NO_REPLY_HEADER: Self = Self(0x80);
    /// No reply to the client's connection (`SMFIP_NR_CONN`).
    pub const NO_REPLY_CONNECT: Self = Self(0x1000);
    /// No reply to HELO (`SMFIP_NR_HELO`).
    pub const NO_REPLY_HELO: Self = Self(0x2000);
    /// No reply to MAIL (`SMFIP_NR_MAIL`).
    pub const NO_REPLY_MAIL: Self = Self(0x4000);
    /// No reply to RCPT (`SMFIP_NR_RCPT`).
    pub const NO_REPLY_RCPT: Self = Self(0x8000);
    /// No reply to DATA (`SMFIP_NR_DATA`).
    pub const NO_REPLY_DATA: Self = Self(0x1_0000);
    /// No reply to an unknown command (`SMFIP_NR_UNKN`).
    pub const NO_REPLY_UNKNOWN: Self = Self(0x2_0000);
    /// No reply to the end of the header (`SMFIP_NR_EOH`).
    pub const NO_REPLY_END_OF_HEADER: Self = Self(0x4_0000);
    /// No reply to a piece of the body (`SMFIP_NR_BODY`).
    pub const NO_REPLY_BODY: Self = Self(0x8_0000);
    /// Header values keep the space after the colon, in both directions (`SMFIP_HDR_LEADSPC`).
    pub const LEADING_SPACE: Self = Self(0x10_0000);
    /// Packets of up to 256 KiB (`SMFIP_MDS_256K`).
    pub const DATA_256K: Self = Self(0x1000_0000);
    /// Packets of up to 1 MiB (`SMFIP_MDS_1M`).
    pub const DATA_1M: Self = Self(0x2000_0000);

    /// Whether all of `others` are among these.
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Everything that saves a round trip or a packet, and the exact bytes of the header.
    const WANTED: Self = Self::NO_HELO
        .with(Self::NO_UNKNOWN)
        .with(Self::NO_DATA)
        .with(Self::SKIP)
        .with(Self::NO_REPLY_HEADER)
        .with(Self::NO_REPLY_CONNECT)
        .with(Self::NO_REPLY_HELO)
        .with(Self::NO_REPLY_MAIL)
        .with(Self::NO_REPLY_RCPT)
        .with(Self::NO_REPLY_DATA)
        .with(Self::NO_REPLY_UNKNOWN)
        .with(Self::NO_REPLY_END_OF_HEADER)
        .with(Self::NO_REPLY_BODY)
        .with(Self::LEADING_SPACE);
}

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Agreement {
    version: u32,
    actions: Actions,
    steps: Steps,
}

impl Agreement {
    /// Reads the MTA's offer and takes from it what we use.
    pub(super) fn read(offer: &[u8]) -> Result<Self, ProtocolError> {
        let (words, _) = offer.as_chunks::<4>();
        let &[version, actions, steps, ..] = words else {
            return Err(ProtocolError::ShortOffer { length: offer.len() });
        };
        let version = u32::from_be_bytes(version);
        if version < OLDEST_VERSION {
            return Err(ProtocolError::VersionTooOld { version });
        }
        // An MTA that offers nothing means the first version (`SMFI_V1_ACTS`), which adds fields
        // and cannot remove any. That is as much too little as any other set without the two.
        let offered = Actions(u32::from_be_bytes(actions));
        let required = Actions(Actions::ADD_HEADERS.0 | Actions::CHANGE_HEADERS.0);
        if !offered.contains(required) {
            return Err(ProtocolError::ActionsMissing { offered: offered.0 });
        }
        let version = version.min(NEWEST_VERSION);
        let mut actions = required;
        if version >= SET_MACROS_VERSION && offered.contains(Actions::SET_MACROS) {
            actions = Actions(actions.0 | Actions::SET_MACROS.0);
        }
        let offered = Steps(u32::from_be_bytes(steps));
        let mut steps = Steps(offered.0 & Steps::WANTED.0);
        if offered.contains(Steps::DATA_1M) {
            steps = steps.with(Steps::DATA_1M);
        } else if offered.contains(Steps::DATA_256K) {
            steps = steps.with(Steps::DATA_256K);
        }
        Ok(Self { version, actions, steps })
    }

    /// Writes our answer to the offer.
    pub(super) fn write(&self, request: &MacroRequest, out: &mut Vec<u8>) {
        let mut data = Vec::with_capacity(256);
        for word in [self.version, self.actions.0, self.steps.0] {
            data.extend_from_slice(&word.to_be_bytes());
        }
        if self.actions.contains(Actions::SET_MACROS) {
            for stage in MacroStage::ALL {
                let names: Vec<String> = request.at(stage).map(ToString::to_string).collect();
                data.extend_from_slice(&stage.code().to_be_bytes());
                data.extend_from_slice(names.join(" ").as_bytes());
                data.push(0);
            }
        }
        write_packet(out, b'O', &[&data]);
    }

    /// The version that both sides speak.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The actions we may use.
    pub fn actions(&self) -> Actions {
        self.actions
    }

    /// The steps that the MTA takes or leaves out.
    pub fn steps(&self) -> Steps {
        self.steps
    }
}

/// The first version with an end of the header; libmilter takes no older one either.
const OLDEST_VERSION: u32 = 2;
/// `SMFI_PROT_VERSION` of Sendmail 8.14 and later.
const NEWEST_VERSION: u32 = 6;
/// Lists of macros came with version 6.
const SET_MACROS_VERSION: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(version: u32, actions: u32, steps: u32) -> Vec<u8> {
        [version, actions, steps].iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn takes_of_an_offer_what_it_uses() {
        // (offered version, actions, steps), (answered version, actions, steps)
        let cases = [
            ((6, 0x1ff, 0x1f_ffff), (6, 0x111, 0x1f_f782)),
            ((6, 0x1ff, 0x3f_ffff), (6, 0x111, 0x1f_f782)),
            ((7, 0x1ff, 0x1f_ffff), (6, 0x111, 0x1f_f782)),
            ((u32::MAX, u32::MAX, u32::MAX), (6, 0x111, 0x3f_f782 - 0x20_0000 + 0x2000_0000)),
            ((6, 0x1ff, 0x3000_0000), (6, 0x111, 0x2000_0000)),
            ((6, 0x1ff, 0x1000_0000), (6, 0x111, 0x1000_0000)),
            ((6, 0x0ff, 0), (6, 0x011, 0)),
            ((2, 0x03f, 0x7f), (2, 0x011, 0x02)),
            ((2, 0x13f, 0xff), (2, 0x011, 0x82)),
            ((3, 0x03f, 0x17f), (3, 0x011, 0x102)),
            ((4, 0x03f, 0x37f), (4, 0x011, 0x302)),
        ];
        for ((version, actions, steps), want) in cases {
            let got = Agreement::read(&offer(version, actions, steps)).unwrap();
            let got = (got.version, got.actions.0, got.steps.0);
            assert_eq!(got, want, "{version} {actions:#x} {steps:#x}: {:#x}", got.2);
        }
    }

    #[test]
    fn refuses_an_offer_it_cannot_work_with() {
        let cases = [
            (offer(1, 0x1ff, 0), ProtocolError::VersionTooOld { version: 1 }),
            (offer(0, 0x1ff, 0), ProtocolError::VersionTooOld { version: 0 }),
            (offer(6, 0, 0), ProtocolError::ActionsMissing { offered: 0 }),
            (offer(6, 0x10, 0), ProtocolError::ActionsMissing { offered: 0x10 }),
            (offer(6, 0x1ef, 0), ProtocolError::ActionsMissing { offered: 0x1ef }),
            (vec![], ProtocolError::ShortOffer { length: 0 }),
            (vec![0; 11], ProtocolError::ShortOffer { length: 11 }),
        ];
        for (input, want) in cases {
            assert_eq!(Agreement::read(&input), Err(want), "{input:?}");
        }
    }

    #[test]
    fn asks_for_macros_where_the_mta_takes_lists() {
        let mut out = Vec::new();
        let agreement = Agreement::read(&offer(6, 0x1ff, 0)).unwrap();
        agreement.write(&MacroRequest::default(), &mut out);
        let want = b"\0\0\0\x59O\0\0\0\x06\0\0\x01\x11\0\0\0\0\
            \0\0\0\0{client_addr} {daemon_name}\0\
            \0\0\0\x02i {auth_authen}\0\
            \0\0\0\x03{rcpt_mailer}\0\
            \0\0\0\x06i\0";
        assert_eq!(out.escape_ascii().to_string(), want.escape_ascii().to_string());

        out.clear();
        let agreement = Agreement::read(&offer(2, 0x3f, 0x7f)).unwrap();
        agreement.write(&MacroRequest::default(), &mut out);
        assert_eq!(out, b"\0\0\0\x0dO\0\0\0\x02\0\0\0\x11\0\0\0\x02");
    }
}
