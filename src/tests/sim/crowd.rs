//! People who chat, in a group of all and in smaller ones.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::device::Device;
use super::dice::Dice;
use super::story::{Room, Story};

/// Sends of one device that may be without an answer.
const UNSENT_MAX: usize = 6;

/// See the module's text.
pub(crate) struct Crowd {
    pub(crate) people: Vec<Rc<Device>>,
    pub(crate) rooms: Vec<Room>,
    dice: Dice,
}

impl Crowd {
    /// So many people log in and meet: a group of all, and one of each two neighbours.
    pub(crate) async fn meet(story: &Rc<Story>, size: usize) -> Self {
        let mut people = Vec::new();
        for number in 0..size {
            people.push(Device::online(story, &format!("person-{number}")).await);
        }
        let mut rooms = vec![story.room(&people).await];
        for pair in people.chunks_exact(2) {
            rooms.push(story.room(pair).await);
        }
        Self { people, rooms, dice: story.dice.another() }
    }

    /// Everybody writes now and then, whatever happens to connections and server.
    pub(crate) async fn chat(&self, how_long: Duration) {
        let until = Instant::now() + how_long;
        while Instant::now() < until {
            tokio::time::sleep(self.dice.millis(0..8)).await;
            let room = self.dice.pick(&self.rooms);
            let sender = self.dice.pick(&room.members);
            if sender.unsent() < UNSENT_MAX {
                sender.send(room.channel);
            }
        }
    }

    /// One of the people.
    pub(crate) fn somebody(&self) -> &Rc<Device> {
        self.dice.pick(&self.people)
    }
}
