//! Who is calling, and whether they may.
//!
//! The key stands bare in `Authorization`, or as the user of HTTP Basic with an empty password
//! (RFC 7617); `Bearer` is not taken. Keys are 40 lower-case hexadecimal digits, random, and known here
//! by their SHA-256 alone. A wrong, expired or revoked key and one from an address it is not valid from
//! are all the same 401, so that nobody learns which keys exist.
//!
//! A [`Permit`] is what a handler has to take to get at anything: its type names the grant. A key that
//! belongs to a subaccount acts for it and nobody else, whatever `X-MSYS-SUBACCOUNT` says. With a key of
//! the account that field chooses: where something is changed, no field means the account itself; where
//! something is read, no field means everybody, and `0` the account itself.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postseal_dkim::UnixTime;
use postseal_engine::{ApiKeyHash, Grant, Grants, IpRange, TenantId};
use postseal_store::AccountStatus;

use super::Api;
use super::ambient::{Ambient, NoRandomness};
use super::error::{ApiError, Code};

/// The key of a request that may do what `P` names.
pub(super) struct Permit<P> {
    /// The tenant whose key it is; the primary account's may act for any.
    tenant: TenantId,
    reach: Reach,
    subaccount: Option<HeaderValue>,
    permission: PhantomData<P>,
}

impl<P> Permit<P> {
    /// What the key may do altogether.
    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Whose things a change concerns: exactly one tenant's.
    pub(super) fn acting_tenant(&self) -> Result<TenantId, ApiError> {
        Ok(self.chosen_tenant()?.unwrap_or(TenantId::PRIMARY))
    }

    /// Whose things a reader sees.
    pub(super) fn view(&self) -> Result<View, ApiError> {
        Ok(self.chosen_tenant()?.map_or(View::Everyone, View::Only))
    }

    /// Says whether the key belongs to the account rather than to one of its subaccounts.
    pub(super) fn is_of_account(&self) -> bool {
        self.tenant.is_primary()
    }

    fn chosen_tenant(&self) -> Result<Option<TenantId>, ApiError> {
        if !self.is_of_account() {
            return Ok(Some(self.tenant));
        }
        let Some(value) = &self.subaccount else { return Ok(None) };
        // `parse` alone would take a plus sign.
        value
            .to_str()
            .ok()
            .map(str::trim)
            .filter(|text| text.bytes().all(|octet| octet.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .map(Some)
            .ok_or_else(|| {
                ApiError::coded(
                    Code::Params,
                    "X-MSYS-SUBACCOUNT must be the number of a subaccount",
                )
            })
    }
}

/// Whose things a reader sees.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum View {
    /// Those of the account and all its subaccounts.
    Everyone,
    /// Those of one tenant.
    Only(TenantId),
}

impl View {
    /// Says whether things of this tenant are among them.
    pub(super) fn includes(self, tenant: TenantId) -> bool {
        match self {
            Self::Everyone => true,
            Self::Only(only) => only == tenant,
        }
    }
}

/// How far a key reaches: what it may do, from where, and until when.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    /// What it may do.
    pub(super) grants: Grants,
    /// From where it is taken; from everywhere if there are none.
    pub(super) valid_ips: Vec<IpRange>,
    /// When it stops being taken.
    pub(super) expires_at: Option<UnixTime>,
}

impl Reach {
    /// Says whether a key that reaches this far may make or change one that reaches as far as `other`. A range
    /// of addresses counts as within another only if it is the same.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let grants = other.grants.iter().all(|grant| self.grants.allow(grant));
        let addresses = self.valid_ips.is_empty()
            || (!other.valid_ips.is_empty()
                && other.valid_ips.iter().all(|range| self.valid_ips.contains(range)));
        let time = match (self.expires_at, other.expires_at) {
            (None, _) => true,
            (Some(own), Some(other)) => other <= own,
            (Some(_), None) => false,
        };
        grants && addresses && time
    }
}

/// What a handler does, and which grants allow it.
pub(super) trait Permission: Send + Sync {
    /// One of these is needed.
    const GRANTS: &'static [Grant];
    /// What it does to what is there.
    const ACCESS: Access;
    /// Whose keys may do it at all.
    const KEYS: Keys;
}

/// What a handler does to what is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    /// It leaves it as it is.
    Read,
    /// It changes it; a suspended subaccount may not.
    Change,
}

/// Whose keys may do something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Keys {
    /// Keys of the account and of subaccounts, each for what is theirs.
    OfEveryone,
    /// Keys of the account alone.
    OfAccount,
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident: $access:ident, $keys:ident, [$($grant:ident),+];)*) => {
        $(
            $(#[$doc])*
            pub(super) struct $name;

            impl Permission for $name {
                const GRANTS: &'static [Grant] = &[$(Grant::$grant),+];
                const ACCESS: Access = Access::$access;
                const KEYS: Keys = Keys::$keys;
            }
        )*
    };
}

permissions! {
    /// Reading sending domains.
    ViewDomains: Read, OfEveryone, [SendingDomainsView, SendingDomainsManage];
    /// Adding, verifying and deleting sending domains.
    ManageDomains: Change, OfEveryone, [SendingDomainsManage];
    /// Reading pools and the platform's settings.
    ViewPools: Read, OfAccount, [IpPoolsView, IpPoolsManage];
    /// Changing pools and the platform's settings.
    ManagePools: Change, OfAccount, [IpPoolsManage];
    /// Reading subaccounts.
    ViewSubaccounts: Read, OfAccount, [SubaccountsView, SubaccountsManage];
    /// Making and changing subaccounts.
    ManageSubaccounts: Change, OfAccount, [SubaccountsManage];
    /// Reading what API keys there are.
    ViewApiKeys: Read, OfAccount, [ApiKeysView, ApiKeysManage];
    /// Making and deleting API keys.
    ManageApiKeys: Change, OfAccount, [ApiKeysManage];
}

impl<P: Permission> FromRequestParts<Arc<Api>> for Permit<P> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let presented = PresentedKey::read(&parts.headers).ok_or_else(ApiError::unauthorized)?;
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let key = api
            .store
            .find_api_key(presented.hash())
            .await
            .map_err(ApiError::from_store)?
            .filter(|key| key.expires_at.is_none_or(|end| api.ambient.now() < end))
            .filter(|key| {
                key.valid_ips.is_empty()
                    || peer
                        .is_some_and(|peer| key.valid_ips.iter().any(|range| range.contains(peer)))
            })
            .ok_or_else(ApiError::unauthorized)?;

        let is_granted = P::GRANTS.iter().any(|grant| key.grants.allow(*grant));
        let is_of_account = key.tenant.is_primary();
        if !is_granted || (P::KEYS == Keys::OfAccount && !is_of_account) {
            return Err(ApiError::forbidden());
        }
        if !is_of_account && P::ACCESS == Access::Change {
            let tenant = api.store.tenant(key.tenant).await.map_err(ApiError::from_store)?;
            if !tenant.is_some_and(|tenant| tenant.status == AccountStatus::Active) {
                return Err(ApiError::forbidden());
            }
        }
        Ok(Self {
            tenant: key.tenant,
            reach: Reach {
                grants: key.grants,
                valid_ips: key.valid_ips,
                expires_at: key.expires_at,
            },
            subaccount: parts.headers.get(&X_MSYS_SUBACCOUNT).cloned(),
            permission: PhantomData,
        })
    }
}

/// A key as a request has it, of the right form. It is not printed.
struct PresentedKey([u8; KEY_LEN]);

impl PresentedKey {
    fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        let text = value.to_str().ok()?.trim();
        match text.split_once(' ') {
            None => Self::parse(text.as_bytes()),
            Some((scheme, credentials)) if scheme.eq_ignore_ascii_case("Basic") => {
                let credentials = STANDARD.decode(credentials.trim()).ok()?;
                Self::parse(credentials.strip_suffix(b":")?)
            }
            Some(_) => None,
        }
    }

    fn parse(octets: &[u8]) -> Option<Self> {
        let octets: [u8; KEY_LEN] = octets.try_into().ok()?;
        octets
            .iter()
            .all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'))
            .then_some(Self(octets))
    }

    fn hash(&self) -> ApiKeyHash {
        hash_of(&self.0)
    }
}

/// An API key that was just made. It is shown once, to whoever asked for it.
pub struct NewApiKey {
    text: String,
}

impl NewApiKey {
    /// Makes a key of 160 random bits.
    ///
    /// # Errors
    ///
    /// If the system gives no random octets.
    pub fn generate(ambient: &Ambient) -> Result<Self, NoRandomness> {
        let octets: [u8; KEY_LEN / 2] = ambient.octets()?;
        let mut text = String::with_capacity(KEY_LEN);
        for octet in octets {
            for digit in [octet >> 4, octet & 0xf] {
                text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
            }
        }
        Ok(Self { text })
    }

    /// The key itself, to be shown to the one who asked for it.
    #[must_use]
    pub fn expose_text(&self) -> &str {
        &self.text
    }

    /// Its first characters, by which people recognise it later.
    #[must_use]
    pub fn short(&self) -> String {
        self.text.chars().take(SHORT_KEY_LEN).collect()
    }

    /// What is stored of it.
    #[must_use]
    pub fn hash(&self) -> ApiKeyHash {
        hash_of(self.text.as_bytes())
    }
}

impl fmt::Debug for NewApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewApiKey({}…)", self.short())
    }
}

fn hash_of(key: &[u8]) -> ApiKeyHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, key).as_ref());
    ApiKeyHash(hash)
}

/// Chooses the subaccount that a key of the account acts for.
const X_MSYS_SUBACCOUNT: HeaderName = HeaderName::from_static("x-msys-subaccount");

/// Hexadecimal digits of an API key, as SparkPost's have.
const KEY_LEN: usize = 40;

/// Characters of a key that are shown again.
const SHORT_KEY_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use postseal_dkim::UnixTime;

    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef01234567";

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_key_comes_bare_or_as_the_user_of_basic() {
        let basic = |user: &str| format!("Basic {}", STANDARD.encode(user));
        let cases = [
            (vec![KEY.to_owned()], true),
            (vec![format!(" {KEY} ")], true),
            (vec![basic(&format!("{KEY}:"))], true),
            (vec![basic(&format!("{KEY}:")).replace("Basic", "basic")], true),
            (vec![basic(KEY)], false),
            (vec![basic(&format!("{KEY}:x"))], false),
            (vec![format!("Basic {KEY}")], false),
            (vec![format!("Bearer {KEY}")], false),
            (vec![KEY.to_uppercase()], false),
            (vec![KEY[1..].to_owned()], false),
            (vec![format!("{KEY}0")], false),
            (vec![KEY.replace('0', "g")], false),
            (vec![String::new()], false),
            (vec![KEY.to_owned(), KEY.to_owned()], false),
            (vec![], false),
        ];
        for (values, want) in cases {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            assert_eq!(PresentedKey::read(&headers(&values)).is_some(), want, "{values:?}");
        }
    }

    #[test]
    fn a_new_key_is_taken_as_one_and_is_not_printed() {
        let ambient = Ambient::new(
            || UnixTime(0),
            |octets| {
                octets.fill(0xa7);
                Ok(())
            },
        );
        let key = NewApiKey::generate(&ambient).unwrap();
        assert_eq!(key.expose_text(), "a7".repeat(20));
        assert_eq!(key.short(), "a7a7");
        assert_eq!(format!("{key:?}"), "NewApiKey(a7a7…)");
        let presented = PresentedKey::parse(key.expose_text().as_bytes()).unwrap();
        assert_eq!(presented.hash(), key.hash());
    }

    #[test]
    fn a_key_reaches_no_further_than_the_one_that_makes_it() {
        let reach = |grants: &[Grant], ips: &[&str], expires_at: Option<u64>| Reach {
            grants: grants.iter().copied().collect(),
            valid_ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            expires_at: expires_at.map(UnixTime),
        };
        let (send, view) = (Grant::SmtpInject, Grant::IpPoolsView);
        let own = reach(&[send, view], &["192.0.2.0/24", "198.51.100.7"], Some(1_000));
        let cases = [
            (reach(&[send], &["192.0.2.0/24"], Some(1_000)), true),
            (reach(&[], &["198.51.100.7"], Some(999)), true),
            (reach(&[Grant::IpPoolsManage], &["198.51.100.7"], Some(999)), false),
            (reach(&[send], &[], Some(999)), false),
            (reach(&[send], &["192.0.2.0/24", "0.0.0.0/0"], Some(999)), false),
            (reach(&[send], &["192.0.2.0/24"], Some(1_001)), false),
            (reach(&[send], &["192.0.2.0/24"], None), false),
        ];
        for (other, want) in cases {
            assert_eq!(own.covers(&other), want, "{other:?}");
            assert!(reach(&[send, view, Grant::IpPoolsManage], &[], None).covers(&other));
        }
    }

    #[test]
    fn the_subaccount_field_counts_only_with_a_key_of_the_account() {
        let permit = |tenant: u32, field: Option<&str>| Permit::<ViewDomains> {
            tenant: TenantId::new(tenant),
            reach: Reach { grants: Grants::all(), valid_ips: Vec::new(), expires_at: None },
            subaccount: field.map(|field| HeaderValue::from_str(field).unwrap()),
            permission: PhantomData,
        };
        let cases = [
            (0, None, Some((View::Everyone, 0))),
            (0, Some("0"), Some((View::Only(TenantId::new(0)), 0))),
            (0, Some("7"), Some((View::Only(TenantId::new(7)), 7))),
            (0, Some(" 7 "), Some((View::Only(TenantId::new(7)), 7))),
            (0, Some("x"), None),
            (0, Some(""), None),
            (0, Some("-1"), None),
            (0, Some("+7"), None),
            (0, Some("4294967296"), None),
            (5, None, Some((View::Only(TenantId::new(5)), 5))),
            (5, Some("7"), Some((View::Only(TenantId::new(5)), 5))),
            (5, Some("0"), Some((View::Only(TenantId::new(5)), 5))),
            (5, Some("x"), Some((View::Only(TenantId::new(5)), 5))),
        ];
        for (tenant, field, want) in cases {
            let permit = permit(tenant, field);
            let got = permit.view().ok().zip(permit.acting_tenant().ok().map(TenantId::get));
            assert_eq!(got, want, "{tenant} {field:?}");
        }
    }
}
