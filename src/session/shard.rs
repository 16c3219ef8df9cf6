//! A shard: its floors, its sessions, and the turn that everything else waits for.
//!
//! ```text
//! turn: mail in -> answers to sessions -> mail out -> flush (a budget) -> notices -> admission
//! ```
//!
//! A shard is a value: it runs on any current-thread executor with a local task set,
//! with sockets, clock, randomness and stores injected. All methods are called from
//! that one thread; no borrow is held across an await.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use damso_proto::code::CloseCode;
use damso_proto::server::{Due, ServerOptions};
use damso_proto::wire;
use damso_proto::wire::server_frame::Kind;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::login::Guest;
use super::metrics::{Kept, Metrics};
use super::reply;
use super::table::{Session, Table};
use super::token::Verifier;
use super::token_life::TokenLife;
use super::turnstile::Turnstile;
use crate::connections::{Notice, Ready, Received, Wire};
use crate::delivery::{Mail, Outcome};
use crate::model::limits;
use crate::requests::Floors;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::random::Random;
use crate::runtime::route::{ConnectionId, Route, ShardNo};

/// What a shard is told to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Heartbeat and limits of every connection's machine.
    pub conn: ServerOptions,
    /// Software and version, as Welcome names it.
    pub server: String,
    /// Further addresses that Welcome names.
    pub alternates: Vec<String>,
    /// Checks tokens that take the place of older ones.
    pub verifier: Arc<Verifier>,
}

/// See the module's text.
pub struct Shard {
    me: ShardNo,
    floors: Floors,
    options: Options,
    mailbox: Arc<Mailbox<Mail>>,
    sessions: RefCell<Table>,
    /// Plaintext of the connection that is being read, shared by all.
    plain: RefCell<Vec<u8>>,
    kicked: Notify,
    /// Admission: reading from connections that send has stopped.
    intake_closed: Cell<bool>,
    /// Nothing is read any more.
    draining: Cell<bool>,
    /// See [`Shard::parting`].
    parting: Cell<usize>,
    held_back: RefCell<Vec<Waker>>,
    /// Connections whose pause ended and whose machine may hold input from before it.
    unpaused: RefCell<Vec<ConnectionId>>,
    random: Arc<dyn Random>,
    turnstile: Turnstile,
    metrics: Metrics,
}

/// For whoever asks without a session.
impl AsRef<Floors> for Shard {
    fn as_ref(&self) -> &Floors {
        &self.floors
    }
}

impl Shard {
    /// A shard without sessions. See [`super::make`].
    pub(super) fn new(
        me: ShardNo,
        floors: Floors,
        mailbox: Arc<Mailbox<Mail>>,
        random: Arc<dyn Random>,
        options: Options,
    ) -> Rc<Self> {
        Rc::new(Self {
            me,
            floors,
            options,
            mailbox,
            sessions: RefCell::default(),
            plain: RefCell::default(),
            kicked: Notify::new(),
            intake_closed: Cell::new(false),
            draining: Cell::new(false),
            parting: Cell::new(0),
            held_back: RefCell::default(),
            unpaused: RefCell::default(),
            random,
            turnstile: Turnstile::new(me),
            metrics: Metrics::new(me),
        })
    }

    /// This shard's number.
    pub fn number(&self) -> ShardNo {
        self.me
    }

    /// The floors below.
    pub fn floors(&self) -> &Floors {
        &self.floors
    }

    /// How each connection's machine is made.
    pub fn conn_options(&self) -> ServerOptions {
        self.options.conn
    }

    /// What this shard is told to be.
    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// Where it takes chance from.
    pub(super) fn random(&self) -> &dyn Random {
        &*self.random
    }

    /// Sessions here.
    pub fn sessions(&self) -> usize {
        self.sessions.borrow().len()
    }

    /// Connections whose session is over, and whose client may still be reading the last frame.
    pub fn parting(&self) -> usize {
        self.parting.get()
    }

    /// Turns for ever: whenever mail comes, somebody kicks, or a heartbeat may be due.
    pub async fn run(self: Rc<Self>) {
        let mut due = tokio::time::interval(limits::TICK);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if self.turn() {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                biased;
                () = self.mailbox.arrived() => {}
                () = self.kicked.notified() => {}
                _ = due.tick() => self.tick(),
            }
        }
    }

    /// Asks for a turn.
    pub fn kick(&self) {
        self.kicked.notify_one();
    }

    /// Waits until a step of a login may be made: there is room for so many between two turns.
    pub async fn admit_step(&self) {
        self.turnstile.pass(|| self.kick()).await;
    }

    /// Takes a person in whose home this is, and welcomes them. The reading task is the caller's.
    pub fn adopt(self: &Rc<Self>, wire: Wire, guest: Guest) -> ConnectionId {
        let proof = if guest.is_told { guest.proof.0.to_vec() } else { Vec::new() };
        let Guest { user, login, address, token_expires_ms, mut conn, left, .. } = guest;
        let now = self.floors.clock.now();
        let id = self.floors.delivery.borrow_mut().connections.enter(wire, now);
        conn.accept(now);
        let session = Session {
            conn,
            user,
            device: login.device,
            address,
            since: now,
            token: TokenLife::new(&*self.floors.clock, token_expires_ms),
            is_over: false,
            resuming: Some(Box::default()),
            reader: None,
            bulk: Vec::new(),
            sends: false,
            in_flight: 0,
            pump: None,
        };
        self.sessions.borrow_mut().insert(id, session);
        self.metrics.opened();
        let mut welcome = self.welcome(user.get(), login.uid.as_str(), token_expires_ms);
        welcome.device_proof = proof.into();
        self.control(id, reply::unasked(Kind::Welcome(welcome)));
        self.hear(id, &left);
        self.kick();
        id
    }

    /// Whether the connection can be read or written. `None`: it is gone.
    pub fn poll_ready(&self, id: ConnectionId, context: &mut Context<'_>) -> Poll<Option<Ready>> {
        let delivery = self.floors.delivery.borrow();
        let connections = &delivery.connections;
        let mut sessions = self.sessions.borrow_mut();
        let Some(session) = sessions.get(id) else { return Poll::Ready(None) };
        let held_back = session.sends && self.intake_closed.get();
        let ours = held_back || self.draining.get() || connections.control_full(id);
        // While this end does not read, silence is not the client's.
        session.conn.hold(ours);
        let paused = ours || session.conn.is_paused();
        if paused {
            session.reader = Some(context.waker().clone());
            if held_back {
                self.held_back.borrow_mut().push(context.waker().clone());
            }
        }
        connections.poll_ready(id, !paused, context)
    }

    /// Reads what the connection has. `false`: it ended.
    pub fn read(self: &Rc<Self>, id: ConnectionId) -> bool {
        let mut plain = std::mem::take(&mut *self.plain.borrow_mut());
        plain.clear();
        let received = self.floors.delivery.borrow_mut().connections.receive(id, &mut plain);
        if !plain.is_empty() {
            self.metrics.received(plain.len());
            self.hear(id, &plain);
        }
        if plain.capacity() <= limits::SCRATCH_KEPT_BYTES {
            *self.plain.borrow_mut() = plain;
        }
        match received {
            Ok(Received::Some | Received::Blocked) => true,
            Ok(Received::End) => false,
            Err(error) => {
                self.metrics.closed("wire");
                tracing::debug!(%error, "a connection broke");
                false
            }
        }
    }

    /// The connection's socket takes bytes again.
    pub fn write(&self, id: ConnectionId) {
        let now = self.floors.clock.now();
        self.floors.delivery.borrow_mut().connections.writable(id, now);
        self.kick();
    }

    /// Takes the connection out of every table. Safe to call twice.
    pub fn end(self: &Rc<Self>, id: ConnectionId) {
        let Some(session) = self.sessions.borrow_mut().remove(id) else { return };
        let parting = self.floors.delivery.borrow_mut().depart(session.user, id);
        if let Some(wire) = parting {
            self.part(wire);
        }
        session.bulk.into_iter().chain(session.reader).for_each(Waker::wake);
        session.pump.inspect(AbortHandle::abort);
        self.metrics.ended();
    }

    /// Lets a client read its last frame, in a task of its own: the session is over.
    fn part(self: &Rc<Self>, wire: Wire) {
        let shard = self.clone();
        self.parting.set(self.parting.get() + 1);
        tokio::task::spawn_local(async move {
            // Whoever has not read it by then loses it.
            drop(tokio::time::timeout(limits::FAREWELL, wire.part()).await);
            shard.parting.set(shard.parting.get() - 1);
        });
    }

    /// Tells the client why, and ends the connection once that is written.
    pub fn close(&self, id: ConnectionId, code: CloseCode, after: Duration, text: &str) {
        self.close_with(id, code, reply::closing(code, after, text));
    }

    /// The same with a frame that is written already.
    pub(super) fn close_with(&self, id: ConnectionId, code: CloseCode, frame: bytes::Bytes) {
        self.metrics.closed(code.name());
        self.with_session(id, |session| session.is_over = true);
        self.floors.delivery.borrow_mut().connections.finish(id, frame);
        self.kick();
    }

    /// Names the task that reads for this connection; it ends with the session.
    pub fn seat(&self, id: ConnectionId, pump: AbortHandle) {
        match self.with_session(id, |session| session.pump = Some(pump.clone())) {
            Some(()) => {}
            None => pump.abort(),
        }
    }

    /// Reads nothing more from anybody: what was asked before is still answered.
    pub(super) fn stop_intake(&self) {
        self.draining.set(true);
    }

    /// No request waits for its answer.
    pub(super) fn is_quiet(&self) -> bool {
        self.sessions.borrow_mut().each().all(|(_, session)| session.in_flight == 0)
    }

    pub(super) fn close_unavailable(&self, id: ConnectionId) {
        let text = "the stores cannot answer now";
        self.close(id, CloseCode::Overloaded, limits::UNAVAILABLE_RETRY, text);
    }

    pub(super) fn with_session<R>(
        &self,
        id: ConnectionId,
        act: impl FnOnce(&mut Session) -> R,
    ) -> Option<R> {
        self.sessions.borrow_mut().get(id).map(act)
    }

    pub(super) fn sessions_mut(&self) -> RefMut<'_, Table> {
        self.sessions.borrow_mut()
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.options.verifier
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Puts a short frame into the control lane. Full: reading has stopped already.
    pub(super) fn control(&self, id: ConnectionId, frame: bytes::Bytes) {
        let full = self.floors.delivery.borrow_mut().connections.control(id, frame).is_err();
        if full {
            self.metrics.control_full();
            self.close(id, CloseCode::Slow, Duration::ZERO, "answers are not being read");
        }
    }

    /// A request was answered: it is in flight no more, and reading may go on. What came before
    /// the pause is heard in the next turn: not here, where a refusal's own answer leads back.
    pub(super) fn answered(&self, id: ConnectionId) {
        let waker = self.with_session(id, |session| {
            let was_paused = session.conn.is_paused();
            session.conn.answered();
            session.in_flight = session.in_flight.saturating_sub(1);
            if session.conn.is_paused() {
                return None;
            }
            if was_paused && session.conn.holds_input() {
                self.unpaused.borrow_mut().push(id);
            }
            session.reader.take()
        });
        if let Some(waker) = waker.flatten() {
            waker.wake();
        }
    }

    /// One turn. `true`: there is more to do at once.
    fn turn(self: &Rc<Self>) -> bool {
        let (answers, orders) = {
            let mut delivery = self.floors.delivery.borrow_mut();
            delivery.deliver();
            (delivery.take_answers(), delivery.take_orders())
        };
        orders.into_iter().for_each(|order| self.obey(order));
        for (route, outcome) in &answers {
            self.answer(*route, outcome);
        }
        for id in self.unpaused.take() {
            self.hear(id, &[]);
        }
        let now = self.floors.clock.now();
        let mut delivery = self.floors.delivery.borrow_mut();
        delivery.give_back(answers);
        delivery.send_off();
        let turn = delivery.connections.turn(now);
        let notices = delivery.connections.take_notices();
        let oldest = delivery.connections.oldest_unsent(now);
        drop(delivery);
        for notice in notices {
            self.notice(notice);
        }
        self.admit(oldest);
        self.metrics.turn(oldest);
        let logins_wait = self.turnstile.turned();
        turn.more || logins_wait
    }

    fn answer(&self, route: Route, outcome: &Outcome) {
        let Some(outcome) = self.floors.settle(route, outcome.clone()) else { return };
        let kind = match outcome {
            Ok(answer) => {
                self.metrics.acknowledged(&answer);
                reply::outcome(answer)
            }
            Err(refusal) => {
                self.metrics.refused(&refusal);
                reply::refusal(&refusal)
            }
        };
        self.control(route.connection, reply::answer(route.request, kind));
        self.answered(route.connection);
    }

    fn notice(self: &Rc<Self>, notice: Notice) {
        match notice {
            Notice::BulkFree(id) => {
                let wakers = self.with_session(id, |session| std::mem::take(&mut session.bulk));
                wakers.into_iter().flatten().for_each(Waker::wake);
            }
            Notice::ControlFree(id) => {
                let waker = self.with_session(id, |session| session.reader.take());
                waker.flatten().into_iter().for_each(Waker::wake);
            }
            Notice::Gone(id, why) => {
                self.metrics.closed(why.name());
                self.end(id);
            }
        }
    }

    /// Intake must not starve fan-out: while events wait too long, senders are not read.
    fn admit(&self, oldest: Duration) {
        let closed = oldest > limits::UNSENT_AGE_MAX;
        if self.intake_closed.replace(closed) && !closed {
            self.held_back.borrow_mut().drain(..).for_each(Waker::wake);
        }
        if closed {
            self.metrics.held_back();
        }
    }

    /// Heartbeats, silence and the ends of tokens, looked at a few times a second.
    fn tick(self: &Rc<Self>) {
        let now = self.floors.clock.now();
        let mut due: Vec<(ConnectionId, Due)> = Vec::new();
        let mut tokens = Vec::new();
        for (id, session) in self.sessions.borrow_mut().each() {
            let is_late = session.conn.poll_timeout() <= now;
            let what = is_late.then(|| session.conn.handle_timeout(now)).flatten();
            // Whoever is closed, or about to be, has no use for a word about their token.
            if !session.is_over && !matches!(what, Some(Due::Close(_))) {
                tokens.extend(session.token.due(now).map(|what| (id, what)));
            }
            due.extend(what.map(|what| (id, what)));
        }
        for (id, what) in due {
            match what {
                Due::Probe(ping) => {
                    let ping = wire::Ping { id: ping };
                    self.control(id, reply::unasked(Kind::Ping(ping)));
                }
                Due::Close(code) => self.close(id, code, Duration::ZERO, "nothing was heard"),
            }
        }
        for (id, what) in tokens {
            self.token_ends(id, what);
        }
        let (people, channels) = self.floors.delivery.borrow().counts();
        self.metrics.gauges(&Kept {
            sessions: self.sessions(),
            people,
            channels,
            budgets: self.floors.budgets.borrow_mut().kept(now),
            commands: self.floors.waiting(),
            mail: self.mailbox.len(),
            blocking: self.floors.door.waiting(),
            logins: self.turnstile.waiting(),
        });
    }

    fn hear(self: &Rc<Self>, id: ConnectionId, mut plain: &[u8]) {
        let now = self.floors.clock.now();
        loop {
            let said = self.with_session(id, |session| match session.is_over {
                true => Ok(None),
                false => session.conn.next(&mut plain, now),
            });
            match said {
                None | Some(Ok(None)) => return,
                Some(Ok(Some(said))) => self.said(id, said),
                Some(Err(fault)) => {
                    let code = fault.close_code();
                    return self.close(id, code, Duration::ZERO, &fault.to_string());
                }
            }
        }
    }
}
