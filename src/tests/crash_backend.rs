//! A backend that asks by HTTPS, whatever happens to the server: each request under a name of its
//! own, and under the same one again until it is answered.
//!
//! ```text
//! writers  messages of the service, and as people, into the fleet's rooms   -> the fleet's checker
//! door     people in, out, and other roles, in a room, a group, a broadcast -> as listed
//! maker    people and channels                                              -> as listed
//! ```
//!
//! What was answered once is asked again later, behind other ends of the server: the answer must be
//! the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use damso_client::{ChannelNo, Key, MessageId, Seq, Snapshot, UserNo};
use damso_loadtest::checker::{BodyHash, Observation, ReceiverNo, SessionNo};
use serde_json::{Value, json};

use super::backend::{Answer, Backend};
use super::crash_fleet::{Fleet, Room, connect, uid};
use super::crash_process::Installation;
use super::crash_world::{PHASE_MAX, World};
use super::raw::fresh_key;

/// Writers: an answer takes as long as a handshake and two commits.
const WRITERS: u64 = 4;
/// So much is asked whatever the time: each kind of request, by each worker that asks it.
const ROUNDS_MIN: usize = DOORS * GUESTS.len() * 3;
/// Channels whose members are changed.
const DOORS: usize = 3;
/// So many requests are answered before the server is ended again.
const FLOW: usize = 8;
/// A worker asks this often.
const PACE: Duration = Duration::from_millis(10);
/// How soon what was not answered is asked again.
const STEP: Duration = Duration::from_millis(20);
/// One answer in so many is asked for again at once.
const AGAIN_ONE_IN: usize = 4;
/// The newest answered requests are kept, and all of those asked again in the end.
const KEPT_MAX: usize = 40;
/// So many of them are asked again once the server is back.
const AGAIN_AFTER_END: usize = 3;
/// The sessions of writers begin here, and the host's device is this: apart from everybody else's.
const SESSIONS: u64 = 1 << 34;
const HOST_DEVICE: ReceiverNo = ReceiverNo(SESSIONS);
/// Who is in every channel that is made.
const HOST: &str = "api-host";
/// Who comes and goes.
const GUESTS: [&str; 4] = ["api-guest-0", "api-guest-1", "api-guest-2", "api-guest-3"];
const ROLES: [&str; 3] = ["member", "moderator", "reader"];

/// See the module's text. Its workers are threads.
pub(crate) struct Shop {
    over: Arc<AtomicBool>,
    /// Requests that were answered: counted by the workers, looked at by the test.
    answered: Arc<AtomicUsize>,
    writers: Vec<JoinHandle<Worker>>,
    door: JoinHandle<(Worker, Vec<Door>)>,
    maker: JoinHandle<(Worker, Made)>,
}

/// What it was answered, once it asks nothing more.
pub(crate) struct Ledger {
    writers: Vec<Worker>,
    doorkeeper: Worker,
    maker: Worker,
    doors: Vec<Door>,
    made: Made,
}

/// Something that is asked until it is answered.
#[derive(Clone)]
struct Request {
    name: String,
    method: &'static str,
    path: String,
    body: Value,
    /// Of a message: what the checker is told.
    sent: Option<Observation>,
}

/// One thread's.
struct Worker {
    backend: Backend,
    world: Arc<World>,
    kept: VecDeque<(Request, Value)>,
    /// There was no answer, so the server may have ended.
    saw_end: bool,
    all_answered: Arc<AtomicUsize>,
    answered: usize,
    /// Attempts beyond the first, until there was an answer.
    repeated: usize,
    /// Answers that were the same again.
    same: usize,
    wrong: Vec<String>,
}

/// A channel whose members are changed.
struct Door {
    channel: String,
    /// A change is no event: several may stand at one seq.
    is_silent: bool,
    last: u64,
    /// The guests, and their roles.
    inside: BTreeMap<&'static str, &'static str>,
}

/// What the maker made.
#[derive(Default)]
struct Made {
    people: usize,
    channels: BTreeSet<u64>,
    twice: Vec<u64>,
}

impl Shop {
    /// Makes the people and channels that it needs; then it asks until it is told to end.
    pub(crate) fn start(installation: &Installation, fleet: &Fleet) -> Self {
        let backend = installation.backend();
        for uid in GUESTS.iter().chain([&HOST]) {
            backend.put(&format!("/v1/users/{uid}"), &json!({})).done();
        }
        let channel = |key: &str, kind: &str| {
            let asked = json!({"name": key, "kind": kind, "owner": HOST});
            let made = backend.put(&format!("/v1/channels/{key}"), &asked).done();
            made["channel"].as_u64().expect("a number")
        };
        let [group, broadcast] = [channel("api:door", "group"), channel("api:window", "broadcast")];
        let door = |channel: u64, is_silent| Door::new(channel, is_silent);
        let room = fleet.rooms[0].channel.get();
        let mut doors: [Door; DOORS] =
            [door(room, false), door(group, false), door(broadcast, true)];
        let over = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let worker = || {
            let (backend, world) = (backend.clone(), fleet.world.clone());
            (Worker::new(backend, world, answered.clone()), over.clone())
        };
        let (rooms, users) = (fleet.rooms.clone(), fleet.users.clone());
        let writer = |number: u64| {
            let (mut writer, until) = worker();
            let (rooms, users) = (rooms.clone(), users.clone());
            thread::spawn(move || {
                rounds(&until, |round| writer.write(number, (&rooms, &users), round));
                writer
            })
        };
        let writers = (0..WRITERS).map(writer).collect();
        let (mut doorkeeper, until) = worker();
        let door = thread::spawn(move || {
            rounds(&until, |round| {
                let at = round % doors.len();
                doors[at].change(&mut doorkeeper, round);
            });
            (doorkeeper, doors.into())
        });
        let (mut maker, until) = worker();
        let maker = thread::spawn(move || {
            let mut made = Made { channels: BTreeSet::from([group, broadcast]), ..Made::default() };
            rounds(&until, |round| made.more(&mut maker, round));
            (maker, made)
        });
        Self { over, answered, writers, door, maker }
    }

    /// Waits until some requests were answered.
    pub(crate) fn flow(&self) {
        let (begun, before) = (Instant::now(), self.answered.load(Ordering::Relaxed));
        while self.answered.load(Ordering::Relaxed) < before + FLOW {
            assert!(begun.elapsed() < PHASE_MAX, "the backend has hardly any answers");
            thread::sleep(STEP);
        }
    }

    /// Nothing new is asked; what was is answered when this returns.
    pub(crate) fn settle(self) -> Ledger {
        self.over.store(true, Ordering::Relaxed);
        let writers = self.writers.into_iter();
        let writers = writers.map(|writer| writer.join().expect("writers do not panic")).collect();
        let (doorkeeper, doors) = self.door.join().expect("the doorkeeper does not panic");
        let (maker, made) = self.maker.join().expect("the maker does not panic");
        Ledger { writers, doorkeeper, maker, doors, made }
    }
}

impl Ledger {
    /// Compares all of it with what the server says now. Its figures in one line.
    pub(crate) fn judge(mut self, installation: &Installation) -> String {
        let Self { writers, doorkeeper, maker, .. } = &mut self;
        for worker in writers.iter_mut().chain([&mut *doorkeeper, maker]) {
            for (request, told) in std::mem::take(&mut worker.kept) {
                worker.again(&request, &told);
            }
        }
        // Behind the repetitions, which change nothing.
        self.doors.iter().for_each(|door| door.look(&mut self.doorkeeper));
        let Self { writers, doorkeeper, maker, made, .. } = self;
        let messages: usize = writers.iter().map(|writer| writer.answered).sum();
        let changes = doorkeeper.answered;
        let (mut repeated, mut same, mut wrong) = (0, 0, Vec::new());
        for worker in writers.into_iter().chain([doorkeeper, maker]) {
            repeated += worker.repeated;
            same += worker.same;
            wrong.extend(worker.wrong);
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let Made { people, channels, twice } = made;
        assert!(twice.is_empty(), "channels that were made for two requests: {twice:?}");
        let there = channels_of(&installation.string(HOST));
        assert_eq!(there, channels, "channels that there are, and that were answered");
        assert!(messages > 0 && changes > 0 && people > 0, "the backend was not answered");
        let channels = channels.len();
        format!(
            "backend: {messages} messages, {changes} of members, {people} people, {channels} \
             channels, {repeated} attempts again, {same} answers alike again"
        )
    }
}

impl Worker {
    fn new(backend: Backend, world: Arc<World>, all_answered: Arc<AtomicUsize>) -> Self {
        let (kept, wrong, saw_end) = (VecDeque::new(), Vec::new(), false);
        let (answered, repeated, same) = (0, 0, 0);
        Self { backend, world, kept, saw_end, all_answered, answered, repeated, same, wrong }
    }

    /// Sends one message, as the service or as one of a room's people.
    fn write(&mut self, number: u64, (rooms, users): (&[Room], &[UserNo]), round: usize) {
        let room = &rooms[round % rooms.len()];
        let author = (!round.is_multiple_of(3)).then(|| room.members[round % room.members.len()]);
        let text = format!("api {number} {round}");
        let mut body = json!({ "text": text });
        if let Some(author) = author {
            body["as"] = json!(uid(author));
        }
        let sent = Observation::Sent {
            sender: author.map_or(UserNo::new(0), |author| users[author]),
            session: SessionNo(SESSIONS + number),
            channel: room.channel,
            key: fresh_key(),
            body: BodyHash::of_text(&text),
        };
        let path = format!("/v1/channels/{}/messages", room.channel);
        let request = Request { sent: Some(sent), ..Request::new("POST", path, body) };
        self.done(request);
    }

    /// Asks until it is answered; what is answered with.
    fn done(&mut self, request: Request) -> Option<Value> {
        let told = self.ask(&request)?;
        self.answered += 1;
        self.all_answered.fetch_add(1, Ordering::Relaxed);
        if std::mem::take(&mut self.saw_end) {
            let newest: Vec<_> = self.kept.iter().rev().take(AGAIN_AFTER_END).cloned().collect();
            newest.iter().for_each(|(request, told)| self.again(request, told));
        }
        if self.answered.is_multiple_of(AGAIN_ONE_IN) {
            self.again(&request, &told);
        }
        self.kept.push_back((request, told.clone()));
        if self.kept.len() > KEPT_MAX {
            self.kept.pop_front();
        }
        Some(told)
    }

    /// Asks what was answered before: it must be answered as it was.
    fn again(&mut self, request: &Request, told: &Value) {
        match self.ask(request) {
            Some(now) if now == *told => self.same += 1,
            Some(now) => self.wrong.push(format!("{request:?}: first {told}, then {now}")),
            None => {}
        }
    }

    /// `None`: it was refused, which is noted as wrong.
    fn ask(&mut self, request: &Request) -> Option<Value> {
        let answer = self.answer(request)?;
        if !matches!(answer.status, 200 | 201) {
            self.wrong.push(format!("{request:?}: {answer:?}"));
            return None;
        }
        let Answer { status, mut body, .. } = answer;
        if let Some(Observation::Sent { channel, key, .. }) = request.sent {
            self.acked(channel, key, &body);
        }
        // All else is the same when it comes again; and what a channel is now is no part of that.
        for passing in ["duplicate", "head", "members", "version"] {
            body.as_object_mut().map(|body| body.remove(passing));
        }
        body["status"] = json!(status);
        Some(body)
    }

    fn answer(&mut self, request: &Request) -> Option<Answer> {
        let Request { name, method, path, body, sent } = request;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let until = Instant::now() + PHASE_MAX;
        let mut attempts = 0;
        while Instant::now() < until {
            if let Some(sent) = sent {
                self.world.lock().checker.observe(*sent);
            }
            self.repeated += usize::from(attempts > 0);
            attempts += 1;
            match self.backend.try_ask(method, path, name, &body) {
                Ok(answer) if answer.status != 503 => return Some(answer),
                Ok(_) => {}
                Err(_) => self.saw_end = true,
            }
            thread::sleep(STEP);
        }
        self.wrong.push(format!("{request:?}: no answer after {attempts} attempts"));
        None
    }

    fn acked(&mut self, channel: ChannelNo, key: Key, told: &Value) {
        let seq = told["seq"].as_u64().map(Seq::new);
        let id = told["id"].as_str().and_then(|id| id.parse().ok()).map(MessageId::new);
        let duplicate = told["duplicate"].as_bool();
        match (seq, id, duplicate) {
            (Some(seq), Some(id), Some(duplicate)) => {
                let acked = Observation::Acked { key, channel, seq, id, duplicate };
                self.world.lock().checker.observe(acked);
            }
            _ => self.wrong.push(format!("no answer to a message: {told}")),
        }
    }
}

impl Request {
    fn new(method: &'static str, path: String, body: Value) -> Self {
        // Keys of the test are different each time, which is all that a name must be.
        let name = format!("{:?}", fresh_key());
        Self { name, method, path, body, sent: None }
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {} ({})", self.method, self.path, self.body, self.name)
    }
}

impl Door {
    fn new(channel: u64, is_silent: bool) -> Self {
        let channel = format!("/v1/channels/{channel}/members");
        Self { channel, is_silent, last: 0, inside: BTreeMap::new() }
    }

    /// Lets a guest in, gives them another role or puts them out, whichever is due; then looks.
    fn change(&mut self, worker: &mut Worker, round: usize) {
        let guest = GUESTS[round / DOORS % GUESTS.len()];
        let is_last = round / (DOORS * GUESTS.len()) % 3 == 2;
        let one = format!("{}/{guest}", self.channel);
        let role_now = self.inside.get(guest).copied();
        let (request, role) = match role_now {
            None => {
                let role = ROLES[round % 2];
                let body = json!({"uids": [guest], "role": role});
                (Request::new("POST", self.channel.clone(), body), Some(role))
            }
            Some(role) if !is_last => {
                let at = ROLES.iter().position(|other| *other == role).unwrap_or_default();
                let role = ROLES[(at + 1) % ROLES.len()];
                (Request::new("PUT", one, json!({ "role": role })), Some(role))
            }
            Some(_) => (Request::new("DELETE", one, Value::Null), None),
        };
        let shown = format!("{request:?}");
        let Some(told) = worker.done(request) else { return };
        match role {
            Some(role) => self.inside.insert(guest, role),
            None => self.inside.remove(guest),
        };
        let seq = told["seq"].as_u64().unwrap_or_default();
        let behind = if self.is_silent { seq < self.last } else { seq <= self.last };
        if behind {
            worker.wrong.push(format!("{shown} stands at {seq}, behind {}", self.last));
        }
        self.last = self.last.max(seq);
        self.look(worker);
    }

    /// The guests are where the last answered change left them.
    fn look(&self, worker: &mut Worker) {
        let request = Request::new("GET", self.channel.clone(), Value::Null);
        let Some(Answer { body, .. }) = worker.answer(&request) else { return };
        let listed = body["members"].as_array().cloned().unwrap_or_default();
        let listed: BTreeMap<_, _> = listed
            .iter()
            .filter_map(|member| Some((member["uid"].as_str()?, member["role"].as_str()?)))
            .filter(|(uid, _)| GUESTS.contains(uid))
            .collect();
        let expected: BTreeMap<_, _> =
            self.inside.iter().map(|(uid, role)| (*uid, *role)).collect();
        if listed != expected {
            let wrong = format!("{}: {listed:?}, but last answered was {expected:?}", self.channel);
            worker.wrong.push(wrong);
        }
    }
}

impl Made {
    /// Makes a person, and a channel with them: of its own, by a key, or between two.
    fn more(&mut self, worker: &mut Worker, round: usize) {
        let uid = format!("api-person-{round}");
        let path = format!("/v1/users/{uid}");
        let noted = json!({"custom": {"round": round.to_string()}});
        if worker.done(Request::new("PUT", path, noted)).is_none() {
            return;
        }
        self.people += 1;
        let any = || "/v1/channels".to_owned();
        let request = match round % 3 {
            0 => Request::new("POST", any(), json!({"name": uid, "members": [HOST, uid]})),
            1 => {
                let path = format!("/v1/channels/api:{round}");
                Request::new("PUT", path, json!({"name": uid, "owner": HOST, "members": [uid]}))
            }
            _ => Request::new("POST", any(), json!({"kind": "direct", "members": [HOST, uid]})),
        };
        let Some(told) = worker.done(request) else { return };
        let channel = told["channel"].as_u64().unwrap_or_default();
        if told["status"] != 201 || !self.channels.insert(channel) {
            self.twice.push(channel);
        }
    }
}

fn rounds(over: &AtomicBool, mut round: impl FnMut(usize)) {
    for number in 0.. {
        if number >= ROUNDS_MIN && over.load(Ordering::Relaxed) {
            return;
        }
        round(number);
        thread::sleep(PACE);
    }
}

/// Everything that a person is in.
fn channels_of(string: &str) -> BTreeSet<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let listed = runtime.expect("a runtime").block_on(async {
        let client = connect(string, HOST_DEVICE, Snapshot::default());
        tokio::time::timeout(PHASE_MAX, client.channels()).await.expect("a list in time")
    });
    let listed = listed.expect("a list of channels");
    listed.into_iter().map(|channel| channel.channel.get()).collect()
}
