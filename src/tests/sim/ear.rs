//! A device that hears frames, not what an SDK makes of them: what is sent twice, or too late,
//! cannot hide behind a client that drops it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use damso::runtime::clock::Clock as _;
use damso_client::{ChannelNo, Key, Uid, UserNo};
use damso_proto::client::{ClientConn, Heard};
use damso_proto::wire;
use damso_proto::wire::standing::State;
use damso_proto::wire::system::What;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::spawn_local;
use tokio_rustls::TlsConnector;

use super::network::DeviceNo;
use super::story::Story;
use crate::raw;

/// See the module's text.
pub(crate) struct Ear {
    story: Rc<Story>,
    name: String,
    number: DeviceNo,
    user: Cell<u64>,
    resumed: Cell<bool>,
    heard: RefCell<BTreeMap<ChannelNo, Heards>>,
}

/// One channel, as it was heard.
#[derive(Default)]
struct Heards {
    seqs: Vec<u64>,
    /// What must come next. `None`: anything above what came, a stretch begins.
    next: Option<u64>,
    /// The last event that says that it is not this person's any more.
    gone_after: u64,
}

impl Ear {
    /// A device that begins to connect, and does so once.
    pub(crate) fn new(story: &Rc<Story>, name: &str) -> Rc<Self> {
        let ear = Rc::new(Self {
            story: story.clone(),
            name: name.to_owned(),
            number: story.device_no(),
            user: Cell::new(0),
            resumed: Cell::new(false),
            heard: RefCell::default(),
        });
        spawn_local(ear.clone().listen());
        ear
    }

    /// The same, once it hears what is live.
    pub(crate) async fn online(story: &Rc<Story>, name: &str) -> Rc<Self> {
        let ear = Self::new(story, name);
        let stuck = || name.to_owned();
        story.wait("a device comes online", || ear.resumed.get(), stuck).await;
        ear
    }

    pub(crate) fn uid(&self) -> Uid {
        Uid::parse(&self.name).expect("a uid")
    }

    pub(crate) fn user(&self) -> UserNo {
        UserNo::new(self.user.get())
    }

    /// The seqs of a channel, in the order in which they came.
    pub(crate) fn heard(&self, channel: ChannelNo) -> Vec<u64> {
        self.heard.borrow().get(&channel).map(|heard| heard.seqs.clone()).unwrap_or_default()
    }

    /// It resumed, and heard the channel's event at `last` or that the channel is gone.
    pub(crate) fn is_through(&self, channel: ChannelNo, last: u64) -> bool {
        let heard = self.heard.borrow();
        let through = |heard: &Heards| {
            heard.gone_after >= last || heard.seqs.last().is_some_and(|seq| *seq >= last)
        };
        self.resumed.get() && heard.get(&channel).is_none_or(through)
    }

    async fn listen(self: Rc<Self>) {
        let Ok(socket) = self.story.network.dial(self.number).await else { return };
        let tls = TlsConnector::from(Arc::new(raw::trusting(&[b"damso/1"])));
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let Ok(mut stream) = tls.connect(name, socket).await else { return };
        let string = self.story.string(&self.name);
        let hello = raw::hello(&string, &format!("ear-{}", self.number));
        let mut out = Vec::new();
        let clock = self.story.clock.clone();
        // It asks for a send that never was: the answer takes a look into the store, and gives
        // the world time to change between the two halves of a resume.
        let key = Key::new(clock.unix_ms(), [7; 10]).as_bytes().to_vec().into();
        let pending = vec![wire::PendingSend { channel: 2, key }];
        let resume = vec![wire::Resume { pending, ..Default::default() }];
        let mut conn = ClientConn::open(hello, resume, clock.now(), &mut out);
        let mut input = vec![0; 16 * 1024];
        loop {
            if stream.write_all(&out).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            out.clear();
            let Ok(length @ 1..) = stream.read(&mut input).await else { return };
            let mut bytes = &input[..length];
            while let Some(heard) = conn.next(&mut bytes, clock.now()).expect("the protocol") {
                match heard {
                    Heard::Ping(ping) => {
                        let mut pong = wire::ClientFrame::default();
                        let time_ms = clock.unix_ms();
                        pong.kind =
                            Some(wire::client_frame::Kind::Pong(wire::Pong { id: ping, time_ms }));
                        out.extend(raw::encode(&pong));
                    }
                    Heard::Welcome(welcome) => self.user.set(welcome.user),
                    Heard::Resumed { .. } => self.resumed.set(true),
                    Heard::Standing(standing) => self.stands(&standing),
                    Heard::Event(event) => self.event(&event.decode().expect("an event")),
                    _ => {}
                }
            }
        }
    }

    fn stands(&self, standing: &wire::Standing) {
        let mut all = self.heard.borrow_mut();
        let heard = all.entry(ChannelNo::new(standing.channel)).or_default();
        match standing.state() {
            // Its events follow, or none where the range is empty; live goes on behind it.
            State::New | State::Tail => {
                heard.next = Some(standing.from.min(standing.to + 1));
            }
            State::Behind => heard.next = Some(standing.to + 1),
            State::Gone => heard.gone_after = u64::MAX,
            _ => heard.next = None,
        }
    }

    fn event(&self, event: &wire::Event) {
        let (channel, seq) = (ChannelNo::new(event.channel), event.seq);
        let mut all = self.heard.borrow_mut();
        let heard = all.entry(channel).or_default();
        let last = heard.seqs.last().copied().unwrap_or(0);
        if seq <= last || heard.next.is_some_and(|next| next != seq) {
            let next = heard.next;
            let wrong = format!("{}: {channel}/{seq} after {last}, expected {next:?}", self.name);
            self.story.watch.borrow_mut().wrong(wrong);
        }
        heard.seqs.push(seq);
        // Behind one's own removal nothing follows; what comes then is of another membership.
        heard.next = Some(seq + 1);
        if let Some(left) = self.removes_me(event) {
            all.entry(left).or_default().next = None;
        }
    }

    /// The channel that is over for me with this event. Of a broadcast, my own log tells it.
    fn removes_me(&self, event: &wire::Event) -> Option<ChannelNo> {
        let Some(wire::event::Content::System(wire::System { what })) = &event.content else {
            return None;
        };
        match what {
            Some(What::MemberRemoved(removed)) if removed.member == self.user.get() => {
                Some(ChannelNo::new(event.channel))
            }
            Some(What::ChannelRemoved(removed)) => Some(ChannelNo::new(removed.channel)),
            _ => None,
        }
    }
}
