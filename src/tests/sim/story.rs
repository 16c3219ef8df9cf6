//! One seed, played from its beginning to the verdict.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use damso::runtime::clock::Clock as _;
use damso::runtime::random::SeededRandom;
use damso::session::token::{Issuer, Verifier};
use damso::store::directory::{self, Sqlite};
use damso::store::memory::{InFlight, MemoryDisk};
use damso::transport::{Tls, certificate};
use damso_client::{ChannelKind, ChannelNo, Role, Seq, Uid};
use damso_loadtest::checker::{Observation, Verdict};
use damso_proto::address::{ConnectionString, Token};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::clock::SimClock;
use super::device::Device;
use super::dice::Dice;
use super::network::{DeviceNo, Network};
use super::server::Server;
use super::watch::Watch;
use crate::crash::cycles;

/// What takes longer, once nothing fails any more, never ends.
const SETTLE_MAX: Duration = Duration::from_secs(1_800);
/// How often it is looked whether everything has settled.
const LOOK: Duration = Duration::from_millis(20);
/// A token outlives every simulation.
const TOKEN_TIME: Duration = Duration::from_hours(24 * 365);

/// How the store remembers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Memory {
    /// As it must.
    Sound,
    /// Without keys: duplicates must be noticed.
    Forgetful,
    /// One append in so many ends in a conflict or an unknown outcome.
    Unlucky {
        /// In how many.
        one_in: u64,
    },
}

/// The server's identity: made once, for all stories.
pub(crate) struct Identity {
    pub(crate) tls: Tls,
    pub(crate) verifier: Arc<Verifier>,
    issuer: Issuer,
}

/// See the module's text.
pub(crate) struct Story {
    pub(crate) dice: Dice,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) random: Arc<SeededRandom>,
    pub(crate) network: Arc<Network>,
    pub(crate) disk: MemoryDisk,
    pub(crate) directory: Arc<Sqlite>,
    pub(crate) memory: Memory,
    pub(crate) watch: RefCell<Watch>,
    pub(crate) rooms: RefCell<Vec<Room>>,
    server: RefCell<Option<Server>>,
    next_device: Cell<DeviceNo>,
    /// Commands that nobody waits for, and that are not answered.
    commands: Cell<u32>,
    /// The process dies where the next commit would be, and leaves this of it.
    death: Cell<Option<InFlight>>,
    died: Notify,
}

/// A channel, who is in it for good, and who reads it in the end.
#[derive(Clone)]
pub(crate) struct Room {
    pub(crate) channel: ChannelNo,
    pub(crate) members: Vec<Rc<Device>>,
}

/// What came of a story.
pub(crate) struct End {
    pub(crate) seed: u64,
    pub(crate) verdict: Verdict,
    /// What the checker has no law for.
    pub(crate) wrong: Vec<String>,
    /// Stands for everything that anybody saw, and when.
    pub(crate) trace: u64,
    /// How long it took, in its own time.
    pub(crate) lasted: Duration,
}

/// Plays `scenario` with a server that serves, then lets everything settle and reads it back.
pub(crate) fn play<F, T>(seed: u64, memory: Memory, scenario: F) -> End
where
    F: FnOnce(Rc<Story>) -> T,
    T: Future<Output = ()>,
{
    let _naming = Naming(seed);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let story = Story::new(seed, memory);
        story.start();
        scenario(story.clone()).await;
        story.settle().await;
        story.end()
    })
}

/// The seeds of a scenario: `few` of them, ten times as many where `DAMSO_TESTS=full`, or what
/// the environment asks for.
pub(crate) fn seeds(few: u64) -> impl Iterator<Item = u64> {
    let few = usize::try_from(few).expect("few");
    let rounds = cycles("DAMSO_SIM_ROUNDS", 1, 10);
    let one = std::env::var("DAMSO_SIM_SEED");
    let one = one.map(|seed| seed.parse().expect("DAMSO_SIM_SEED: a number"));
    one.map_or(1..1 + (few * rounds) as u64, |seed: u64| seed..seed + 1)
}

/// Names the seed of a story that panics.
struct Naming(u64);

impl Drop for Naming {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("simulation: again with DAMSO_SIM_SEED={}", self.0);
        }
    }
}

impl Story {
    fn new(seed: u64, memory: Memory) -> Rc<Self> {
        let dice = Dice::new(seed);
        let random = Arc::new(SeededRandom::new(dice.number()));
        let directory = Sqlite::in_memory(directory::Options::default(), random.clone());
        Rc::new(Self {
            clock: Arc::new(SimClock::new()),
            random,
            network: Arc::new(Network::new(dice.another())),
            disk: MemoryDisk::default(),
            directory: Arc::new(directory.expect("a directory in memory")),
            memory,
            watch: RefCell::new(Watch::new(seed)),
            rooms: RefCell::default(),
            server: RefCell::default(),
            next_device: Cell::new(1),
            commands: Cell::new(0),
            death: Cell::new(None),
            died: Notify::new(),
            dice,
        })
    }

    /// Starts the server, on what its disk has.
    pub(crate) fn start(self: &Rc<Self>) {
        let server = Server::start(self);
        assert!(self.server.borrow_mut().replace(server).is_none(), "it serves already");
    }

    /// Whether the server serves.
    pub(crate) fn serves(&self) -> bool {
        self.server.borrow().is_some()
    }

    /// Kills the server: its connections end, and say no goodbye.
    pub(crate) fn kill(&self, in_flight: InFlight) {
        self.network.close();
        if let Some(server) = self.server.take() {
            server.kill(in_flight);
        }
    }

    /// The same, and the network's buffers are lost, too.
    pub(crate) fn cut_power(&self, in_flight: InFlight) {
        self.network.cut_all();
        self.kill(in_flight);
    }

    /// Kills the server where its next commit would be: before it, or between it and the
    /// acknowledgements.
    pub(crate) async fn kill_at_commit(&self, in_flight: InFlight) {
        self.death.set(Some(in_flight));
        self.died.notified().await;
        self.kill(in_flight);
    }

    pub(super) fn take_death(&self) -> Option<InFlight> {
        self.death.take()
    }

    pub(super) fn has_died(&self) {
        self.died.notify_one();
    }

    /// Stops the server as SIGTERM does.
    pub(crate) async fn drain(&self) {
        self.network.close();
        let server = self.server.take();
        if let Some(server) = server {
            server.drain().await;
        }
    }

    /// Gives a command that nobody waits for; before the end it must be answered.
    pub(crate) fn command(self: &Rc<Self>, command: impl Future<Output = ()> + 'static) {
        let story = self.clone();
        self.commands.set(self.commands.get() + 1);
        tokio::task::spawn_local(async move {
            command.await;
            story.commands.set(story.commands.get() - 1);
        });
    }

    /// A number for a device.
    pub(crate) fn device_no(&self) -> DeviceNo {
        self.next_device.replace(self.next_device.get() + 1)
    }

    /// How a person reaches the server.
    pub(crate) fn string(&self, uid: &str) -> ConnectionString {
        let identity = identity();
        let uid = Uid::parse(uid).expect("a uid");
        // Whoever issues tokens has a clock of their own. Together the two would be off by more
        // than is borne, and tokens from the future are not taken.
        let token = identity.issuer.issue(&uid, TOKEN_TIME, self.clock.elsewhere_unix_ms());
        let mut string = ConnectionString::new("127.0.0.1", 7443).expect("an address");
        string.pin = Some(identity.tls.pin().parse().expect("a pin"));
        string.token = Some(Token::new(token.as_str()).expect("a token"));
        string
    }

    /// Makes a group of these devices' persons, or a broadcast in which all of them write; the
    /// first is its owner.
    pub(crate) async fn room(&self, members: &[Rc<Device>]) -> Room {
        let kind = if self.dice.one_in(2) { ChannelKind::Broadcast } else { ChannelKind::Group };
        self.room_of(kind, members).await
    }

    /// The same, of a kind.
    pub(crate) async fn room_of(&self, kind: ChannelKind, members: &[Rc<Device>]) -> Room {
        let others: Vec<_> = members[1..].iter().map(|device| device.uid()).collect();
        let owner = members[0].client();
        let made = match kind {
            ChannelKind::Broadcast => owner.create_broadcast("room", &others).await,
            _ => owner.create_group("room", &others).await,
        };
        let made = made.expect("a channel");
        for device in members[1..].iter().filter(|_| kind == ChannelKind::Broadcast) {
            // There may be two devices of one person.
            let given = owner.set_role(made.channel, device.user(), Role::Member).await;
            given.expect("a role");
        }
        let room = Room { channel: made.channel, members: members.to_vec() };
        for device in members {
            let (receiver, channel) = (device.receiver(), made.channel);
            let from = Seq::new(1);
            self.watch.borrow_mut().observe(Observation::MustStart { receiver, channel, from });
        }
        self.rooms.borrow_mut().push(room.clone());
        room
    }

    /// Nothing fails any more: everything is answered, everybody has everything, and history
    /// is read back.
    async fn settle(self: &Rc<Self>) {
        self.network.heal();
        if !self.serves() {
            self.start();
        }
        let stuck = || {
            let watch = self.watch.borrow();
            format!("{} commands, and {:?}", self.commands.get(), watch.unanswered())
        };
        // A command that came later could change what was read back already.
        let quiet = || self.commands.get() == 0 && self.watch.borrow().unanswered().is_empty();
        self.wait("everything is answered", quiet, stuck).await;
        let rooms = self.rooms.borrow().clone();
        let mut heads = BTreeMap::new();
        for room in &rooms {
            // A device that begins anew, of somebody who sees all of it.
            let reader = Device::new(self, room.members[0].name());
            heads.insert(room.channel, reader.read_back(room.channel).await);
        }
        for room in &rooms {
            for device in &room.members {
                let (channel, seq) = (room.channel, heads[&room.channel]);
                let came = || device.reached(channel) >= seq;
                let stuck = || format!("{} has {}", device.name(), device.reached(channel));
                self.wait(&format!("channel {channel} reaches {seq}"), came, stuck).await;
                let receiver = device.receiver();
                let must = Observation::MustReach { receiver, channel, seq };
                self.watch.borrow_mut().observe(must);
            }
        }
    }

    /// Waits until `is_so`; what never becomes so is wrong.
    pub(crate) async fn wait(
        &self,
        what: &str,
        is_so: impl Fn() -> bool,
        stuck: impl Fn() -> String,
    ) {
        let looking = async {
            while !is_so() {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(SETTLE_MAX, looking).await.is_err() {
            let never = format!("never: {what}; {}", stuck());
            self.watch.borrow_mut().wrong(never);
        }
    }

    fn end(self: &Rc<Self>) -> End {
        self.kill(InFlight::Vanish);
        // They hold the story, and it holds them.
        self.rooms.borrow_mut().clear();
        let watch = self.watch.replace(Watch::new(0));
        let lasted = self.clock.now().since(damso_proto::time::Moment::default());
        watch.end(lasted)
    }
}

impl End {
    /// Fails unless every promise was kept and something was looked at.
    pub(crate) fn must_be_clean(&self) {
        let _naming = Naming(self.seed);
        let Self { verdict, wrong, .. } = self;
        assert!(verdict.passed() && wrong.is_empty(), "{verdict}\n{}", wrong.join("\n"));
        let counts = verdict.counts;
        assert!(counts.acked > 0 && counts.received >= counts.acked, "nothing was looked at");
        assert_eq!((counts.unanswered, counts.channels_unread), (0, 0), "{verdict}");
    }
}

/// Made once: a key pair takes longer than a short story. Ed25519 throughout, whose
/// signatures all have one length: what is cut at a byte is cut at the same byte again.
pub(crate) fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let directory = tempfile::TempDir::new().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let names = vec!["127.0.0.1".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).expect("a name");
        params.serial_number = Some(7_u64.into());
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(path("chain"), certificate.pem()).expect("a file");
        std::fs::write(path("key"), key.serialize_pem()).expect("a file");
        let read = certificate::load(&path("chain"), &path("key")).expect("a certificate");
        let tls = Tls::new(read).expect("TLS");
        let issuer = Issuer::open_or_make(&path("token-key")).expect("an issuer");
        let verifier = Arc::new(Verifier::new(vec![issuer.verifying_key()]));
        Identity { tls, verifier, issuer }
    })
}
