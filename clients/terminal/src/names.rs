//! Who is behind a number: looked up once, so that nobody ever reads a number.

use std::collections::HashMap;

use damso_client::{Channel, ChannelKind, Client, Event, Person, UserNo};

use crate::render::{self, Names, safe_line};

/// Names that are remembered; then all are forgotten and looked up again.
const NAMES_MAX: usize = 10_000;

/// People by number.
#[derive(Default, Debug)]
pub(crate) struct People {
    uids: HashMap<UserNo, String>,
}

impl People {
    pub(crate) fn remember(&mut self, user: UserNo, uid: &str) {
        if self.uids.len() >= NAMES_MAX {
            self.uids.clear();
        }
        self.uids.insert(user, safe_line(uid));
    }

    /// Looks up whoever is not known yet. Without an answer they stay unnamed.
    pub(crate) async fn meet(&mut self, client: &Client, users: impl Iterator<Item = UserNo>) {
        let mut unknown: Vec<UserNo> = users.filter(|user| !self.uids.contains_key(user)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.is_empty() {
            return;
        }
        for Person { user, uid, .. } in client.people(&unknown, &[]).await.unwrap_or_default() {
            self.remember(user, uid.as_str());
        }
    }

    /// Looks up everyone whom events name.
    pub(crate) async fn meet_all(&mut self, client: &Client, events: &[&Event]) {
        self.meet(client, events.iter().flat_map(|event| render::people_of(event))).await;
    }

    /// How a channel is called: a group's name, or the other person.
    pub(crate) fn channel(&self, channel: &Channel) -> String {
        match (channel.kind, channel.peer) {
            (ChannelKind::Direct, Some(peer)) => self.of(peer),
            _ if channel.name.is_empty() => "(unnamed)".into(),
            _ => safe_line(&channel.name),
        }
    }
}

impl Names for People {
    fn of(&self, user: UserNo) -> String {
        match self.uids.get(&user) {
            Some(uid) => uid.clone(),
            None if user.get() == 0 => "the server".into(),
            None => "(someone)".into(),
        }
    }
}
