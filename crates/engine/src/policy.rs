//! What an operator can decide, and in which order decisions count.
//!
//! ```text
//!   built in ─▶ platform ─▶ pool ─▶ tenant        a later layer replaces what an earlier one says
//! ```
//!
//! A [`PolicyLayer`] says something about some of the settings; [`Policy::layered`] makes one answer to
//! every setting out of them. Layers are read from and written as serde data: TOML in the configuration,
//! JSON in the store and the API.
//!
//! What no layer can change: a tenant signs with nobody else's domain, and `l=` is never written.

use std::fmt;

use postseal_dkim::{BadCanonicalization, Canonicalization, UnixTime};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::seconds::{DAY, Seconds, TextOrNumber};
use crate::signed_fields::SignedFields;

/// An answer to every setting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Mail of which nothing says whose it is.
    pub on_no_tenant: OnNoTenant,
    /// Mail that no domain can sign for.
    pub on_unsigned: OnUnsigned,
    /// Mail whose From field cannot be read one way only.
    pub on_bad_from: OnBadFrom,
    /// Mail from a domain that another tenant has verified.
    pub on_foreign_from: OnForeignFrom,
    /// Mail with lines over 998 octets.
    pub on_long_line: OnLongLine,
    /// Mail with a bare CR or LF.
    pub on_bare_newline: OnBareNewline,
    /// How long the MTA behind keeps a message it cannot deliver, in seconds.
    pub queue_lifetime: u64,
    /// What signatures look like.
    pub signature: SignatureSettings,
}

impl Policy {
    /// Puts the layers over each other.
    ///
    /// `on_no_tenant` and `queue_lifetime` count in the platform's layer alone. An expiry that has
    /// become shorter than the queue lifetime and a day, because the platform's queue lifetime grew
    /// after it was set, is as long as that.
    #[must_use]
    pub fn layered(
        platform: &PolicyLayer,
        pool: Option<&PolicyLayer>,
        tenant: Option<&PolicyLayer>,
    ) -> Self {
        let mut policy = Self::default();
        policy.put(platform);
        let (on_no_tenant, queue_lifetime) = (policy.on_no_tenant, policy.queue_lifetime);
        for layer in [pool, tenant].into_iter().flatten() {
            policy.put(layer);
        }
        policy.on_no_tenant = on_no_tenant;
        policy.queue_lifetime = queue_lifetime;
        if let Expiry::After(secs) = policy.signature.expire_after {
            policy.signature.expire_after = Expiry::After(secs.max(policy.shortest_expiry()));
        }
        policy
    }

    /// The shortest time after which a signature may expire: a message may wait for the whole queue
    /// lifetime, and receivers verify later than they accept.
    #[must_use]
    pub fn shortest_expiry(&self) -> u64 {
        self.queue_lifetime.saturating_add(DAY)
    }

    fn put(&mut self, layer: &PolicyLayer) {
        put(&mut self.on_no_tenant, layer.on_no_tenant);
        put(&mut self.on_unsigned, layer.on_unsigned);
        put(&mut self.on_bad_from, layer.on_bad_from);
        put(&mut self.on_foreign_from, layer.on_foreign_from);
        put(&mut self.on_long_line, layer.on_long_line);
        put(&mut self.on_bare_newline, layer.on_bare_newline);
        put(&mut self.queue_lifetime, layer.queue_lifetime.map(|secs| secs.0));
        put(&mut self.signature.canonicalization, layer.signature.canonicalization.map(|it| it.0));
        put(&mut self.signature.expire_after, layer.signature.expire_after);
        put(&mut self.signature.fields, layer.signature.fields.clone());
        put(&mut self.signature.ed25519, layer.signature.ed25519);
    }
}

impl Default for Policy {
    /// What is built in.
    fn default() -> Self {
        Self {
            on_no_tenant: OnNoTenant::Pass,
            on_unsigned: OnUnsigned::Accept,
            on_bad_from: OnBadFrom::Refuse,
            on_foreign_from: OnForeignFrom::Refuse,
            on_long_line: OnLongLine::Refuse,
            on_bare_newline: OnBareNewline::Refuse,
            queue_lifetime: DEFAULT_QUEUE_LIFETIME,
            signature: SignatureSettings {
                canonicalization: Canonicalization::RELAXED,
                expire_after: Expiry::After(DEFAULT_EXPIRY),
                fields: SignedFields::default(),
                ed25519: Ed25519::Off,
            },
        }
    }
}

/// What signatures look like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignatureSettings {
    /// How header and body are canonicalised, `c=`.
    pub canonicalization: Canonicalization,
    /// When they expire, `x=`.
    pub expire_after: Expiry,
    /// Which fields they cover, `h=`.
    pub fields: SignedFields,
    /// Whether an Ed25519 signature goes beside the RSA one.
    pub ed25519: Ed25519,
}

impl SignatureSettings {
    /// When a signature made now expires.
    #[must_use]
    pub fn expires_at(&self, now: UnixTime) -> Option<UnixTime> {
        match self.expire_after {
            Expiry::Never => None,
            Expiry::After(secs) => Some(now.plus_secs(secs)),
        }
    }
}

/// What one level says. What it is silent on is for the level before it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyLayer {
    /// See [`Policy::on_no_tenant`]. Only the platform's counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_no_tenant: Option<OnNoTenant>,
    /// See [`Policy::on_unsigned`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_unsigned: Option<OnUnsigned>,
    /// See [`Policy::on_bad_from`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_bad_from: Option<OnBadFrom>,
    /// See [`Policy::on_foreign_from`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_foreign_from: Option<OnForeignFrom>,
    /// See [`Policy::on_long_line`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_long_line: Option<OnLongLine>,
    /// See [`Policy::on_bare_newline`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_bare_newline: Option<OnBareNewline>,
    /// See [`Policy::queue_lifetime`]. Only the platform's counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_lifetime: Option<Seconds>,
    /// What signatures look like.
    #[serde(skip_serializing_if = "SignatureLayer::is_empty")]
    pub signature: SignatureLayer,
}

impl PolicyLayer {
    /// Checks that the layer makes sense over what is built in, and gives the answers it leads to.
    /// This is the check for the platform's layer.
    pub fn resolve(&self) -> Result<Policy, PolicyError> {
        let mut policy = Policy::default();
        policy.put(self);
        let shortest = policy.shortest_expiry();
        match policy.signature.expire_after {
            Expiry::After(secs) if secs < shortest => {
                Err(PolicyError::ShortExpiry { expiry: Seconds(secs), shortest: Seconds(shortest) })
            }
            Expiry::After(_) | Expiry::Never => Ok(policy),
        }
    }

    /// Checks that the layer makes sense for a pool or a tenant of a platform with this layer.
    pub fn check_over(&self, platform: &Self) -> Result<(), PolicyError> {
        if self.on_no_tenant.is_some() {
            return Err(PolicyError::PlatformOnly("on_no_tenant"));
        }
        if self.queue_lifetime.is_some() {
            return Err(PolicyError::PlatformOnly("queue_lifetime"));
        }
        self.over(platform).resolve().map(drop)
    }

    /// This layer over another: what this one is silent on is taken from the one below.
    #[must_use]
    pub fn over(&self, below: &Self) -> Self {
        let (this, that) = (&self.signature, &below.signature);
        Self {
            on_no_tenant: self.on_no_tenant.or(below.on_no_tenant),
            on_unsigned: self.on_unsigned.or(below.on_unsigned),
            on_bad_from: self.on_bad_from.or(below.on_bad_from),
            on_foreign_from: self.on_foreign_from.or(below.on_foreign_from),
            on_long_line: self.on_long_line.or(below.on_long_line),
            on_bare_newline: self.on_bare_newline.or(below.on_bare_newline),
            queue_lifetime: self.queue_lifetime.or(below.queue_lifetime),
            signature: SignatureLayer {
                canonicalization: this.canonicalization.or(that.canonicalization),
                expire_after: this.expire_after.or(that.expire_after),
                fields: this.fields.clone().or_else(|| that.fields.clone()),
                ed25519: this.ed25519.or(that.ed25519),
            },
        }
    }
}

/// What one level says about signatures.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignatureLayer {
    /// See [`SignatureSettings::canonicalization`]; written as in `c=`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canonicalization: Option<CanonicalizationText>,
    /// See [`SignatureSettings::expire_after`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_after: Option<Expiry>,
    /// See [`SignatureSettings::fields`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<SignedFields>,
    /// See [`SignatureSettings::ed25519`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ed25519: Option<Ed25519>,
}

impl SignatureLayer {
    /// Says whether the layer says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a layer makes no sense. The operator's or a customer's fault.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum PolicyError {
    /// Signatures would expire while mail still waits in a queue.
    #[error(
        "signatures that expire after {expiry} would expire in the queue: at least {shortest} are \
         needed, the queue lifetime and a day"
    )]
    ShortExpiry {
        /// What was asked for.
        expiry: Seconds,
        /// What is needed.
        shortest: Seconds,
    },
    /// A setting of the platform in the layer of a pool or a tenant.
    #[error("{0} can be set for the whole platform only")]
    PlatformOnly(&'static str),
}

macro_rules! setting {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// The word for it in configuration and API.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

setting! {
    /// What happens to mail of which nothing says whose it is.
    OnNoTenant {
        /// It passes, unsigned and unchecked: an MTA shows its milters much that is no customer's.
        Pass = "pass",
        /// The sender is asked to try again.
        Tempfail = "tempfail",
        /// It is refused.
        Reject = "reject",
    }
}

setting! {
    /// What happens to mail that no domain can sign for.
    OnUnsigned {
        /// It goes out unsigned, counted and logged.
        Accept = "accept",
        /// The sender is asked to try again.
        Tempfail = "tempfail",
        /// It is refused.
        Reject = "reject",
    }
}

setting! {
    /// What happens to mail whose From field cannot be read one way only.
    OnBadFrom {
        /// It is refused.
        Refuse = "refuse",
        /// The pool signs it.
        Pool = "pool",
    }
}

setting! {
    /// What happens to mail from a domain that another tenant has verified.
    OnForeignFrom {
        /// It is refused.
        Refuse = "refuse",
        /// The pool signs it.
        Pool = "pool",
    }
}

setting! {
    /// What happens to mail with lines over 998 octets, which a later hop may fold.
    OnLongLine {
        /// It is refused.
        Refuse = "refuse",
        /// It is signed as it is.
        Sign = "sign",
    }
}

setting! {
    /// What happens to mail with a bare CR or LF, which a later hop repairs in its own way.
    OnBareNewline {
        /// It is refused.
        Refuse = "refuse",
        /// Each becomes CRLF before the message is signed.
        Repair = "repair",
    }
}

setting! {
    /// Whether an Ed25519 signature goes beside the RSA one, where the domain has a key for it.
    Ed25519 {
        /// It does not.
        Off = "off",
        /// It does.
        Extra = "extra",
    }
}

/// When signatures expire.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Expiry {
    /// They do not; `x=` is left out.
    Never,
    /// So many seconds after they are made.
    After(u64),
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.pad("never"),
            Self::After(secs) => fmt::Display::fmt(&Seconds(*secs), f),
        }
    }
}

impl<'de> Deserialize<'de> for Expiry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = TextOrNumber::deserialize(deserializer)?;
        if written.is_text("never") {
            return Ok(Self::Never);
        }
        written.seconds().map(|secs| Self::After(secs.0))
    }
}

impl Serialize for Expiry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A canonicalization as data: its text in `c=`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CanonicalizationText(pub Canonicalization);

impl<'de> Deserialize<'de> for CanonicalizationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed: Result<_, BadCanonicalization> = text.parse();
        parsed.map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for CanonicalizationText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

fn put<T>(setting: &mut T, said: Option<T>) {
    if let Some(said) = said {
        *setting = said;
    }
}

/// How long Postfix keeps a message it cannot deliver (`maximal_queue_lifetime`), in seconds.
const DEFAULT_QUEUE_LIFETIME: u64 = 5 * DAY;

/// When signatures expire unless somebody says otherwise: the queue lifetime and two days. Short, since
/// whoever has a signed message can send it again and again until then.
const DEFAULT_EXPIRY: u64 = 7 * DAY;

#[cfg(test)]
mod tests {
    use postseal_dkim::Canon;

    use super::*;

    fn layer(json: &str) -> PolicyLayer {
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    #[test]
    fn a_later_layer_replaces_what_an_earlier_one_says() {
        let platform = layer(
            r#"{"on_unsigned":"tempfail","on_bad_from":"pool","on_no_tenant":"reject",
                "signature":{"expire_after":"10d","canonicalization":"relaxed/simple"}}"#,
        );
        let pool = layer(r#"{"on_unsigned":"reject","signature":{"ed25519":"extra"}}"#);
        let tenant = layer(r#"{"on_unsigned":"accept","signature":{"expire_after":"8d"}}"#);

        let got = Policy::layered(&platform, Some(&pool), Some(&tenant));
        let mut want = Policy {
            on_no_tenant: OnNoTenant::Reject,
            on_bad_from: OnBadFrom::Pool,
            on_unsigned: OnUnsigned::Accept,
            ..Policy::default()
        };
        want.signature.expire_after = Expiry::After(8 * DAY);
        want.signature.canonicalization =
            Canonicalization { header: Canon::Relaxed, body: Canon::Simple };
        want.signature.ed25519 = Ed25519::Extra;
        assert_eq!(got, want);

        let without_tenant = Policy::layered(&platform, Some(&pool), None);
        assert_eq!(without_tenant.on_unsigned, OnUnsigned::Reject);
        assert_eq!(Policy::layered(&platform, None, None).on_unsigned, OnUnsigned::Tempfail);
        assert_eq!(Policy::layered(&layer("{}"), None, None), Policy::default());
    }

    #[test]
    fn layers_can_be_put_together_beforehand() {
        let below = layer(r#"{"on_unsigned":"reject","signature":{"expire_after":"never"}}"#);
        let above = layer(
            r#"{"on_bad_from":"pool","on_foreign_from":"pool","on_long_line":"sign",
                "on_bare_newline":"repair","signature":{"fields":{"sign":["X-A"]}}}"#,
        );
        let together = above.over(&below);
        assert_eq!(
            Policy::layered(&together, None, None),
            Policy::layered(&below, Some(&above), None)
        );
        assert_eq!(PolicyLayer::default().over(&above), above);
    }

    #[test]
    fn what_is_the_platforms_alone_stays_the_platforms() {
        let sly = layer(r#"{"on_no_tenant":"reject","queue_lifetime":"0s"}"#);
        assert_eq!(Policy::layered(&layer("{}"), Some(&sly), Some(&sly)), Policy::default());
        assert_eq!(
            sly.check_over(&PolicyLayer::default()),
            Err(PolicyError::PlatformOnly("on_no_tenant"))
        );
        let sly = layer(r#"{"queue_lifetime":"0s"}"#);
        assert_eq!(
            sly.check_over(&PolicyLayer::default()),
            Err(PolicyError::PlatformOnly("queue_lifetime"))
        );
    }

    #[test]
    fn signatures_outlive_the_queue() {
        let cases = [
            ("{}", Ok("7d")),
            (r#"{"signature":{"expire_after":"6d"}}"#, Ok("6d")),
            (r#"{"signature":{"expire_after":"never"}}"#, Ok("never")),
            (r#"{"signature":{"expire_after":518399}}"#, Err("expire after 518399s")),
            (r#"{"queue_lifetime":"7d"}"#, Err("at least 8d are needed")),
            (r#"{"queue_lifetime":"1d","signature":{"expire_after":"2d"}}"#, Ok("2d")),
        ];
        for (json, want) in cases {
            let got = layer(json).resolve();
            match (&got, want) {
                (Ok(policy), Ok(want)) => {
                    assert_eq!(policy.signature.expire_after.to_string(), want, "{json}");
                }
                (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{error}"),
                (_, _) => panic!("{json}: {got:?}"),
            }
        }
        let short = layer(r#"{"signature":{"expire_after":"6d"}}"#);
        let platform = layer(r#"{"queue_lifetime":"7d","signature":{"expire_after":"never"}}"#);
        assert!(short.check_over(&PolicyLayer::default()).is_ok());
        assert!(matches!(short.check_over(&platform), Err(PolicyError::ShortExpiry { .. })));
        // What was right when it was set stays right when the queue grows.
        let policy = Policy::layered(&platform, Some(&short), None);
        assert_eq!(policy.signature.expires_at(UnixTime(100)), Some(UnixTime(100 + 8 * DAY)));
    }

    #[test]
    fn layers_are_data() {
        let texts = [
            "{}",
            r#"{"on_no_tenant":"tempfail","on_unsigned":"reject"}"#,
            r#"{"on_bad_from":"refuse","on_foreign_from":"pool","on_long_line":"sign","on_bare_newline":"repair"}"#,
            r#"{"signature":{"canonicalization":"simple/relaxed","expire_after":"never","ed25519":"extra"}}"#,
            r#"{"queue_lifetime":"36h","signature":{"expire_after":"5400s"}}"#,
        ];
        for json in texts {
            let written = serde_json::to_string(&layer(json)).unwrap();
            assert_eq!(layer(&written), layer(json), "{json}");
        }
        assert_eq!(serde_json::to_string(&layer(texts[0])).unwrap(), "{}");
        assert_eq!(serde_json::to_string(&layer(texts[1])).unwrap(), texts[1]);

        let wrong = [
            r#"{"on_unsigned":"drop"}"#,
            r#"{"on_nothing":"pass"}"#,
            r#"{"signature":{"length":1}}"#,
            r#"{"signature":{"canonicalization":"loose"}}"#,
            r#"{"signature":{"expire_after":"soon"}}"#,
            r#"{"signature":{"expire_after":-1}}"#,
            r#"{"signature":{"expire_after":"1000000d"}}"#,
            r#"{"queue_lifetime":"+5d"}"#,
            r#"{"queue_lifetime":"d"}"#,
            r#"{"queue_lifetime":18446744073709551615}"#,
        ];
        for json in wrong {
            assert!(serde_json::from_str::<PolicyLayer>(json).is_err(), "{json}");
        }
    }
}
