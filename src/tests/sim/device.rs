//! A person's device with the SDK on it. Everything that it sends and sees is reported.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use damso::runtime::clock::Clock as _;
use damso_client::{
    Channel, ChannelNo, Client, Connecting, Draft, Error, Options, Platform, Position, SendHandle,
    Seq, Snapshot, State, Stream, Uid, Update, UserNo,
};
use damso_loadtest::checker::{BodyHash, Observation, ReceiverNo, SessionNo};
use damso_proto::address::ConnectionString;
use damso_proto::wire;
use tokio::task::spawn_local;

use super::clock::SimClock;
use super::dice::Dice;
use super::network::{DeviceNo, Network};
use super::story::Story;
use crate::crash_world::seen;

/// What takes longer, while nothing fails, never ends.
const PATIENCE: Duration = Duration::from_secs(600);
/// Bytes of a long text.
const LONG: u64 = 6_000;
/// Rows of a page that history is read back by.
const ROWS: u32 = 100;

/// See the module's text.
pub(crate) struct Device {
    story: Rc<Story>,
    name: String,
    number: DeviceNo,
    receiver: ReceiverNo,
    session: Cell<SessionNo>,
    client: RefCell<Client>,
    /// Known from the first login on.
    user: Cell<Option<UserNo>>,
    written: Cell<u64>,
    reached: RefCell<BTreeMap<ChannelNo, Seq>>,
    /// What the app keeps of channels, and holds true by what comes.
    copies: RefCell<BTreeMap<ChannelNo, Channel>>,
    /// Channels that it was removed from: what comes next begins a new stretch.
    left: RefCell<BTreeSet<ChannelNo>>,
    dice: Dice,
}

/// What the SDK stands on here.
#[derive(Debug)]
struct Phone {
    number: DeviceNo,
    network: Arc<Network>,
    clock: Arc<SimClock>,
    dice: Dice,
    /// How far its own clock is off.
    off_ms: i64,
}

impl Platform for Phone {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn unix_ms(&self) -> u64 {
        self.clock.unix_ms().saturating_add_signed(self.off_ms)
    }

    fn random(&self) -> u64 {
        self.dice.number()
    }

    fn connect<'a>(&'a self, _: &'a ConnectionString) -> Connecting<'a> {
        Box::pin(async move {
            let socket = self.network.dial(self.number).await?;
            Ok(Box::new(socket) as Box<dyn Stream>)
        })
    }
}

impl Device {
    /// A device of `name` that has nothing, and begins to connect.
    pub(crate) fn new(story: &Rc<Story>, name: &str) -> Rc<Self> {
        let number = story.device_no();
        let dice = story.dice.another();
        let client = connect(story, name, number, &dice, Snapshot::default());
        let session = SessionNo(story.watch.borrow_mut().number());
        let device = Rc::new(Self {
            story: story.clone(),
            name: name.to_owned(),
            number,
            receiver: ReceiverNo(number),
            session: Cell::new(session),
            client: RefCell::new(client.clone()),
            user: Cell::new(None),
            written: Cell::new(0),
            reached: RefCell::default(),
            copies: RefCell::default(),
            left: RefCell::default(),
            dice,
        });
        spawn_local(device.clone().read(client));
        device
    }

    /// The same device of somebody who can be online at once.
    pub(crate) async fn online(story: &Rc<Story>, name: &str) -> Rc<Self> {
        let device = Self::new(story, name);
        device.comes_online().await;
        device
    }

    pub(crate) async fn comes_online(&self) {
        let mut state = self.client().state();
        let online = state.wait_for(|state| *state == State::Online);
        tokio::time::timeout(PATIENCE, online).await.expect("in time").expect("a state");
        self.user();
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn number(&self) -> DeviceNo {
        self.number
    }

    pub(crate) fn uid(&self) -> Uid {
        Uid::parse(&self.name).expect("a uid")
    }

    pub(crate) fn user(&self) -> UserNo {
        let user = self.user.get().or_else(|| Some(self.client().person()?.0));
        self.user.set(user);
        user.expect("whoever was online has a number")
    }

    pub(crate) fn receiver(&self) -> ReceiverNo {
        self.receiver
    }

    pub(crate) fn client(&self) -> Client {
        self.client.borrow().clone()
    }

    /// The last event of a channel that the app was given.
    pub(crate) fn reached(&self, channel: ChannelNo) -> Seq {
        self.reached.borrow().get(&channel).copied().unwrap_or(Seq::ZERO)
    }

    /// Keeps a copy of a channel from now on.
    pub(crate) fn keep(&self, copy: Channel) {
        self.copies.borrow_mut().insert(copy.channel, copy);
    }

    /// The copy of a channel, as it is by now.
    pub(crate) fn copy(&self, channel: ChannelNo) -> Option<Channel> {
        self.copies.borrow().get(&channel).cloned()
    }

    /// Writes a message that nobody else writes, and follows what becomes of it.
    pub(crate) fn send(self: &Rc<Self>, channel: ChannelNo) {
        let number = self.written.replace(self.written.get() + 1);
        // Long ones fill lines and logs; most are short, as people's are.
        let length = if self.dice.one_in(8) { self.dice.below(LONG) } else { 0 };
        let length = usize::try_from(length).expect("a small number");
        let text = format!("{} {number}{:length$}", self.number, "");
        let body = BodyHash::of_text(&text);
        let handle = match self.client().send(channel, Draft::text(text)) {
            Ok(handle) => handle,
            // Too much waits: the person is asked to wait.
            Err(Error::Busy) => return,
            Err(error) => {
                let wrong = format!("{}: {error}", self.name);
                return self.story.watch.borrow_mut().wrong(wrong);
            }
        };
        let (sender, session, key) = (self.user(), self.session.get(), handle.key());
        let sent = Observation::Sent { sender, session, channel, key, body };
        self.story.watch.borrow_mut().observe(sent);
        let dials = self.story.network.dials(self.number);
        spawn_local(self.clone().follow(handle, sent, dials));
    }

    /// Sends that are not answered.
    pub(crate) fn unsent(&self) -> usize {
        self.client().unsent_count()
    }

    /// The app is killed and started again from what it kept.
    pub(crate) fn restart(self: &Rc<Self>) {
        let snapshot = self.client().snapshot();
        self.client().close();
        let mut watch = self.story.watch.borrow_mut();
        self.session.set(SessionNo(watch.number()));
        let (receiver, session) = (self.receiver, self.session.get());
        for cursor in &snapshot.cursors {
            let (channel, cursor) = (cursor.channel, cursor.seq);
            watch.observe(Observation::Resumed { receiver, session, channel, cursor });
        }
        let unanswered: Vec<_> = watch.unanswered().values().copied().collect();
        drop(watch);
        // By their texts: what was never on a wire may have been given another key meanwhile.
        let sends = snapshot.unsent.iter().map(|unsent| unsent.send.content.clone());
        let bodies: Vec<_> = sends.map(|content| body_of(content.as_ref())).collect();
        let client = connect(&self.story, &self.name, self.number, &self.dice, snapshot);
        self.client.replace(client.clone());
        for (handle, said) in client.unsent().into_iter().zip(bodies) {
            let is_it = |sent: &&Observation| matches!(sent, Observation::Sent { body, .. } if Some(*body) == said);
            if let Some(sent) = unanswered.iter().find(is_it) {
                // Of another process: always a repetition.
                spawn_local(self.clone().follow(handle, *sent, u64::MAX));
            }
        }
        spawn_local(self.clone().read(client));
    }

    /// Reads a channel from its first event to its head, page by page.
    pub(crate) async fn read_back(&self, channel: ChannelNo) -> Seq {
        let client = self.client();
        let mut at = Seq::ZERO;
        loop {
            let page = client.history(channel, Position::After(at), ROWS);
            let page = tokio::time::timeout(PATIENCE, page).await.expect("in time");
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    let wrong = format!("channel {channel} cannot be read: {error}");
                    self.story.watch.borrow_mut().wrong(wrong);
                    return at;
                }
            };
            let mut watch = self.story.watch.borrow_mut();
            for event in &page.events {
                watch.observe(Observation::Stored { seen: seen(event) });
            }
            if page.to >= page.head || page.to < page.from {
                let (from, head) = (page.floor.max(Seq::new(1)), page.head);
                watch.observe(Observation::ReadBack { channel, from, head });
                return head;
            }
            at = page.to;
        }
    }

    /// The app: takes what there is, a few at a time, when it gets round to it.
    async fn read(self: Rc<Self>, client: Client) {
        let session = self.session.get();
        while client.ready().await {
            self.dice.work().await;
            if self.session.get() != session {
                // Killed: what waited here comes again to the next one.
                return;
            }
            let most = usize::try_from(self.dice.within(1..64)).expect("a small number");
            for update in client.take(most) {
                self.updated(&update);
            }
        }
    }

    fn updated(&self, update: &Update) {
        let (receiver, session) = (self.receiver, self.session.get());
        let mut watch = self.story.watch.borrow_mut();
        match update {
            Update::Event(event) => {
                let (channel, seq) = (event.channel, event.seq);
                if self.left.borrow_mut().remove(&channel) {
                    let to = seq.prev();
                    watch.observe(Observation::Skipped { receiver, channel, to });
                }
                let seen = seen(event);
                watch.observe(Observation::Received { receiver, session, seen });
                self.reached.borrow_mut().insert(channel, seq);
                if let Some(copy) = self.copies.borrow_mut().get_mut(&channel) {
                    copy.follow(event);
                }
            }
            Update::Skipped { channel, to, .. } => {
                let (channel, to) = (*channel, *to);
                watch.observe(Observation::Skipped { receiver, channel, to });
                if self.is_member(channel) {
                    watch.wrong(format!("{}: {update:?}", self.name));
                }
            }
            Update::Gone { channel } => {
                self.left.borrow_mut().insert(*channel);
                if self.is_member(*channel) {
                    watch.wrong(format!("{}: {update:?}", self.name));
                }
            }
            Update::RolledBack { .. } => watch.wrong(format!("{}: {update:?}", self.name)),
        }
    }

    /// It is in this room from its beginning to its end.
    fn is_member(&self, channel: ChannelNo) -> bool {
        let rooms = self.story.rooms.borrow();
        let mut members = rooms.iter().filter(|room| room.channel == channel);
        members.any(|room| room.members.iter().any(|device| device.number == self.number))
    }

    /// Reports what becomes of a send.
    async fn follow(self: Rc<Self>, mut handle: SendHandle, sent: Observation, dials: u64) {
        let Observation::Sent { channel, key, .. } = sent else { return };
        let outcome = handle.stored().await;
        let mut watch = self.story.watch.borrow_mut();
        match outcome {
            Ok(stored) => {
                // Another connection, or a refusal that asks for another try, which the SDK
                // makes by itself: the first attempt may be what was stored.
                let is_certain = self.story.network.dials(self.number) == dials
                    && self.story.memory == super::story::Memory::Sound;
                if !is_certain {
                    watch.observe(sent);
                }
                let (seq, id, duplicate) = (stored.seq, stored.id, stored.duplicate);
                watch.observe(Observation::Acked { key, channel, seq, id, duplicate });
            }
            // The app was restarted; its successor follows it.
            Err(Error::Closed) => {}
            Err(Error::Refused { .. }) => watch.observe(Observation::Refused { key }),
            Err(error) => {
                watch.observe(Observation::Doubtful { key });
                watch.wrong(format!("{}: {error}", self.name));
            }
        }
    }
}

fn body_of(content: Option<&wire::send::Content>) -> Option<BodyHash> {
    match content? {
        wire::send::Content::Text(text) => Some(BodyHash::of_text(text)),
        wire::send::Content::Custom(_) => None,
    }
}

fn connect(
    story: &Rc<Story>,
    name: &str,
    number: DeviceNo,
    dice: &Dice,
    snapshot: Snapshot,
) -> Client {
    let off_ms = i64::try_from(dice.below(240_000)).expect("some minutes") - 120_000;
    let (network, clock) = (story.network.clone(), story.clock.clone());
    let phone = Phone { number, network, clock, dice: dice.another(), off_ms };
    let options = Options { device: format!("device-{number}"), snapshot, ..Options::default() };
    let made = Client::connect_on(story.string(name), options, Arc::new(phone));
    let (client, run) = made.expect("a client");
    spawn_local(run);
    client
}
