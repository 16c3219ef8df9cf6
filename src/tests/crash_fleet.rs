//! People who chat on, whatever happens to the server, and report everything to the checker.
//!
//! ```text
//! test thread: kill, restart, replace         fleet thread: one task per person, one client each
//!        \______________ World ______________/
//!          checker, who came how far, what is without an answer
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use damso_client::{
    ChannelNo, Client, Draft, Error, Options, SendHandle, Seq, Snapshot, State, Uid, UserNo,
};
use damso_loadtest::checker::{BodyHash, Observation, ReceiverNo, SessionNo};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::backend::Backend;
use super::crash_process::Installation;
use super::crash_world::{Device, Inner, PEOPLE, PHASE_MAX, World};

/// Members of a group; besides, there is one of all, and everybody has a pair.
const GROUP: usize = 5;
/// A person writes this often, while fewer than `UNSENT_MAX` wait for an answer.
const PACE: Duration = Duration::from_millis(15);
const UNSENT_MAX: usize = 6;
/// A client that would wait longer for its next attempt is told that the network is back.
const PATIENCE: Duration = Duration::from_millis(250);

/// A channel and who is in it.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub(crate) channel: ChannelNo,
    pub(crate) members: Vec<usize>,
}

/// Who takes a person's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Successor {
    /// The same device, started again from its snapshot.
    Restarted,
    /// A new device that has nothing.
    NewDevice,
}

/// A device that its person lost.
pub(crate) struct Lost {
    uid: String,
    device: String,
}

impl Lost {
    /// Its person's backend has it revoked, as it would: a person has ten devices.
    pub(crate) fn revoke(self, backend: &Backend) {
        let Self { uid, device } = self;
        backend.delete(&format!("/v1/users/{uid}/devices/{device}")).done();
    }
}

/// See the module's text.
pub(crate) struct Fleet {
    pub(crate) world: Arc<World>,
    pub(crate) rooms: Vec<Room>,
    pub(crate) users: Vec<UserNo>,
    /// Connection strings, one per person.
    pub(crate) strings: Vec<String>,
    orders: Vec<mpsc::UnboundedSender<Successor>>,
    thread: Option<JoinHandle<()>>,
}

impl Fleet {
    /// Everybody logs in and meets; nobody writes yet.
    pub(crate) fn start(installation: &Installation) -> Self {
        let strings: Vec<_> = (0..PEOPLE).map(|at| installation.string(&uid(at))).collect();
        let world = Arc::new(World::new());
        let (orders, ordered): (Vec<_>, Vec<_>) =
            (0..PEOPLE).map(|_| mpsc::unbounded_channel()).unzip();
        let (met, meeting) = std::sync::mpsc::channel();
        let (here, addresses) = (world.clone(), strings.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            LocalSet::new().block_on(&runtime.expect("a runtime"), async move {
                let (people, rooms) = meet(&here, &addresses).await;
                let users: Vec<_> = people.iter().map(|person| person.user).collect();
                drop(met.send((rooms, users)));
                let tasks: Vec<_> = people
                    .into_iter()
                    .zip(ordered)
                    .map(|(person, orders)| tokio::task::spawn_local(person.live(orders)))
                    .collect();
                for task in tasks {
                    task.await.expect("no person panics");
                }
            });
        });
        let (rooms, users) = meeting.recv().expect("everybody logs in");
        Self { world, rooms, users, strings, orders, thread: Some(thread) }
    }

    /// Everybody writes.
    pub(crate) fn chat(&self) {
        self.world.lock().sending = true;
    }

    /// Waits until most people have had an answer since the last call.
    pub(crate) fn flow(&self) {
        self.world.lock().acked_since.clear();
        let flows = self.world.wait(|inner| inner.acked_since.len() > PEOPLE / 2);
        assert!(flows, "hardly anybody has answers:\n{}", self.world.lock().stuck());
    }

    /// The server is about to be killed.
    pub(crate) fn before_kill(&self) {
        let mut inner = self.world.lock();
        inner.kills += 1;
        inner.serving = false;
    }

    /// The server is dead.
    pub(crate) fn after_kill(&self) {
        self.world.lock().kills += 1;
    }

    /// The server serves again.
    pub(crate) fn serving(&self) {
        self.world.lock().serving = true;
    }

    /// A person's present device.
    pub(crate) fn device(&self, person: usize) -> Lost {
        let at = person % PEOPLE;
        let receiver = self.world.lock().devices[at].receiver;
        Lost { uid: uid(at), device: name_of(receiver) }
    }

    /// Replaces a person's client.
    pub(crate) fn replace(&self, person: usize, successor: Successor) {
        self.orders[person % PEOPLE].send(successor).expect("the fleet is there");
    }

    /// Nobody writes any more; waits until everything is answered.
    pub(crate) fn settle(&self) {
        self.world.lock().sending = false;
        let settled = self.world.wait(|inner| inner.unanswered.is_empty());
        assert!(settled, "not everything is answered:\n{}", self.world.lock().stuck());
    }

    /// Waits until everybody has everything up to these heads; who has not breaks a law.
    pub(crate) fn reach(&self, heads: &HashMap<ChannelNo, Seq>) {
        let musts: Vec<_> = self
            .rooms
            .iter()
            .flat_map(|room| room.members.iter().map(|person| (*person, room.channel)))
            .filter_map(|(person, channel)| Some((person, channel, *heads.get(&channel)?)))
            .collect();
        let came = |inner: &Inner, person: usize, channel, seq| {
            inner.devices[person].reached.get(&channel).is_some_and(|at| *at >= seq)
        };
        // Whether in time or not is the checker's to say.
        self.world
            .wait(|inner| musts.iter().all(|(at, channel, seq)| came(inner, *at, *channel, *seq)));
        let mut inner = self.world.lock();
        for (person, channel, seq) in musts {
            let receiver = inner.devices[person].receiver;
            inner.checker.observe(Observation::MustReach { receiver, channel, seq });
        }
    }

    /// Everybody leaves.
    pub(crate) fn leave(&mut self) {
        self.orders.clear();
        self.world.lock().clients.clear();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no person panics");
        }
    }
}

/// The name of a person.
pub(crate) fn uid(at: usize) -> String {
    format!("person-{at}")
}

/// Logs everybody in and makes the rooms.
async fn meet(world: &Arc<World>, strings: &[String]) -> (Vec<Person>, Vec<Room>) {
    let mut people: Vec<_> = strings
        .iter()
        .enumerate()
        .map(|(at, string)| Person::new(world.clone(), at, string.clone()))
        .collect();
    for person in &mut people {
        let mut state = person.client.state();
        let online = state.wait_for(|state| *state == State::Online);
        tokio::time::timeout(PHASE_MAX, online).await.expect("a login in time").expect("a state");
        person.user = person.client.person().expect("who is online has a number").0;
    }
    let name = |at: usize| Uid::parse(&uid(at)).expect("a uid");
    let all: Vec<usize> = (0..PEOPLE).collect();
    let mut rooms = Vec::new();
    for members in all.chunks(GROUP).chain([&*all]) {
        let owner = &people[members[0]].client;
        let others: Vec<_> = members[1..].iter().map(|at| name(*at)).collect();
        let channel = owner.create_group("crash", &others).await.expect("a group").channel;
        rooms.push(Room { channel, members: members.to_vec() });
    }
    for (at, person) in people.iter().enumerate().take(PEOPLE / 2) {
        let peer = at + PEOPLE / 2;
        let channel = person.client.open_direct(&name(peer)).await.expect("a pair").channel;
        rooms.push(Room { channel, members: vec![at, peer] });
    }
    for person in &mut people {
        let mine = rooms.iter().filter(|room| room.members.contains(&person.at));
        person.rooms = mine.map(|room| room.channel).collect();
    }
    (people, rooms)
}

/// One person with the present client.
struct Person {
    world: Arc<World>,
    at: usize,
    string: String,
    user: UserNo,
    rooms: Vec<ChannelNo>,
    client: Client,
    receiver: ReceiverNo,
    session: SessionNo,
    written: usize,
}

impl Person {
    fn new(world: Arc<World>, at: usize, string: String) -> Self {
        let number = world.lock().number();
        let (receiver, session) = (ReceiverNo(number), SessionNo(number));
        let client = connect(&string, receiver, Snapshot::default());
        let mut inner = world.lock();
        inner.devices[at].receiver = receiver;
        inner.clients.push(client.clone());
        drop(inner);
        let (user, rooms) = (UserNo::new(0), Vec::new());
        Self { world, at, string, user, rooms, client, receiver, session, written: 0 }
    }

    /// Reads and writes until there are no more orders.
    async fn live(mut self, mut orders: mpsc::UnboundedReceiver<Successor>) {
        let mut tick = tokio::time::interval(PACE);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                more = self.client.ready() => {
                    if !more {
                        let state = self.client.state().borrow().clone();
                        self.world.lock().wrong.push(format!("person {}: {state:?}", self.at));
                        return;
                    }
                    self.read();
                }
                _ = tick.tick() => {
                    self.hurry();
                    self.write();
                }
                order = orders.recv() => match order {
                    Some(successor) => self.succeed(successor),
                    None => return,
                },
            }
        }
    }

    fn read(&self) {
        let taken = self.client.take(256);
        let mut inner = self.world.lock();
        for update in &taken {
            inner.updated(self.at, self.session, update);
        }
        drop(inner);
        self.world.changed.notify_all();
    }

    fn write(&mut self) {
        let mut inner = self.world.lock();
        if !inner.sending || self.client.unsent_count() >= UNSENT_MAX {
            return;
        }
        self.written += 1;
        let channel = self.rooms[self.written % self.rooms.len()];
        let text = format!("{} {}", self.receiver.0, self.written);
        let body = BodyHash::of_text(&text);
        // Under the lock, so that nobody reports the message before it is reported as sent.
        let handle = match self.client.send(channel, Draft::text(text)) {
            Ok(handle) => handle,
            Err(error) => return inner.wrong.push(format!("person {}: {error}", self.at)),
        };
        let (sender, session, key) = (self.user, self.session, handle.key());
        let sent = Observation::Sent { sender, session, channel, key, body };
        inner.checker.observe(sent);
        inner.unanswered.insert(key, sent);
        let kills = inner.kills;
        drop(inner);
        tokio::task::spawn_local(follow(self.world.clone(), self.at, handle, sent, kills));
    }

    /// An app tells its client when the network is back; a server that dies every moment
    /// would otherwise be left alone for ever longer.
    fn hurry(&self) {
        let serving = self.world.lock().serving;
        // Copied out: the client cannot change its state while somebody looks at it.
        let state = self.client.state().borrow().clone();
        if let State::Backoff { retry_at, .. } = state
            && serving
            && retry_at > Instant::now() + PATIENCE
        {
            self.client.network_changed();
        }
    }

    fn succeed(&mut self, successor: Successor) {
        let snapshot = self.client.snapshot();
        self.client.close();
        let mut inner = self.world.lock();
        self.session = SessionNo(inner.number());
        let snapshot = match successor {
            Successor::Restarted => {
                let (receiver, session) = (self.receiver, self.session);
                for cursor in &snapshot.cursors {
                    let (channel, cursor) = (cursor.channel, cursor.seq);
                    let resumed = Observation::Resumed { receiver, session, channel, cursor };
                    inner.checker.observe(resumed);
                }
                snapshot
            }
            Successor::NewDevice => {
                self.receiver = ReceiverNo(self.session.0);
                inner.devices[self.at] =
                    Device { receiver: self.receiver, reached: HashMap::new() };
                for unsent in &snapshot.unsent {
                    inner.abandoned += u64::from(inner.unanswered.remove(&unsent.key).is_some());
                }
                Snapshot::default()
            }
        };
        drop(inner);
        self.client = connect(&self.string, self.receiver, snapshot);
        self.world.lock().clients[self.at] = self.client.clone();
        for handle in self.client.unsent() {
            let known = self.world.lock().unanswered.get(&handle.key()).copied();
            if let Some(sent) = known {
                // Of another client: always a repetition.
                let follow = follow(self.world.clone(), self.at, handle, sent, u64::MAX);
                tokio::task::spawn_local(follow);
            }
        }
    }
}

/// Reports what becomes of a send.
async fn follow(
    world: Arc<World>,
    person: usize,
    mut handle: SendHandle,
    sent: Observation,
    kills: u64,
) {
    let outcome = handle.stored().await;
    let key = handle.key();
    let mut inner = world.lock();
    match outcome {
        Ok(stored) => inner.acked(person, key, sent, kills, stored),
        // Its client was replaced; whoever took over follows it.
        Err(Error::Closed) => {}
        Err(error) => {
            inner.checker.observe(Observation::Doubtful { key });
            inner.unanswered.remove(&key);
            inner.wrong.push(format!("person {person}: {error}"));
        }
    }
    drop(inner);
    world.changed.notify_all();
}

/// A client of the SDK over real TLS.
pub(crate) fn connect(string: &str, device: ReceiverNo, snapshot: Snapshot) -> Client {
    let address = string.parse().expect("a connection string");
    let device = name_of(device);
    Client::connect_with(address, Options { device, snapshot, ..Options::default() })
        .expect("a client")
}

fn name_of(device: ReceiverNo) -> String {
    format!("device-{}", device.0)
}
