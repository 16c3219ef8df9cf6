//! What an operator asks about the people who are connected, and does to their connections.

use std::sync::Arc;
use std::time::Duration;

use damso_proto::id::{Uid, UserNo};

use super::letter;
use crate::delivery::{Connected, Counts, Cut, List, Mailboxes, Order, Whom, Why};
use crate::model::device::DeviceId;
use crate::model::limits;
use crate::runtime::door::{Door, DoorError};
use crate::runtime::route::{ConnectionName, ShardNo};
use crate::store::directory::{Directory, DirectoryError, User};

/// Asks shards, from any thread. For entrances of operators: it asks nobody whether they may.
#[derive(Clone)]
pub struct Operator {
    /// People.
    pub directory: Arc<dyn Directory>,
    /// Where blocking work goes.
    pub door: Door,
    /// Every shard's mailbox.
    pub mailboxes: Mailboxes,
}

/// Whose connections are ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// All of a person's, or of one device of theirs.
    Person(Uid, Option<DeviceId>),
    /// This one.
    Connection(ConnectionName),
}

/// Which connections are listed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Page {
    /// Of this person alone.
    pub user: Option<Uid>,
    /// Behind this one.
    pub after: Option<ConnectionName>,
    /// So many at most.
    pub max: usize,
}

/// A connection, with its name and its person's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// What it is called.
    pub name: ConnectionName,
    /// Whose it is. `None`: they are in no directory any more.
    pub uid: Option<Uid>,
    /// The rest.
    pub seen: Connected,
}

/// Why an operator was not answered.
#[derive(thiserror::Error, Debug)]
pub enum OperateError {
    /// The caller's fault.
    #[error("there is no person {0}")]
    NoPerson(Uid),
    /// The caller's fault, or it has ended since.
    #[error("there is no connection {0}")]
    NoConnection(ConnectionName),
    /// Too much waits; asking again is safe.
    #[error("the server has too much to do; try again")]
    Busy,
    /// The directory failed; asking again is safe.
    #[error("the directory failed: {0}")]
    Directory(#[source] DirectoryError),
    /// A shard says nothing; asking again is safe.
    #[error("shard {0} does not answer; try again, and look at its load")]
    Silent(usize),
}

impl Operator {
    /// How much there is of everything, by shard. `None`: that one does not answer in time.
    pub async fn counts(&self) -> Vec<Option<Counts>> {
        let mut counts = Vec::new();
        for mailbox in self.mailboxes.all() {
            counts.push(letter::ask(mailbox, Order::Count, limits::OPERATE_TIME_MAX).await);
        }
        counts
    }

    /// A page of connections, and whether there are more.
    ///
    /// # Errors
    /// [`OperateError`].
    pub async fn connections(&self, page: Page) -> Result<(Vec<Listed>, bool), OperateError> {
        let user = match page.user {
            Some(uid) => Some(self.person(uid).await?),
            None => None,
        };
        let mut seen: Vec<(ConnectionName, Connected)> = Vec::new();
        // One beyond the page says that there are more.
        let wanted = page.max.saturating_add(1);
        for (shard, mailbox) in (0_u16..).map(ShardNo::new).zip(self.mailboxes.all()) {
            let from_slot = match page.after {
                Some(after) if shard < after.shard => continue,
                Some(after) if shard == after.shard => after.connection.slot.saturating_add(1),
                _ => 0,
            };
            let max = wanted - seen.len();
            let list = |done| Order::List(List { user, from_slot, max, done });
            let found = letter::ask(mailbox, list, limits::OPERATE_TIME_MAX).await;
            let found = found.ok_or(OperateError::Silent(shard.index()))?;
            let named =
                |one: Connected| (ConnectionName { shard, connection: one.connection }, one);
            seen.extend(found.into_iter().map(named));
            if seen.len() >= wanted {
                break;
            }
        }
        let more = seen.len() > page.max;
        seen.truncate(page.max);
        Ok((self.with_uids(seen).await?, more))
    }

    /// Ends connections; their clients may come back `after` a while. Says how many there were.
    ///
    /// # Errors
    /// [`OperateError`].
    pub async fn disconnect(&self, target: Target, after: Duration) -> Result<usize, OperateError> {
        let why = Why::Disconnected(after);
        let (mailbox, whom, shard) = match &target {
            Target::Person(uid, device) => {
                let user = self.person(uid.clone()).await?;
                let home = self.mailboxes.home_of(user);
                (self.mailboxes.of(home), Whom::of(user, device.clone()), home)
            }
            Target::Connection(name) => {
                (self.mailboxes.of(name.shard), Whom::Connection(name.connection), name.shard)
            }
        };
        let ended = match mailbox {
            Some(mailbox) => {
                let cut = |done| Order::Cut(Cut { whom, why, done });
                let ended = letter::ask(mailbox, cut, limits::OPERATE_TIME_MAX).await;
                ended.ok_or(OperateError::Silent(shard.index()))?
            }
            None => 0,
        };
        match target {
            Target::Connection(name) if ended == 0 => Err(OperateError::NoConnection(name)),
            _ => {
                tracing::info!(?target, ended, "connections ended by an operator");
                Ok(ended)
            }
        }
    }

    async fn person(&self, uid: Uid) -> Result<UserNo, OperateError> {
        let uids = [uid.clone()];
        let found = self.look_up(move |directory| directory.users_by_uid(&uids)).await?;
        found.first().map(|person| person.number).ok_or(OperateError::NoPerson(uid))
    }

    async fn with_uids(
        &self,
        seen: Vec<(ConnectionName, Connected)>,
    ) -> Result<Vec<Listed>, OperateError> {
        let mut numbers: Vec<UserNo> = seen.iter().map(|(_, one)| one.user).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut people = Vec::new();
        for chunk in numbers.chunks(limits::PEOPLE_PER_LOOKUP_MAX) {
            let chunk = chunk.to_vec();
            people.extend(self.look_up(move |directory| directory.users(&chunk)).await?);
        }
        people.sort_unstable_by_key(|person| person.number);
        let uid_of = |number| {
            let at = people.binary_search_by_key(&number, |person| person.number).ok()?;
            people.get(at).map(|person| person.uid.clone())
        };
        let listed = seen.into_iter();
        Ok(listed.map(|(name, seen)| Listed { name, uid: uid_of(seen.user), seen }).collect())
    }

    async fn look_up(
        &self,
        ask: impl FnOnce(&dyn Directory) -> Result<Vec<User>, DirectoryError> + Send + 'static,
    ) -> Result<Vec<User>, OperateError> {
        let directory = self.directory.clone();
        match self.door.call(move || ask(&*directory)).await {
            Ok(found) => found.map_err(OperateError::Directory),
            Err(DoorError::Full | DoorError::Panicked) => Err(OperateError::Busy),
        }
    }
}
