//! The milter front door: an MTA asks us about each message, and puts in what we answer.
//!
//! A listener belongs to a [`Door`], which knows whose mail comes in there. Each connection is a
//! task of its own around a [`Session`], and calls the same
//! [`Signer`] as the SMTP proxy does. The body passes through and is never held.
//!
//! What fails on our side is answered 4xx, so that the MTA keeps the message. What breaks the
//! connection is up to `milter_default_action` of the MTA, which should be `tempfail`: with
//! `accept`, mail would go out unsigned while we are away.
//!
//! Reading order: `listener` (sockets), `inbox` (the buffer), `connection` (one connection), and
//! here who may connect, and whose mail it is.

mod connection;
mod inbox;
mod listener;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postseal_dkim::DomainName;
use postseal_engine::{IpRange, PoolId, TenantId};
use postseal_wire::milter::{
    Client, ClientAddress, MacroName, MacroNameError, MacroRequest, Message, Session,
};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::connection::{ConnectionError, End};
pub use self::listener::{ListenError, Listener};
use self::listener::{Peer, Stream};
use crate::config::{Attribution, MacroValue, MilterConfig, TenantEvidence};
pub use crate::connections::DRAIN;
use crate::connections::{self, Open};
use crate::metrics::{FrontDoor, FrontDoorLabels, Metrics};
use crate::signing::{Injection, Signer};

/// One listener's way in: whose mail comes here, and who signs it.
///
/// Cheap to share between the tasks of its connections.
pub struct Door {
    signer: Arc<Signer>,
    metrics: Metrics,
    connections: Arc<Semaphore>,
    attribution: Attribution,
    macros: MacroRequest,
    /// The names of `attribution`, read once: tenants first, then pools.
    tenant_by: Vec<(Evidence, TenantId)>,
    pool_by: Vec<(KnownMacro, PoolId)>,
}

enum Evidence {
    Client(IpRange),
    Macro(KnownMacro),
}

struct KnownMacro {
    name: MacroName,
    value: String,
}

impl Door {
    /// A way in for the mail of a listener. `connections` bounds how many are open at once, over
    /// all listeners that share it.
    ///
    /// # Errors
    ///
    /// If the configuration names a macro that no MTA can send.
    pub fn new(
        config: &MilterConfig,
        signer: Arc<Signer>,
        metrics: Metrics,
        connections: Arc<Semaphore>,
    ) -> Result<Self, DoorError> {
        let known = |named: &MacroValue| match MacroName::parse(&named.name) {
            Ok(name) => Ok(KnownMacro { name, value: named.value.clone() }),
            Err(source) => Err(DoorError { name: named.name.clone(), source }),
        };
        let attribution = config.attribution.clone();
        let tenant_by = attribution
            .tenant_by
            .iter()
            .map(|(evidence, tenant)| match evidence {
                TenantEvidence::Client(range) => Ok((Evidence::Client(*range), *tenant)),
                TenantEvidence::Macro(named) => Ok((Evidence::Macro(known(named)?), *tenant)),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let pool_by = attribution
            .pool_by
            .iter()
            .map(|(named, pool)| Ok((known(named)?, pool.clone())))
            .collect::<Result<Vec<_>, _>>()?;
        let tenants = tenant_by.iter().filter_map(|(evidence, _)| match evidence {
            Evidence::Macro(known) => Some(known.name.clone()),
            Evidence::Client(_) => None,
        });
        let macros = MacroRequest::new(tenants.chain(pool_by.iter().map(|(k, _)| k.name.clone())));
        Ok(Self { signer, metrics, connections, attribution, macros, tenant_by, pool_by })
    }

    /// Serves the connections that come to `listener`, until `shutdown`.
    ///
    /// Then nothing is accepted any more, connections at rest are closed, and a message under way is
    /// answered, for at most [`DRAIN`].
    pub async fn serve(self, listener: Listener, shutdown: CancellationToken) {
        let door = Arc::new(self);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    connections::ended(FrontDoor::Milter, &door.metrics, ended);
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        door.admit(stream, peer, &mut connections, &shutdown);
                    }
                    Err(error) => {
                        // Out of descriptors, most often. The connection waits in the backlog.
                        tracing::warn!(%error, "a milter connection cannot be accepted");
                        sleep(PAUSE_AFTER_ERROR).await;
                    }
                },
            }
        }
        drop(listener);
        connections::drain(FrontDoor::Milter, &door.metrics, connections).await;
    }

    fn admit(
        self: &Arc<Self>,
        stream: Stream,
        peer: Peer,
        connections: &mut JoinSet<()>,
        shutdown: &CancellationToken,
    ) {
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            // The MTA sees the end of the stream at once, and puts its message off.
            self.metrics.connections_refused.get_or_create(&LABELS).inc();
            tracing::warn!(%peer, "a milter connection is refused, there are too many");
            return;
        };
        let (door, shutdown) = (Arc::clone(self), shutdown.clone());
        connections.spawn(async move {
            let _open = Open::new(door.metrics.connections.get_or_create(&LABELS).clone(), permit);
            match connection::serve(&door, stream, &shutdown).await {
                Ok(End::Closed | End::ShutDown) => {}
                Err(error) => {
                    if matches!(error, ConnectionError::Protocol(_)) {
                        door.metrics.protocol_errors.get_or_create(&LABELS).inc();
                    }
                    tracing::warn!(%peer, %error, "a milter connection is given up");
                }
            }
        });
    }

    fn macros(&self) -> MacroRequest {
        self.macros.clone()
    }

    /// Says whether mail of this connection is nobody's and passes: then not even a bound is a reason to refuse it.
    fn passes_unchecked(&self, session: &Session) -> bool {
        self.tenant(session).is_none() && self.signer.passes_without_tenant()
    }

    /// Whose mail it is, as the connection and its macros show.
    fn tenant(&self, session: &Session) -> Option<TenantId> {
        let client = client_address(session);
        let tenant = self.tenant_by.iter().find_map(|(evidence, tenant)| {
            let matches = match evidence {
                Evidence::Client(range) => client.is_some_and(|client| range.contains(client)),
                Evidence::Macro(known) => known.holds(session),
            };
            matches.then_some(*tenant)
        });
        tenant.or(self.attribution.tenant)
    }

    /// Where a message comes from, from the connection and its macros. Never from its header.
    fn injection(&self, session: &Session, message: &Message) -> Injection {
        let pool = self.pool_by.iter().find(|(known, _)| known.holds(session));
        Injection {
            front_door: FrontDoor::Milter,
            tenant: self.tenant(session),
            pool: pool.map(|(_, pool)| pool).or(self.attribution.pool.as_ref()).cloned(),
            pool_from_header: self.attribution.pool_from_header,
            queue_id: session
                .macro_value(&MacroName::QUEUE_ID)
                .map(|id| String::from_utf8_lossy(id).into_owned()),
            recipients: recipient_domains(message),
        }
    }

    fn signer(&self) -> &Arc<Signer> {
        &self.signer
    }
}

impl KnownMacro {
    fn holds(&self, session: &Session) -> bool {
        session.macro_value(&self.name) == Some(self.value.as_bytes())
    }
}

/// The address of the MTA's client. Some MTAs tell it in a macro only.
fn client_address(session: &Session) -> Option<IpAddr> {
    match session.client().map(Client::address) {
        Some(ClientAddress::Ip { address, .. }) => Some(*address),
        Some(ClientAddress::Local { .. }) => None,
        Some(ClientAddress::Unknown) | None => {
            let text = session.macro_value(&MacroName::CLIENT_ADDRESS)?;
            let address: IpAddr = std::str::from_utf8(text).ok()?.parse().ok()?;
            Some(address.to_canonical())
        }
    }
}

/// The domains of a message's recipients, each once. A recipient without a domain that mail can go to
/// (a local user, an address literal) has none.
fn recipient_domains(message: &Message) -> Vec<DomainName> {
    // Two steps: the same text again is the common case, another spelling of a domain a rare one.
    let (mut texts, mut domains) = (HashSet::new(), HashSet::new());
    for recipient in message.recipients() {
        // A local part may have an @ in quotes, a domain has none (RFC 5321 §4.1.2).
        let Some(at) = recipient.iter().rposition(|&c| c == b'@') else { continue };
        let domain = &recipient[at + 1..];
        if !texts.insert(domain) {
            continue;
        }
        let text = std::str::from_utf8(domain).ok();
        domains.extend(text.and_then(|text| DomainName::parse(text).ok()));
    }
    domains.into_iter().collect()
}

/// A macro in the configuration that no MTA can send.
#[derive(Clone, Debug, Error)]
#[error("{name:?} is not the name of a milter macro: {source}")]
pub struct DoorError {
    name: String,
    source: MacroNameError,
}

const LABELS: FrontDoorLabels = FrontDoorLabels { front_door: FrontDoor::Milter };

const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);
