//! How many connections to a hop each tenant may hold open in transactions that its clients are slow to end.
//!
//! Where recipients go to the hop at once, a connection to it belongs to a client from `MAIL` on, for as long
//! as the client takes. Nobody may take all of them that way. A fixed bound for each tenant would waste
//! what others leave, so the bound moves: a tenant may hold up to [`TIMES_FREE`] times as many as are free. One
//! alone gets nine tenths, two get some 47 of 100 each. Known from switches that share the memory for their queues
//! (Choudhury and Hahne, 'Dynamic queue length thresholds', 1998). The last [`KEPT`] are for tenants that hold
//! none, one for each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postseal_engine::TenantId;
use tokio::sync::Notify;

/// The connections that open transactions hold.
pub(super) struct Shares {
    held: Mutex<Held>,
    freed: Notify,
    capacity: usize,
}

#[derive(Default)]
struct Held {
    total: usize,
    by_tenant: HashMap<TenantId, usize>,
}

impl Shares {
    /// Shares of so many connections.
    pub(super) fn of(capacity: usize) -> Self {
        Self { held: Mutex::default(), freed: Notify::new(), capacity }
    }

    /// Waits until the tenant may hold one more connection.
    pub(super) async fn take(self: &Arc<Self>, tenant: TenantId) -> Share {
        loop {
            // Made before the look, so that what is given back in between wakes it.
            let freed = self.freed.notified();
            if let Some(share) = self.try_take(tenant) {
                return share;
            }
            freed.await;
        }
    }

    fn try_take(self: &Arc<Self>, tenant: TenantId) -> Option<Share> {
        let mut held = self.lock();
        let free = self.capacity.saturating_sub(held.total);
        let own = held.by_tenant.get(&tenant).copied().unwrap_or(0);
        let may_take = if own == 0 { free > 0 } else { free > KEPT && own < free * TIMES_FREE };
        if !may_take {
            return None;
        }
        held.total += 1;
        *held.by_tenant.entry(tenant).or_default() += 1;
        Some(Share { shares: Arc::clone(self), tenant })
    }

    /// Nothing panics while the lock is held, and the counts are right at any time.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right of a tenant to one connection, until it is dropped.
pub(super) struct Share {
    shares: Arc<Shares>,
    tenant: TenantId,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.lock();
        held.total -= 1;
        if let Some(own) = held.by_tenant.get_mut(&self.tenant) {
            *own -= 1;
            if *own == 0 {
                held.by_tenant.remove(&self.tenant);
            }
        }
        drop(held);
        self.shares.freed.notify_waiters();
    }
}

/// How many times the free connections a tenant may hold.
const TIMES_FREE: usize = 9;

/// How many connections only tenants get that hold none. No official reference.
const KEPT: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(shares: &Arc<Shares>, tenant: u32) -> Vec<Share> {
        std::iter::from_fn(|| shares.try_take(TenantId::new(tenant))).collect()
    }

    #[test]
    fn one_gets_most_and_newcomers_one_each() {
        let shares = Arc::new(Shares::of(100));
        let one = take_all(&shares, 1);
        assert_eq!(one.len(), 90);
        let others: Vec<_> = (2..10).map(|tenant| take_all(&shares, tenant)).collect();
        let counts: Vec<_> = others.iter().map(Vec::len).collect();
        assert_eq!(counts, [5, 1, 1, 1, 1, 1, 0, 0]);

        drop(one);
        assert_eq!(take_all(&shares, 2).len(), 81);
        drop(others);
        let held = shares.lock();
        assert_eq!((held.total, held.by_tenant.len()), (0, 0));
    }

    #[test]
    fn two_that_take_turns_get_the_same() {
        let shares = Arc::new(Shares::of(100));
        let mut held = [Vec::new(), Vec::new()];
        loop {
            let mut taken = 0;
            for (tenant, own) in (1..).zip(&mut held) {
                let share = shares.try_take(TenantId::new(tenant));
                taken += usize::from(share.is_some());
                own.extend(share);
            }
            if taken == 0 {
                break;
            }
        }
        assert_eq!(held.map(|own| own.len()), [48, 47]);
    }

    #[tokio::test]
    async fn whoever_waits_goes_on_when_one_is_given_back() {
        let shares = Arc::new(Shares::of(20));
        let mut all = take_all(&shares, 1);
        let waiting = tokio::spawn({
            let shares = Arc::clone(&shares);
            async move { shares.take(TenantId::new(1)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        all.pop();
        let share = waiting.await.unwrap();
        assert_eq!(shares.lock().total, 15);
        drop(share);
    }
}
