//! What is known of one transaction of a client, from `MAIL` to the final dot.

use std::sync::Arc;

use postseal_engine::{PoolId, TenantId};
use postseal_wire::smtp::{Mail, Recipient};
use tokio::time::Instant;

use super::held::{Held, Reservation};
use super::hop::{Connection, Hop};
use super::share::Share;
use crate::signing::InFlight;

/// A transaction of a client.
pub(super) struct Transaction {
    pub(super) tenant: TenantId,
    pub(super) mail: Mail,
    pub(super) recipients: Vec<Recipient>,
    pub(super) recipients_room: Reservation,
    pub(super) route: Route,
    pub(super) message: Option<Message>,
}

/// Where a message goes.
pub(super) enum Route {
    /// The header will tell; the envelope is kept until then.
    ByHeader,
    /// To this hop, which has answered the envelope.
    Open {
        hop: Arc<Hop>,
        connection: Box<Connection>,
        /// The tenant's right to it.
        share: Share,
    },
    /// To a hop whose connection broke.
    Broken,
}

/// A message that is coming in.
pub(super) struct Message {
    pub(super) id: String,
    pub(super) began: Instant,
    /// The header section; ours in front of the client's, and later without the control fields.
    pub(super) header: Vec<u8>,
    pub(super) header_room: Reservation,
    pub(super) body: Held,
    pub(super) decision: Decision,
}

/// What the signer decided.
pub(super) enum Decision {
    /// The header is not complete.
    Pending,
    /// It goes out without a signature.
    Pass { pool: Option<PoolId> },
    /// It is signed.
    Sign(Box<InFlight>),
}
