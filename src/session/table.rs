//! Sessions by connection: a slot each, told apart by generation.

use std::net::IpAddr;
use std::task::Waker;

use damso_proto::id::UserNo;
use damso_proto::server::ServerConn;
use damso_proto::time::Moment;
use tokio::task::AbortHandle;

use super::token_life::TokenLife;
use crate::model::device::DeviceId;
use crate::requests::Cursors;
use crate::runtime::route::ConnectionId;

/// One authenticated device on one connection.
pub(super) struct Session {
    pub(super) conn: ServerConn,
    pub(super) user: UserNo,
    pub(super) device: DeviceId,
    /// Where it comes from, if a proxy did not keep that to itself.
    pub(super) address: Option<IpAddr>,
    pub(super) since: Moment,
    /// Until when its token lets it stay.
    pub(super) token: TokenLife,
    /// It was told why it ends: nothing that it said is heard any more.
    pub(super) is_over: bool,
    /// Gathered from Resume frames until the last one.
    pub(super) resuming: Option<Box<Resuming>>,
    /// The reading task, while reading is paused.
    pub(super) reader: Option<Waker>,
    /// Tasks that wait for the bulk lane.
    pub(super) bulk: Vec<Waker>,
    /// Has sent messages: admission may stop reading from it.
    pub(super) sends: bool,
    /// Requests that wait for their answer.
    pub(super) in_flight: u32,
    /// The reading task.
    pub(super) pump: Option<AbortHandle>,
}

/// What Resume frames brought so far.
#[derive(Default)]
pub(super) struct Resuming {
    pub(super) cursors: Cursors,
    pub(super) pending: Vec<damso_proto::wire::PendingKey>,
}

/// See the module's text.
#[derive(Default)]
pub(super) struct Table {
    slots: Vec<Option<(u32, Box<Session>)>>,
    len: usize,
}

impl Table {
    pub(super) fn insert(&mut self, id: ConnectionId, session: Session) {
        let slot = id.slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        if let Some(entry) = self.slots.get_mut(slot) {
            self.len += usize::from(entry.is_none());
            *entry = Some((id.generation, Box::new(session)));
        }
    }

    pub(super) fn get(&mut self, id: ConnectionId) -> Option<&mut Session> {
        match self.slots.get_mut(id.slot as usize)? {
            Some((generation, session)) if *generation == id.generation => Some(session),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Box<Session>> {
        self.get(id)?;
        let (_, session) = self.slots.get_mut(id.slot as usize)?.take()?;
        self.len -= 1;
        Some(session)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Every session, with its connection.
    pub(super) fn each(&mut self) -> impl Iterator<Item = (ConnectionId, &mut Session)> {
        self.each_from(0)
    }

    /// The same from this slot on.
    pub(super) fn each_from(
        &mut self,
        from: u32,
    ) -> impl Iterator<Item = (ConnectionId, &mut Session)> {
        let slots = self.slots.iter_mut().enumerate().skip(from as usize);
        slots.filter_map(|(slot, entry)| {
            let (generation, session) = entry.as_mut()?;
            let slot = u32::try_from(slot).ok()?;
            Some((ConnectionId { slot, generation: *generation }, &mut **session))
        })
    }
}
