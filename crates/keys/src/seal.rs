//! Private keys at rest: sealed under the master key, and opened again.
//!
//! A sealed key is AES-256-GCM over the key's PKCS#8. On disk:
//!
//! ```text
//! offset  octets
//!      0       1  version, 1
//!      1       8  which master key: the first octets of its check value
//!      9      16  salt, random
//!     25      12  nonce, random
//!     37       n  ciphertext
//!   37+n      16  tag
//! ```
//!
//! The additional data is the first 25 octets and the [`KeyContext`], so a row that is copied to another
//! tenant, domain or selector does not open.
//!
//! Each row has its own key, HKDF-Expand of the master key with the salt (RFC 5869 §2.3). With random
//! nonces, NIST SP 800-38D §8.3 ends the life of one AES-GCM key at 2^32 uses; here a key and a nonce
//! meet again only if 224 random bits do, so no number of rows needs to be counted.
//!
//! Since a row names its master key, a wrong master key is told from a damaged row. A row that was swapped
//! is not told from one that was damaged: both fail the tag.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand;
use postseal_dkim::{DomainName, Selector};
use postseal_engine::{SealedKey, TenantId};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::master_key::{KEY_ID_LEN, MasterKey};
use crate::signing_key::{GenerateError, SigningKey};

/// Whose key it is, and under which name its public half is published.
///
/// A sealed key opens only in the context it was sealed in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyContext<'a> {
    /// The owner of the domain.
    pub tenant: TenantId,
    /// The SDID, `d=`.
    pub signing_domain: &'a DomainName,
    /// The selector, `s=`.
    pub selector: &'a Selector,
}

impl MasterKey {
    /// Seals a key for the store.
    pub fn seal(
        &self,
        key: &SigningKey,
        context: &KeyContext<'_>,
    ) -> Result<SealedKey, GenerateError> {
        let mut random = [0; SALT_LEN + NONCE_LEN];
        rand::fill(&mut random).map_err(|_| GenerateError)?;
        let (salt, nonce) = random.split_at(SALT_LEN);
        let mut head = Vec::with_capacity(HEAD_LEN);
        head.push(VERSION);
        head.extend(self.check_value().key_id());
        head.extend(salt);

        let pkcs8 = key.pkcs8();
        // Room for the tag, so that no copy of the plain text is left behind by growing.
        let mut text = Zeroizing::new(Vec::with_capacity(pkcs8.as_ref().len() + TAG_LEN));
        text.extend(pkcs8.as_ref());
        let nonce_of_row = Nonce::try_assume_unique_for_key(nonce).expect("a nonce has 12 octets");
        let tag = self
            .row_key(salt)
            .seal_in_place_separate_tag(nonce_of_row, additional_data(&head, context), &mut text)
            .expect("a private key is far shorter than AES-GCM allows");
        Ok(SealedKey::new([&head, nonce, &text, tag.as_ref()].concat()))
    }

    /// Opens a key from the store.
    ///
    /// This is CPU work of a fifth to half a millisecond for RSA: inside a server it belongs on
    /// [`crate::SigningThreads`], where [`crate::KeyCache`] puts it.
    pub fn open(&self, sealed: &[u8], context: &KeyContext<'_>) -> Result<SigningKey, OpenError> {
        let (&version, _) = sealed.split_first().ok_or(OpenError::Damaged)?;
        if version != VERSION {
            return Err(OpenError::UnknownVersion { version });
        }
        let (head, rest) = sealed.split_at_checked(HEAD_LEN).ok_or(OpenError::Damaged)?;
        let (key_id, salt) = head.get(1..).unwrap_or_default().split_at(KEY_ID_LEN);
        if key_id != self.check_value().key_id() {
            return Err(OpenError::OtherMasterKey);
        }
        let (nonce, ciphertext) = rest.split_at_checked(NONCE_LEN).ok_or(OpenError::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).expect("a nonce has 12 octets");
        let mut text = Zeroizing::new(ciphertext.to_vec());
        let pkcs8 = self
            .row_key(salt)
            .open_in_place(nonce, additional_data(head, context), &mut text)
            .map_err(|_| OpenError::Damaged)?;
        // The tag holds, so these octets were written by `seal`.
        SigningKey::from_der(pkcs8).map_err(|_| OpenError::Damaged)
    }

    /// The key of one row.
    fn row_key(&self, salt: &[u8]) -> LessSafeKey {
        let derive = self.derive();
        let info = [ROW_KEY_LABEL, salt];
        let key =
            derive.expand(&info, &AES_256_GCM).expect("the length is within the bounds of HKDF");
        LessSafeKey::new(UnboundKey::from(key))
    }
}

/// Why a sealed key does not open.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum OpenError {
    /// The row names another master key.
    #[error(
        "the key was sealed with another master key; put that master key back from its backup, or \
         replace the key"
    )]
    OtherMasterKey,
    /// The tag does not hold: octets were changed, or the row was copied from another domain or selector.
    #[error(
        "the sealed key is damaged, or belongs to another tenant, domain or selector; restore its row \
         from a backup, or replace the key"
    )]
    Damaged,
    /// Written by a later version of Postseal.
    #[error(
        "the sealed key has format {version}, which this version of Postseal does not know; upgrade it"
    )]
    UnknownVersion {
        /// The format it says it has.
        version: u8,
    },
}

/// What the tag covers besides the ciphertext. Lengths keep the two names apart.
fn additional_data(head: &[u8], context: &KeyContext<'_>) -> Aad<Vec<u8>> {
    let domain = context.signing_domain.as_str().as_bytes();
    let selector = context.selector.as_str().as_bytes();
    let mut data = Vec::with_capacity(HEAD_LEN + 4 + 2 + domain.len() + 2 + selector.len());
    data.extend(head);
    data.extend(context.tenant.get().to_be_bytes());
    for name in [domain, selector] {
        let len = u16::try_from(name.len()).expect("a name has at most 253 octets");
        data.extend(len.to_be_bytes());
        data.extend(name);
    }
    Aad::from(data)
}

/// The format described at the top.
const VERSION: u8 = 1;

const SALT_LEN: usize = 16;

/// Version, master key, salt.
const HEAD_LEN: usize = 1 + KEY_ID_LEN + SALT_LEN;

/// NIST SP 800-38D §5.2.1.1 recommends 96 bits.
const NONCE_LEN: usize = 12;

const TAG_LEN: usize = 16;

const ROW_KEY_LABEL: &[u8] = b"postseal sealed signing key v1";

#[cfg(test)]
mod tests {
    use postseal_dkim::Algorithm;

    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn selector(text: &str) -> Selector {
        Selector::parse(text).unwrap()
    }

    fn sealed_octets(sealed: &SealedKey) -> &[u8] {
        sealed.as_bytes().unwrap()
    }

    #[test]
    fn what_is_sealed_opens_and_signs_alike() {
        let (domain, selector) = (name("example.com"), selector("s1"));
        let context =
            KeyContext { tenant: TenantId::new(7), signing_domain: &domain, selector: &selector };
        let master = MasterKey::generate().unwrap_or_else(|error| panic!("{error}"));
        for algorithm in [Algorithm::RsaSha256, Algorithm::Ed25519Sha256] {
            let key = SigningKey::generate(algorithm).ok().unwrap();
            let sealed = master.seal(&key, &context).unwrap();
            let opened = master.open(sealed_octets(&sealed), &context).ok().unwrap();

            assert_eq!(opened.algorithm(), algorithm);
            assert_eq!(opened.public_record(), key.public_record());
            assert_eq!(opened.sign(&[9; 32]).unwrap(), key.sign(&[9; 32]).unwrap());
            let again = master.seal(&key, &context).unwrap();
            assert_ne!(again, sealed, "salt and nonce are drawn anew");
        }
    }

    #[test]
    fn a_row_in_another_place_does_not_open() {
        let (domain, other_domain) = (name("example.com"), name("example.org"));
        let (s1, s2) = (selector("s1"), selector("s2"));
        let context =
            KeyContext { tenant: TenantId::new(7), signing_domain: &domain, selector: &s1 };
        let master = MasterKey::generate().ok().unwrap();
        let key = SigningKey::generate(Algorithm::Ed25519Sha256).ok().unwrap();
        let sealed = master.seal(&key, &context).unwrap();

        let places = [
            KeyContext { tenant: TenantId::new(8), ..context },
            KeyContext { tenant: TenantId::PRIMARY, ..context },
            KeyContext { signing_domain: &other_domain, ..context },
            KeyContext { selector: &s2, ..context },
        ];
        for place in places {
            assert_eq!(
                master.open(sealed_octets(&sealed), &place).err(),
                Some(OpenError::Damaged),
                "{place:?}"
            );
        }
        assert!(master.open(sealed_octets(&sealed), &context).is_ok());
    }

    #[test]
    fn names_do_not_run_into_each_other() {
        let (ab, a) = (name("ab"), name("a"));
        let (c, bc) = (selector("c"), selector("bc"));
        let tenant = TenantId::new(1);
        let one = KeyContext { tenant, signing_domain: &ab, selector: &c };
        let two = KeyContext { tenant, signing_domain: &a, selector: &bc };
        assert_ne!(additional_data(&[], &one).as_ref(), additional_data(&[], &two).as_ref());
    }

    #[test]
    fn a_wrong_master_key_is_told_from_a_damaged_row() {
        let (domain, selector) = (name("example.com"), selector("s1"));
        let context =
            KeyContext { tenant: TenantId::new(7), signing_domain: &domain, selector: &selector };
        let master = MasterKey::generate().ok().unwrap();
        let key = SigningKey::generate(Algorithm::Ed25519Sha256).ok().unwrap();
        let sealed = master.seal(&key, &context).unwrap();

        let other = MasterKey::generate().ok().unwrap();
        assert_eq!(
            other.open(sealed_octets(&sealed), &context).err(),
            Some(OpenError::OtherMasterKey)
        );

        let octets = sealed_octets(&sealed);
        for at in 0..octets.len() {
            let mut changed = octets.to_vec();
            changed[at] ^= 0x10;
            let want = match at {
                0 => OpenError::UnknownVersion { version: 0x11 },
                1..=8 => OpenError::OtherMasterKey,
                _ => OpenError::Damaged,
            };
            assert_eq!(master.open(&changed, &context).err(), Some(want), "octet {at}");
        }
        for len in 0..octets.len() {
            assert!(master.open(&octets[..len], &context).is_err(), "{len} octets");
        }
    }

    #[test]
    fn nothing_of_the_key_is_readable_in_a_row() {
        let (domain, selector) = (name("example.com"), selector("s1"));
        let context =
            KeyContext { tenant: TenantId::new(7), signing_domain: &domain, selector: &selector };
        let master = MasterKey::generate().ok().unwrap();
        let key = SigningKey::generate(Algorithm::RsaSha256).ok().unwrap();
        let sealed = master.seal(&key, &context).unwrap();
        let pkcs8 = key.pkcs8();
        for window in pkcs8.as_ref().windows(8) {
            assert!(!sealed_octets(&sealed).windows(8).any(|octets| octets == window));
        }
    }
}
