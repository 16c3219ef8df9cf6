//! Somebody who is let in and put out again and again: what was acknowledged of that stands,
//! whatever ends the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use damso_client::{Admission, ChannelNo, Client, Seq, Snapshot, State, Uid, UserNo};
use damso_loadtest::checker::ReceiverNo;

use super::crash_fleet::connect;
use super::crash_process::Installation;
use super::crash_world::PHASE_MAX;

/// Their devices' numbers, apart from those of everybody else.
const KEEPER: ReceiverNo = ReceiverNo(1 << 33);
const GUEST: ReceiverNo = ReceiverNo((1 << 33) + 1);
/// How soon a client looks whether the server is back.
const PATIENCE: Duration = Duration::from_millis(100);

/// Who lets the guest in and puts them out, on a thread of their own.
pub(crate) struct Doorkeeper {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Kept>,
}

/// What the keeper was told.
#[derive(Default)]
struct Kept {
    acknowledged: usize,
    /// A change is no event: several may stand at one seq.
    is_silent: bool,
    last: Seq,
    is_in: bool,
    /// Nobody knows whether the last command was carried out.
    is_unsure: bool,
    wrong: Vec<String>,
}

impl Doorkeeper {
    /// Both log in, and the keeper makes a group and a broadcast; then the guest comes and goes.
    pub(crate) fn start(installation: &Installation) -> Self {
        let [keeper, guest] = ["keeper", "guest"].map(|uid| installation.string(&uid_of(uid)));
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(keep(&keeper, &guest, &until))
        });
        Self { over, thread }
    }

    /// Ends it. Returns how many changes were acknowledged; every one of them must have stood.
    pub(crate) fn finish(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        let kept = self.thread.join().expect("the keeper does not panic");
        assert!(kept.wrong.is_empty(), "{}", kept.wrong.join("\n"));
        assert!(kept.acknowledged > 0, "nothing was acknowledged");
        kept.acknowledged
    }
}

fn uid_of(name: &str) -> String {
    format!("door-{name}")
}

async fn keep(keeper: &str, guest: &str, over: &AtomicBool) -> Kept {
    let (_, guest) = online(guest, GUEST).await;
    let (client, _) = online(keeper, KEEPER).await;
    let uid = Uid::parse(&uid_of("guest")).expect("a uid");
    let group = patiently(&client, client.create_group("door", &[])).await.expect("a group");
    let news = patiently(&client, client.create_broadcast("window", &[])).await;
    let mut doors = [group.channel, news.expect("a broadcast").channel]
        .map(|channel| (channel, Kept::default()));
    doors[1].1.is_silent = true;
    while !over.load(Ordering::Relaxed) {
        for (channel, kept) in &mut doors {
            come_or_go(&client, *channel, (guest, &uid), kept).await;
        }
    }
    let [(_, mut kept), (_, other)] = doors;
    kept.acknowledged = kept.acknowledged.min(other.acknowledged);
    kept.wrong.extend(other.wrong);
    kept
}

/// Looks whether the guest is where they were left, and lets them in or puts them out.
async fn come_or_go(
    client: &Client,
    channel: ChannelNo,
    (guest, uid): (UserNo, &Uid),
    kept: &mut Kept,
) {
    let members = patiently(client, client.members(channel)).await;
    if let Ok(members) = members {
        let is_there = members.iter().any(|member| member.user == guest);
        kept.sees(is_there);
    }
    let done = if kept.is_in {
        patiently(client, client.remove_member(channel, guest)).await
    } else {
        let added = client.add_members(channel, std::slice::from_ref(uid), Admission::default());
        patiently(client, added).await
    };
    match done {
        Ok(seq) => kept.acknowledged(seq),
        Err(damso_client::Error::Timeout) => kept.is_unsure = true,
        Err(error) => kept.wrong.push(format!("after {}: {error}", kept.last)),
    }
}

impl Kept {
    fn sees(&mut self, is_there: bool) {
        if is_there != self.is_in && !self.is_unsure {
            let was = if self.is_in { "added" } else { "removed" };
            let wrong = format!("the guest was {was} at {}, which did not last", self.last);
            self.wrong.push(wrong);
        }
    }

    fn acknowledged(&mut self, seq: Seq) {
        let behind = if self.is_silent { seq < self.last } else { seq <= self.last };
        if behind && !self.is_unsure {
            self.wrong.push(format!("a change behind {} stands at {seq}", self.last));
        }
        self.is_in = !self.is_in;
        self.is_unsure = false;
        self.last = self.last.max(seq);
        self.acknowledged += 1;
    }
}

async fn online(string: &str, device: ReceiverNo) -> (Client, UserNo) {
    let client = connect(string, device, Snapshot::default());
    let mut state = client.state();
    let online = state.wait_for(|state| *state == State::Online);
    let online = tokio::time::timeout(PHASE_MAX, patiently(&client, online)).await;
    online.expect("a login in time").expect("a state");
    let user = client.person().expect("who is online has a number").0;
    (client, user)
}

/// Waits for an answer; a client that would wait long for its next attempt is told to make it.
async fn patiently<T>(client: &Client, answer: impl Future<Output = T>) -> T {
    tokio::pin!(answer);
    loop {
        tokio::select! {
            answer = &mut answer => return answer,
            () = tokio::time::sleep(PATIENCE) => {}
        }
        // Copied out: the client cannot change its state while somebody looks at it.
        let state = client.state().borrow().clone();
        if matches!(state, State::Backoff { .. }) {
            client.network_changed();
        }
    }
}
