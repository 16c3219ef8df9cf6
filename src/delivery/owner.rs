//! The channels that this shard orders: opened on need, dropped when idle.

use std::sync::Arc;

use damso_proto::id::{ChannelNo, MessageId, Seq};
use damso_proto::time::Moment;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::channel::Channel;
use super::lateness::Lateness;
use super::mail::{Change, ChangeKind, Found, Mail, OpenError, Origin, Refusal, Work};
use super::post::{Post, insist};
use super::rate::{Admission, Pace};
use super::stage::{Mint, Stage, Step, Told, is_stored, still_fits};
use crate::model::limits::{self, Limits};
use crate::model::memory::{Level, Memory};
use crate::runtime::clock::Clock;
use crate::runtime::door::{Door, DoorError};
use crate::runtime::route::ShardNo;
use crate::runtime::snowflake::Snowflake;
use crate::store::directory::{self, Command, Directory, DirectoryError, OutboxId};
use crate::store::log::{ChannelLog, Group, KeyRow, Run, StoreError, Undone};

/// Times that a run of unknown outcome is appended again before its senders are told so.
const RESOLVE_TRIES_MAX: u8 = 3;

/// What every shard is given to work with.
#[derive(Clone)]
pub struct Tools {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids of this shard.
    pub ids: Arc<Snowflake>,
    /// History.
    pub log: Arc<dyn ChannelLog>,
    /// People, channels, members.
    pub directory: Arc<dyn Directory>,
    /// Where blocking work goes.
    pub door: Door,
    /// What people may, and how much.
    pub limits: Limits,
    /// How short of memory the server is.
    pub memory: Memory,
}

/// See the module's text.
pub(super) struct Owned {
    /// Boxed: a table of them would be half empty, and moved whole when it grows.
    channels: HashMap<ChannelNo, Box<Channel>, FixedState>,
    tools: Tools,
    told: Vec<Told>,
    /// Works that wait in all of them.
    waiting: usize,
    /// Of messages on their way here: a shard that is behind takes its mail late.
    lateness: Lateness,
    /// When the last of them was taken.
    taken_at: Moment,
}

struct Minting<'a>(&'a Tools);

impl Mint for Minting<'_> {
    fn mint_above(&mut self, last: MessageId) -> MessageId {
        let Tools { clock, ids, .. } = self.0;
        let id = ids.mint(clock.readings());
        if id > last {
            return id;
        }
        // Minted by another shard or a faster clock: go on above it, with own machine bits.
        ids.raise_above(last);
        ids.mint(clock.readings())
    }
}

impl Owned {
    pub(super) fn new(tools: Tools) -> Self {
        Self {
            channels: HashMap::default(),
            tools,
            told: Vec::new(),
            waiting: 0,
            lateness: Lateness::default(),
            taken_at: Moment::default(),
        }
    }

    /// How many channels are at work here.
    pub(super) fn len(&self) -> usize {
        self.channels.len()
    }

    /// Takes work for a channel, opening it on need.
    pub(super) fn work(&mut self, number: ChannelNo, mut work: Work, post: &mut Post) {
        let now = self.tools.clock.now();
        if let Work::Event(submission) = &mut work {
            // It came when nothing else was on its way here: there was a break.
            if submission.queued_at >= self.taken_at {
                self.lateness = Lateness::default();
            }
            self.taken_at = now;
            self.lateness.look(Some(submission.queued_at), now);
            if self.waiting >= limits::SHARD_WAITING_MAX || self.lateness.is_overload(now) {
                let refusal = Refusal::Overloaded { after: limits::OVERLOADED_RETRY };
                return post.answer(submission.route, Err(refusal));
            }
            if self.tools.memory.level() >= Level::Full {
                submission.admission = Admission::NoRoom;
            }
        }
        let origin = Origin { channel: number, owner: post.me() };
        let rate = self.tools.limits.sends_per_channel;
        if !self.channels.contains_key(&number) {
            if self.channels.len() >= limits::OWNED_CHANNELS_MAX {
                let refusal = Refusal::Overloaded { after: limits::OVERLOADED_RETRY };
                let mut channel = Channel::opening(origin, post.shards(), rate, now);
                channel.take(work, now, &mut self.told);
                channel.give_up(&refusal, &mut self.told);
                return self.tell(post);
            }
            let channel = Channel::opening(origin, post.shards(), rate, now);
            self.channels.insert(number, Box::new(channel));
            self.open(number, post);
        }
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.take(work, now, &mut self.told);
        }
        self.go_on(number, post);
    }

    /// The stores were read for a channel that is opening or resolving.
    pub(super) fn opened(
        &mut self,
        number: ChannelNo,
        found: Result<Found, OpenError>,
        post: &mut Post,
    ) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let found = match found {
            Ok(found) => found,
            Err(error) => return self.cannot_open(number, &error, post),
        };
        match std::mem::replace(&mut channel.stage, Stage::Opening) {
            Stage::Resolving(run, tries) if is_stored(&run, &found) => {
                tracing::warn!(channel = %number, tries, "a commit of unknown outcome was stored");
                channel.stage = Stage::InFlight;
                return self.tell_durable(run, post);
            }
            Stage::Resolving(run, tries) if still_fits(&run, &found) => {
                channel.stage = Stage::Resolving(same_run(&run), tries);
                self.tools.log.append(run);
                return;
            }
            Stage::Resolving(run, _) => channel.conflicted(run),
            _ => {}
        }
        channel.found(found, &mut self.told);
        self.go_on(number, post);
    }

    /// A durable run of a channel owned here.
    pub(super) fn durable(&mut self, run: &Run, post: &mut Post) {
        let Some(channel) = self.channels.get_mut(&run.channel) else { return };
        let times = (self.tools.clock.now(), self.tools.clock.unix_ms());
        channel.durable(run, times, &mut self.told);
        self.go_on(run.channel, post);
    }

    /// A run of a channel owned here that is not known to be stored.
    pub(super) fn undone(&mut self, run: Run, why: &Undone, post: &mut Post) {
        let number = run.channel;
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let now = self.tools.clock.now();
        let before = std::mem::replace(&mut channel.stage, Stage::Ready);
        let tries = if let Stage::Resolving(_, tries) = before { tries } else { 0 };
        tracing::warn!(channel = %number, events = run.events.len(), tries, %why, "a run was not stored");
        match why {
            Undone::Unknown(_) if tries < RESOLVE_TRIES_MAX => {
                channel.stage = Stage::Resolving(run, tries + 1);
                self.open(number, post);
            }
            // The head moved under a run whose first outcome was unknown: it may be this very run.
            Undone::Conflict { .. } if tries > 0 => {
                channel.stage = Stage::Resolving(run, tries);
                self.open(number, post);
            }
            Undone::Conflict { .. } => {
                channel.conflicted(run);
                self.open(number, post);
            }
            Undone::Refused(_) if tries == 0 => {
                channel.refused(run, &unavailable(), now, &mut self.told);
                self.go_on(number, post);
            }
            Undone::Refused(_) | Undone::Unknown(_) => {
                channel.refused(run, &Refusal::OutcomeUnknown, now, &mut self.told);
                self.drop_channel(number, &unavailable(), post);
            }
        }
    }

    /// The store answered for old keys.
    pub(super) fn keys_found(
        &mut self,
        number: ChannelNo,
        found: Result<Vec<KeyRow>, Arc<StoreError>>,
        post: &mut Post,
    ) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        match found {
            Ok(found) => channel.looked_up(found),
            Err(error) => {
                tracing::error!(channel = %number, %error, "old keys cannot be looked up");
                return self.drop_channel(number, &unavailable(), post);
            }
        }
        self.go_on(number, post);
    }

    /// The directory decided a command.
    pub(super) fn changed(
        &mut self,
        number: ChannelNo,
        changed: Result<directory::Done, Refusal>,
        post: &mut Post,
    ) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let before = std::mem::replace(&mut channel.stage, Stage::Ready);
        let Stage::Changing(change) = before else {
            channel.stage = before;
            return;
        };
        match changed {
            Ok(changed) if changed.rows.is_empty() => {
                channel.known_change(changed.seq, change.route, &mut self.told);
            }
            Ok(changed) => {
                let route = Some(change.route);
                channel.settle(changed.rows, route, &mut self.told);
            }
            Err(refusal) => self.told.push(Told::Answer(change.route, Err(refusal))),
        }
        self.go_on(number, post);
    }

    /// Blocking work for a channel owned here panicked.
    pub(super) fn failed(&mut self, number: ChannelNo, post: &mut Post) {
        self.drop_channel(number, &Refusal::OutcomeUnknown, post);
    }

    /// A shard applied a change of rights of which no event tells.
    pub(super) fn rights_applied(
        &mut self,
        number: ChannelNo,
        (row, by): (OutboxId, ShardNo),
        post: &mut Post,
    ) {
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.rights_applied(row, by, &mut self.told);
        }
        self.go_on(number, post);
    }

    /// A shard applied a change of rights.
    pub(super) fn applied(&mut self, number: ChannelNo, seq: Seq, post: &mut Post) {
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.applied(seq, &mut self.told);
        }
        self.tell(post);
    }

    /// A row of a channel owned here stands in its log, or not.
    pub(super) fn row_done(
        &mut self,
        origin: ChannelNo,
        row: OutboxId,
        stored: bool,
        post: &mut Post,
    ) {
        if let Some(channel) = self.channels.get_mut(&origin) {
            channel.row_done(row, stored, &mut self.told);
        }
        self.tell(post);
    }

    /// Drops channels at which nothing happened for a while.
    pub(super) fn drop_idle(&mut self, now: Moment) {
        self.channels.retain(|_, channel| {
            !channel.is_idle() || now.since(channel.touched) < limits::OWNED_CHANNEL_IDLE
        });
    }

    fn cannot_open(&mut self, number: ChannelNo, error: &OpenError, post: &mut Post) {
        let refusal = match error {
            OpenError::Absent => Refusal::NotFound,
            OpenError::Store(_) | OpenError::Directory(_) => {
                tracing::error!(channel = %number, %error, "a channel cannot be opened");
                unavailable()
            }
        };
        self.drop_channel(number, &refusal, post);
    }

    fn drop_channel(&mut self, number: ChannelNo, refusal: &Refusal, post: &mut Post) {
        if let Some(mut channel) = self.channels.remove(&number) {
            self.waiting -= channel.counted;
            channel.give_up(refusal, &mut self.told);
        }
        self.tell(post);
    }

    /// Lets a channel make the steps that it can make now.
    fn go_on(&mut self, number: ChannelNo, post: &mut Post) {
        let Some(channel) = self.channels.get_mut(&number) else { return self.tell(post) };
        let now = self.tools.clock.now();
        let capabilities = self.tools.log.capabilities();
        let times = (now, self.tools.clock.unix_ms());
        let step = channel.step(times, capabilities, &mut Minting(&self.tools), &mut self.told);
        match step {
            Step::Wait => channel.rest(),
            Step::Append(run) => self.tools.log.append(run),
            Step::Repeat(run) => self.tell_durable(run, post),
            Step::LookUp(keys) => {
                let log = self.tools.log.clone();
                self.behind_door(number, post, move || {
                    let found = keys.iter().map(|key| log.find_key(number, key.user, key.key));
                    let found = found.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>();
                    Mail::KeysFound(number, found.map_err(Arc::new))
                });
            }
            Step::Change(at) => self.change(number, at, post),
            Step::Spread(rights) => post.send_all(|| Mail::Rights(rights.clone())),
        }
        self.count(number, now);
        self.tell(post);
    }

    /// Takes note of what waits in a channel by now.
    fn count(&mut self, number: ChannelNo, now: Moment) {
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.look(now);
            let waiting = channel.waiting();
            self.waiting =
                self.waiting + waiting - std::mem::replace(&mut channel.counted, waiting);
        }
    }

    /// Tells every shard of a run that is durable, and of which the store told nobody.
    fn tell_durable(&self, run: Run, post: &mut Post) {
        let now = self.tools.clock.now();
        let position = Default::default();
        let group = Group { position, runs: vec![run], committing_at: now, durable_at: now };
        let group = Arc::new(group);
        post.send_all(|| Mail::Durable(group.clone()));
    }

    fn change(&mut self, number: ChannelNo, at: Seq, post: &mut Post) {
        let Some(Stage::Changing(change)) = self.channels.get(&number).map(|found| &found.stage)
        else {
            return;
        };
        let Change { by, key, deadline, over, .. } = *change;
        let what = change.what.clone();
        let Tools { clock, directory, .. } = self.tools.clone();
        let command = Command { by, key: key.key, body: key.body, now_ms: clock.unix_ms() };
        self.behind_door(number, post, move || {
            let late = || deadline.is_past(clock.now()).then_some(Refusal::Deadline);
            let too_often = |after| Refusal::TooOften { whose: Pace::Person, after };
            let done = if let Some(refusal) = over.map(too_often).or_else(late) {
                // A repetition begins nothing, so it is never too late, and never one too many.
                directory.answered(&command).map(|known| known.ok_or(refusal))
            } else {
                let done = match what {
                    ChangeKind::Add(joining) => {
                        directory.add_members(&command, number, &joining, at)
                    }
                    ChangeKind::Remove(user) => directory.remove_member(&command, number, user, at),
                    ChangeKind::SetRole(user, role) => {
                        directory.set_role(&command, number, user, role, at)
                    }
                    ChangeKind::Mute(user, until_ms) => {
                        directory.mute_member(&command, number, user, until_ms, at)
                    }
                    ChangeKind::Ban(user, until_ms) => {
                        directory.ban_member(&command, number, user, until_ms, at)
                    }
                    ChangeKind::LiftBan(user) => directory.lift_ban(&command, number, user),
                    ChangeKind::Block(peer, blocked) => {
                        directory.set_block(&command, peer, blocked, Some((number, at)))
                    }
                    ChangeKind::Update(update) => {
                        directory.update_channel(&command, number, &update, at)
                    }
                };
                done.map(Ok)
            };
            Mail::Changed(number, done.unwrap_or_else(|error| Err(refusal_of(&error))))
        });
    }

    fn open(&mut self, number: ChannelNo, post: &mut Post) {
        let Tools { clock, log, directory, .. } = self.tools.clone();
        let keys_from_ms =
            clock.unix_ms().saturating_sub(limits::millis_long(limits::KEYS_AT_OPEN));
        self.behind_door(number, post, move || {
            let found = || {
                let row = directory.channel(number)?.ok_or(OpenError::Absent)?;
                Ok(Found { log: log.open(number, keys_from_ms)?, row })
            };
            Mail::Opened(number, found())
        });
    }

    /// Runs blocking work whose result comes back as mail. A full door gives the channel up.
    fn behind_door(
        &mut self,
        number: ChannelNo,
        post: &mut Post,
        job: impl FnOnce() -> Mail + Send + 'static,
    ) {
        let home = post.home().clone();
        let deliver = move |done: Result<Mail, DoorError>| {
            insist(&home, done.unwrap_or(Mail::Failed(number)));
        };
        if self.tools.door.submit(job, deliver).is_err() {
            self.drop_channel(number, &unavailable(), post);
        }
    }

    fn tell(&mut self, post: &mut Post) {
        for told in std::mem::take(&mut self.told) {
            match told {
                Told::Answer(route, outcome) => post.answer(route, outcome),
                Told::Row(row, settling) => {
                    let (to, target) = (post.owner(row.channel), row.channel);
                    post.send(to, Mail::Work(target, Work::Row { row, settling }));
                }
                Told::RowStored(origin, row, stored) => {
                    let Origin { channel: origin, owner } = origin;
                    post.send(owner, Mail::RowStored { origin, row, stored });
                }
                Told::Head(channel, head) => post.send_all(|| Mail::Head(channel, head)),
                Told::Forget(rows, moved) => {
                    let directory = self.tools.directory.clone();
                    // A row that is not forgotten is found again at the next open, and known by its key.
                    let forget = move || directory.outbox_done(&rows, &moved);
                    let _ = self.tools.door.submit(forget, |forgotten| {
                        if let Ok(Err(error)) = forgotten {
                            tracing::warn!(%error, "settled rows stay in the outbox for now");
                        }
                    });
                }
            }
        }
    }
}

/// What a directory's refusal means to whoever asked. Absent and forbidden look the same.
pub fn refusal_of(error: &DirectoryError) -> Refusal {
    match error {
        DirectoryError::Denied(denied) => Refusal::of_denied(*denied),
        DirectoryError::NoChannel | DirectoryError::NoUser(_) => Refusal::NotFound,
        DirectoryError::KeyReused => Refusal::KeyReused,
        DirectoryError::Banned(_) => Refusal::Banned,
        DirectoryError::BlockedBy(user) => Refusal::BlockedBy(*user),
        // Surely not carried out. Whoever can go to that owner does, and tells nobody.
        DirectoryError::HaveDirect(_) => unavailable(),
        DirectoryError::TooManyBlocks { .. } => Refusal::Limit("people whom a person blocks"),
        DirectoryError::TooManyBans { .. } => Refusal::Limit("people kept out of a channel"),
        DirectoryError::ChannelKeyTaken => Refusal::Limit("another kind of channel has this key"),
        DirectoryError::WithOneself => Refusal::Limit("a direct channel needs another person"),
        DirectoryError::TooManyMembers { .. } => Refusal::Limit("members of a channel"),
        DirectoryError::TooManyChannels { .. } => Refusal::Limit("channels of a person"),
        DirectoryError::Unfit(_) | DirectoryError::Engine(_) => {
            tracing::error!(%error, "the directory cannot take a command");
            Refusal::OutcomeUnknown
        }
    }
}

/// The stores cannot be asked now.
fn unavailable() -> Refusal {
    Refusal::Unavailable { after: limits::UNAVAILABLE_RETRY }
}

/// The run as the resolving channel keeps it while a copy is with the committer.
fn same_run(run: &Run) -> Run {
    Run { channel: run.channel, expected_head: run.expected_head, events: Vec::new() }
}
