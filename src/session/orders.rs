//! What operators want of the sessions here, carried out at home, where nobody can come in unseen.
//!
//! ```text
//! a revocation:
//! directory: committed -> counted -> mail to the home shard -> sessions here end -> answered
//!                            \___ whoever arrives at home and was admitted before that is looked at again
//! ```

use std::time::Duration;

use damso_proto::code::CloseCode;

use super::login::{DEVICE_REVOKED, REVOKED};
use super::reply;
use super::shard::Shard;
use super::table::Session;
use crate::delivery::{Connected, Counts, Cut, List, Order, Whom, Why};
use crate::runtime::route::ConnectionId;

impl Shard {
    /// Does it, and says so. Whoever wanted it may have given up waiting.
    pub(super) fn obey(&self, order: Order) {
        match order {
            Order::Cut(Cut { whom, why, done }) => drop(done.send(self.cut(&whom, why))),
            Order::List(list) => self.list(list),
            Order::Count(done) => drop(done.send(self.count())),
        }
    }

    /// Ends sessions, and nothing is heard of them any more. Says how many there were.
    fn cut(&self, whom: &Whom, why: Why) -> usize {
        // All sessions of the shard are looked at: this is rare, and a table of sessions by person
        // would cost every login.
        let ids: Vec<_> = {
            let mut sessions = self.sessions_mut();
            let theirs = sessions.each().filter(|(id, session)| is_one(*id, session, whom));
            theirs
                .map(|(id, session)| {
                    session.is_over = true;
                    id
                })
                .collect()
        };
        for id in &ids {
            match why {
                Why::Disconnected(after) => {
                    let text = "an operator ended this connection";
                    self.close(*id, CloseCode::Disconnected, after, text);
                }
                Why::Revoked => self.revoked(*id, whom),
            }
        }
        ids.len()
    }

    /// Of what is not encrypted yet only the reason is sent.
    fn revoked(&self, id: ConnectionId, whom: &Whom) {
        let one = matches!(whom, Whom::Device(..));
        let (code, text) = if one { DEVICE_REVOKED } else { REVOKED };
        self.metrics().closed(code.name());
        let frame = reply::closing(code, Duration::ZERO, text);
        self.floors().delivery.borrow_mut().connections.cut(id, frame);
    }

    fn list(&self, list: List) {
        let now = self.floors().clock.now();
        let List { user, from_slot, max, done } = list;
        let mut sessions = self.sessions_mut();
        let theirs = sessions.each_from(from_slot);
        let theirs = theirs.filter(|(_, session)| user.is_none_or(|user| user == session.user));
        let seen = theirs.take(max).map(|(connection, session)| Connected {
            connection,
            user: session.user,
            device: session.device.clone(),
            address: session.address,
            since: now.since(session.since),
            in_flight: session.in_flight,
            has_resumed: session.resuming.is_none(),
            is_over: session.is_over,
        });
        drop(done.send(seen.collect()));
    }

    fn count(&self) -> Counts {
        let delivery = self.floors().delivery.borrow();
        let (people, channels) = delivery.counts();
        let unsent_oldest = delivery.connections.oldest_unsent(self.floors().clock.now());
        let (sessions, mail) = (self.sessions(), delivery.mail());
        Counts { sessions, people, channels, mail, unsent_oldest }
    }
}

fn is_one(id: ConnectionId, session: &Session, whom: &Whom) -> bool {
    match whom {
        Whom::Person(user) => session.user == *user,
        Whom::Device(user, device) => session.user == *user && session.device == *device,
        Whom::Connection(connection) => id == *connection,
    }
}
