//! A person at the chat: their channels, what they ask for, what comes in.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use damso_client::{
    Admission, Channel, ChannelKind, ChannelNo, Client, Content, Draft, Error, Event, Position,
    Role, SendHandle, Seq, State, System, Uid, Update, UserNo,
};
use serde_json::json;
use tokio::time::timeout;

use crate::command::{Command, HELP};
use crate::names::People;
use crate::render::{Names as _, event_json, event_line, role_text};
use crate::screen::Screen;

/// Updates that are shown at once.
const BATCH: usize = 256;

/// What comes in is shown without names rather than later than this.
const LOOKUP_LIMIT: Duration = Duration::from_secs(3);

/// The chat of one person.
pub(crate) struct Chat {
    client: Client,
    pub(crate) screen: Screen,
    people: People,
    /// As `/channels` numbered them.
    channels: Vec<Channel>,
    current: Option<ChannelNo>,
    /// Messages on their way, oldest first.
    unsent: VecDeque<SendHandle>,
    /// Something that was asked for did not succeed.
    pub(crate) has_failed: bool,
}

impl Chat {
    pub(crate) fn new(client: Client, screen: Screen) -> Self {
        Self {
            client,
            screen,
            people: People::default(),
            channels: Vec::new(),
            current: None,
            unsent: VecDeque::new(),
            has_failed: false,
        }
    }

    /// Logged in for the first time: says who this is, and learns what is theirs.
    pub(crate) async fn begin(&mut self) -> Result<(), Error> {
        if let Some((user, uid)) = self.client.person() {
            self.people.remember(user, &uid);
            let uid = self.people.of(user);
            self.screen.line(
                &format!("* logged in as {uid}; /help lists the commands"),
                || json!({"type": "login", "uid": uid}),
            );
        }
        self.load_channels().await
    }

    /// Does what a line of input asks for.
    pub(crate) async fn line(&mut self, line: &str) -> Continue {
        let command = match Command::parse(line) {
            Ok(Command::Quit) => return Continue::No,
            Ok(command) => command,
            Err(usage) => {
                self.fail(usage);
                return Continue::Yes;
            }
        };
        if let Err(problem) = self.carry_out(command).await {
            self.fail(&problem);
        }
        self.prompt();
        Continue::Yes
    }

    pub(crate) fn fail(&mut self, problem: &str) {
        self.has_failed = true;
        self.screen.error(problem);
    }

    async fn carry_out(&mut self, command: Command) -> Result<(), String> {
        match command {
            Command::Nothing | Command::Quit => Ok(()),
            Command::Say(text) => self.say(text),
            Command::Channels => self.list_channels().await.map_err(told),
            Command::Direct(uid) => self.direct(&uid).await,
            Command::Group { name, uids } => {
                let channel = self.client.create_group(&name, &uids).await.map_err(told)?;
                self.enter(channel).await;
                Ok(())
            }
            Command::Broadcast { name, uids } => {
                let channel = self.client.create_broadcast(&name, &uids).await.map_err(told)?;
                self.enter(channel).await;
                Ok(())
            }
            Command::Switch(number) => {
                let found = self.channels.get(number - 1).cloned();
                let channel = found.ok_or("there is no such number; /channels lists them")?;
                self.enter(channel).await;
                Ok(())
            }
            Command::Rename(name) => {
                let seq = self.client.rename(self.here()?, &name).await.map_err(told)?;
                self.done(seq, "that is its name already");
                Ok(())
            }
            Command::Add(uid) => self.add(&uid).await,
            Command::Remove(uid) => self.remove(&uid).await,
            Command::Role { uid, role } => self.set_role(&uid, role).await,
            Command::Mute { uid, minutes } => self.mute(&uid, minutes).await,
            Command::Ban(uid) => {
                let (channel, user) = (self.here()?, self.who(&uid).await?);
                self.client.ban(channel, user, None).await.map_err(told).map(drop)
            }
            Command::Unban(uid) => {
                let (channel, user) = (self.here()?, self.who(&uid).await?);
                self.client.lift_ban(channel, user).await.map_err(told)
            }
            Command::Block(uid) => {
                let user = self.who(&uid).await?;
                self.client.block(user).await.map_err(told).map(drop)
            }
            Command::Unblock(uid) => {
                let user = self.who(&uid).await?;
                self.client.unblock(user).await.map_err(told)
            }
            Command::Blocks => self.list_blocks().await.map_err(told),
            Command::Leave => self.leave().await,
            Command::Members => self.members().await,
            Command::History(rows) => self.history(rows).await,
            Command::State => {
                let state = self.client.state().borrow().clone();
                let (state, unsent) = (state_text(&state), self.client.unsent_count());
                self.screen.line(
                    &format!("* {state}; {unsent} unsent"),
                    || json!({"type": "state", "state": state, "unsent": unsent}),
                );
                Ok(())
            }
            Command::Help => {
                HELP.lines().for_each(|line| {
                    self.screen.line(line, || json!({"type": "help", "text": line}));
                });
                Ok(())
            }
        }
    }

    fn here(&self) -> Result<ChannelNo, String> {
        self.current.ok_or_else(|| {
            "no channel is chosen: /direct UID, or /channels and then /switch N".into()
        })
    }

    fn say(&mut self, text: String) -> Result<(), String> {
        let handle = self.client.send(self.here()?, Draft::text(text)).map_err(told)?;
        self.unsent.push_back(handle);
        Ok(())
    }

    pub(crate) async fn direct(&mut self, uid: &Uid) -> Result<(), String> {
        let channel = self.client.open_direct(uid).await.map_err(told)?;
        if let Some(peer) = channel.peer {
            self.people.remember(peer, uid.as_str());
        }
        self.enter(channel).await;
        Ok(())
    }

    async fn enter(&mut self, channel: Channel) {
        let number = channel.channel;
        self.current = Some(number);
        self.people.meet(&self.client, channel.peer.into_iter()).await;
        self.keep(channel);
        let name = self.name_of(number);
        self.screen.line(
            &format!("* now in {name}"),
            || json!({"type": "entered", "channel": number.get(), "name": name}),
        );
    }

    fn keep(&mut self, channel: Channel) {
        match self.channels.iter_mut().find(|known| known.channel == channel.channel) {
            Some(known) => *known = channel,
            None => self.channels.push(channel),
        }
    }

    fn name_of(&self, number: ChannelNo) -> String {
        let known = self.channels.iter().find(|known| known.channel == number);
        known.map_or_else(|| "a new channel".into(), |channel| self.people.channel(channel))
    }

    async fn load_channels(&mut self) -> Result<(), Error> {
        self.channels = self.client.channels().await?;
        let peers: Vec<_> = self.channels.iter().filter_map(|channel| channel.peer).collect();
        self.people.meet(&self.client, peers.into_iter()).await;
        Ok(())
    }

    async fn list_channels(&mut self) -> Result<(), Error> {
        self.load_channels().await?;
        if self.channels.is_empty() {
            self.screen.note("no channels yet: /direct UID or /group NAME UID...");
        }
        for (at, channel) in self.channels.iter().enumerate() {
            let name = self.people.channel(channel);
            let kind = match channel.kind {
                ChannelKind::Direct => "direct",
                ChannelKind::Group => "group",
                ChannelKind::Broadcast => "broadcast",
                ChannelKind::Other => "other",
            };
            let here = if self.current == Some(channel.channel) { " *" } else { "" };
            self.screen.line(&format!("{:>3}  {kind:<9}  {name}{here}", at + 1), || {
                json!({
                    "type": "channel", "number": at + 1, "channel": channel.channel.get(),
                    "kind": kind, "name": name, "role": role_text(channel.role),
                    "head": channel.head.get(), "members": channel.members,
                })
            });
        }
        Ok(())
    }

    async fn add(&mut self, uid: &Uid) -> Result<(), String> {
        let (channel, uids) = (self.here()?, std::slice::from_ref(uid));
        let added = self.client.add_members(channel, uids, Admission::default());
        let seq = added.await.map_err(told)?;
        self.done(seq, "they are in this channel already");
        Ok(())
    }

    async fn remove(&mut self, uid: &Uid) -> Result<(), String> {
        let channel = self.here()?;
        let user = self.who(uid).await?;
        let seq = self.client.remove_member(channel, user).await.map_err(told)?;
        self.done(seq, "they are not in this channel");
        Ok(())
    }

    async fn set_role(&mut self, uid: &Uid, role: Role) -> Result<(), String> {
        let channel = self.here()?;
        let user = self.who(uid).await?;
        let seq = self.client.set_role(channel, user, role).await.map_err(told)?;
        self.done(seq, "they are that already");
        Ok(())
    }

    async fn mute(&mut self, uid: &Uid, minutes: u32) -> Result<(), String> {
        let (channel, user) = (self.here()?, self.who(uid).await?);
        let until_ms = match minutes {
            0 => 0,
            minutes => now_ms() + u64::from(minutes) * 60_000,
        };
        let seq = self.client.mute(channel, user, until_ms).await.map_err(told)?;
        self.done(seq, "it is so already");
        Ok(())
    }

    async fn who(&self, uid: &Uid) -> Result<UserNo, String> {
        let found = self.client.people(&[], std::slice::from_ref(uid)).await.map_err(told)?;
        found.first().map(|person| person.user).ok_or_else(|| "there is no such person".into())
    }

    async fn list_blocks(&mut self) -> Result<(), Error> {
        let blocks = self.client.blocks().await?;
        if blocks.is_empty() {
            self.screen.note("you block nobody");
        }
        for blocked in blocks {
            self.people.remember(blocked.user, blocked.uid.as_str());
            let name = self.people.of(blocked.user);
            self.screen.line(&name, || json!({"type": "blocked", "uid": name}));
        }
        Ok(())
    }

    async fn leave(&mut self) -> Result<(), String> {
        let channel = self.here()?;
        self.client.leave(channel).await.map_err(told)?;
        self.forget(channel);
        Ok(())
    }

    fn done(&mut self, seq: Seq, nothing: &str) {
        if seq == Seq::ZERO {
            self.screen.note(nothing);
        }
    }

    async fn members(&mut self) -> Result<(), String> {
        for member in self.client.members(self.here()?).await.map_err(told)? {
            self.people.remember(member.user, member.uid.as_str());
            let name = self.people.of(member.user);
            let role = role_text(member.role);
            let note = if member.role == Role::Member { "" } else { &format!(" ({role})") };
            self.screen.line(
                &format!("{name}{note}"),
                || json!({"type": "member", "uid": name, "role": role}),
            );
        }
        Ok(())
    }

    async fn history(&mut self, rows: u32) -> Result<(), String> {
        let channel = self.here()?;
        let mut events: VecDeque<Event> = VecDeque::new();
        let mut position = Position::Newest;
        while events.len() < rows as usize {
            let missing = rows - u32::try_from(events.len()).unwrap_or(rows);
            let page = self.client.history(channel, position, missing).await.map_err(told)?;
            page.events.into_iter().rev().for_each(|event| events.push_front(event));
            if page.from > page.to || page.from <= page.floor {
                break;
            }
            position = Position::Before(page.from);
        }
        let shown: Vec<&Event> = events.iter().collect();
        self.people.meet_all(&self.client, &shown).await;
        events.iter().for_each(|event| self.show(event, false));
        Ok(())
    }

    /// Shows what came in.
    pub(crate) async fn take_in(&mut self) {
        let updates = self.client.take(BATCH);
        let events: Vec<&Event> = updates
            .iter()
            .filter_map(|update| match update {
                Update::Event(event) => Some(event),
                _ => None,
            })
            .collect();
        let _ = timeout(LOOKUP_LIMIT, self.people.meet_all(&self.client, &events)).await;
        let known = |number| self.channels.iter().any(|channel| channel.channel == number);
        let is_new = |event: &&&Event| {
            let added = matches!(event.content, Content::System(System::ChannelAdded { .. }));
            added || (event.channel.self_user().is_none() && !known(event.channel))
        };
        // What is left out may have named a channel otherwise.
        let is_cut = |it: &Update| matches!(it, Update::Skipped { .. } | Update::RolledBack { .. });
        if events.iter().any(|event| is_new(&event)) || updates.iter().any(is_cut) {
            // Without an answer the channel stays unnamed until the next one.
            let _ = timeout(LOOKUP_LIMIT, self.load_channels()).await;
        }
        for update in updates {
            match update {
                Update::Event(event) => self.show_live(&event),
                Update::Gone { channel } => self.forget(channel),
                Update::Skipped { channel, from, to } => {
                    let name = self.name_of(channel);
                    let text = format!("{name}: messages {from} to {to} are no longer there");
                    self.screen.note(&text);
                }
                Update::RolledBack { channel, to } => {
                    let name = self.name_of(channel);
                    let text =
                        format!("{name}: the server was restored; nothing after {to} counts");
                    self.screen.note(&text);
                }
            }
        }
    }

    fn show_live(&mut self, event: &Event) {
        let message = matches!(event.content, Content::Text(_) | Content::Custom { .. });
        if self.current.is_none() && message && self.screen.interactive {
            // Whoever is spoken to can answer without looking for the channel first.
            self.current = Some(event.channel);
            let name = self.name_of(event.channel);
            self.screen.note(&format!("now in {name}"));
            self.prompt();
        }
        let renamed = self.channels.iter_mut().any(|known| known.follow(event));
        self.show(event, self.current != Some(event.channel));
        if renamed && self.current == Some(event.channel) {
            self.prompt();
        }
    }

    fn show(&mut self, event: &Event, elsewhere: bool) {
        let Some(line) = event_line(event, &self.people) else { return };
        let place = elsewhere.then(|| format!("({}) ", self.name_of(event.channel)));
        let people = &self.people;
        self.screen.line(&format!("{}{line}", place.unwrap_or_default()), || {
            event_json(event, people).unwrap_or_default()
        });
    }

    fn forget(&mut self, channel: ChannelNo) {
        let name = self.name_of(channel);
        let known = self.channels.iter().any(|known| known.channel == channel);
        self.channels.retain(|known| known.channel != channel);
        if self.current == Some(channel) {
            self.current = None;
        }
        if known {
            self.screen.line(
                &format!("* you are no longer in {name}"),
                || json!({"type": "gone", "channel": channel.get(), "name": name}),
            );
            self.prompt();
        }
    }

    pub(crate) fn prompt(&mut self) {
        let name = self.current.map(|channel| self.name_of(channel));
        self.screen.prompt(name.as_deref());
    }

    /// Whether messages are still on their way.
    pub(crate) fn is_sending(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Waits for the oldest message on its way; for ever if there is none.
    ///
    /// A wait that is dropped loses nothing: the message is taken off once it is answered.
    pub(crate) async fn sent(&mut self) {
        let Some(handle) = self.unsent.front_mut() else { return std::future::pending().await };
        let outcome = handle.stored().await;
        let (channel, key) = (handle.channel(), handle.key());
        self.unsent.pop_front();
        match outcome {
            // To a person, their own message coming back says it.
            Ok(_) if !self.screen.is_json() => {}
            Ok(stored) => self.screen.line("", || {
                json!({
                    "type": "sent", "channel": channel.get(), "seq": stored.seq.get(),
                    "id": stored.id.get().to_string(), "duplicate": stored.duplicate,
                    "key": format!("{:032x}", u128::from_be_bytes(*key.as_bytes())),
                })
            }),
            Err(error) => self.fail(&format!("not sent: {}", told(error))),
        }
    }

    /// Waits until something comes in. `false`: nothing will any more.
    pub(crate) fn ready(&self) -> impl Future<Output = bool> + use<> {
        let client = self.client.clone();
        async move { client.ready().await }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}

/// Whether the chat goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Continue {
    Yes,
    No,
}

/// A state in words.
pub(crate) fn state_text(state: &State) -> String {
    match state {
        State::Connecting => "connecting".into(),
        State::Authenticating => "logging in".into(),
        State::Syncing => "catching up".into(),
        State::Online => "online".into(),
        State::Backoff { retry_at, why, .. } => {
            let left: Duration = retry_at.saturating_duration_since(std::time::Instant::now());
            let why = crate::render::safe_line(why);
            format!("not connected ({why}); trying again in {:.1} s", left.as_secs_f32())
        }
        State::SignedOut(why) => match why {
            damso_client::SignedOut::Closed { code, text } => {
                let text = crate::render::safe_line(text);
                format!("signed out by the server (code {code}): {text}")
            }
            damso_client::SignedOut::OtherPerson => "signed out: this is another person".into(),
            damso_client::SignedOut::ByApp => "closed".into(),
        },
    }
}

/// The time of day, milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// An error in words of its own, never the server's control characters.
fn told(error: Error) -> String {
    crate::render::safe_line(&error.to_string())
}
