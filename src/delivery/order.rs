//! What operators want of a shard's sessions: brought by the shard's mail, carried out a floor up.

use std::net::IpAddr;
use std::time::Duration;

use damso_proto::id::UserNo;
use tokio::sync::oneshot;

use crate::model::device::DeviceId;
use crate::runtime::route::ConnectionId;

/// One thing that is wanted of a shard's sessions. Whoever wants it may have given up waiting.
pub enum Order {
    /// Sessions that must end.
    Cut(Cut),
    /// Who is connected.
    List(List),
    /// How much there is of everything.
    Count(oneshot::Sender<Counts>),
}

/// Sessions that must end.
pub struct Cut {
    /// Which.
    pub whom: Whom,
    /// Why.
    pub why: Why,
    /// Told how many there were, once nothing more is sent to any.
    pub done: oneshot::Sender<usize>,
}

/// Sessions of a shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Whom {
    /// All of a person, whose home it is.
    Person(UserNo),
    /// Those of one device of theirs.
    Device(UserNo, DeviceId),
    /// The one on this connection.
    Connection(ConnectionId),
}

impl Whom {
    /// Those of a person or, if one is named, of a device of theirs.
    pub fn of(user: UserNo, device: Option<DeviceId>) -> Self {
        match device {
            Some(device) => Self::Device(user, device),
            None => Self::Person(user),
        }
    }
}

/// Why sessions end, which is what their clients are told to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// What they were let in by counts no more: of what waits to be sent only the reason is.
    Revoked,
    /// An operator ended the connection: it may come back after this time.
    Disconnected(Duration),
}

/// A page of a shard's connections, in order of their slots.
pub struct List {
    /// Of this person alone.
    pub user: Option<UserNo>,
    /// From this slot on.
    pub from_slot: u32,
    /// So many at most.
    pub max: usize,
    /// Told who is there.
    pub done: oneshot::Sender<Vec<Connected>>,
}

/// A session, as an operator sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connected {
    /// Its connection on its shard.
    pub connection: ConnectionId,
    /// Whose.
    pub user: UserNo,
    /// Their device.
    pub device: DeviceId,
    /// Where it comes from; a proxy's own connections come from nowhere.
    pub address: Option<IpAddr>,
    /// How long it has been there.
    pub since: Duration,
    /// Requests that wait for their answer.
    pub in_flight: u32,
    /// It has asked for what it missed: since then, live events reach it.
    pub has_resumed: bool,
    /// It was told why it ends.
    pub is_over: bool,
}

/// How much there is of everything on a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Sessions.
    pub sessions: usize,
    /// People.
    pub people: usize,
    /// Channels that are ordered there.
    pub channels: usize,
    /// Letters that wait in its mailbox.
    pub mail: usize,
    /// How long the oldest event that is not sent has waited.
    pub unsent_oldest: Duration,
}
