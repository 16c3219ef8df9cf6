//! People are removed while a thousand messages a second flow: nothing later is sent to them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use damso_client::{Admission, ChannelKind, ChannelNo};
use tokio::task::spawn_local;

use super::device::Device;
use super::ear::Ear;
use super::story::{Memory, Story, play, seeds};

/// Stories, and removals in each: a thousand together.
const STORIES: u64 = 50;
const REMOVALS: usize = 20;

/// A message each millisecond, in turn by these two, until told to stop.
fn flow(senders: [Rc<Device>; 2], channel: ChannelNo, stop: Rc<Cell<bool>>) {
    spawn_local(async move {
        for sender in senders.iter().cycle() {
            if stop.get() {
                return;
            }
            sender.send(channel);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

/// Adds and removes the ear's person, again and again. Returns what they may have heard.
async fn come_and_go(
    story: &Story,
    owner: &Device,
    ear: &Ear,
    (channel, kind): (ChannelNo, ChannelKind),
) -> Vec<u64> {
    let mut may = Vec::new();
    let owner = owner.client();
    for round in 0..REMOVALS {
        let from = owner
            .add_members(channel, &[ear.uid()], Admission::default())
            .await
            .expect("they are added");
        tokio::time::sleep(story.dice.millis(0..12)).await;
        let to = owner.remove_member(channel, ear.user()).await.expect("they are removed");
        // In a broadcast no event tells it: theirs is the one that comes next.
        let first = from.get() + u64::from(kind == ChannelKind::Broadcast);
        assert!(from.get() > 0 && first <= to.get() + 1, "round {round}: {from} to {to}");
        may.extend(first..=to.get());
        let newest = ear.heard(channel).last().copied();
        assert!(newest <= Some(to.get()), "round {round}: {newest:?} was sent after {to}");
        tokio::time::sleep(story.dice.millis(0..8)).await;
    }
    may
}

#[test]
fn nothing_is_sent_to_a_removed_person_a_thousand_times() {
    for seed in seeds(STORIES) {
        let end = play(seed, Memory::Sound, |story| async move {
            let alice = Device::online(&story, "alice").await;
            let bob = Device::online(&story, "bob").await;
            let dave = Device::online(&story, "dave").await;
            let ear = Ear::online(&story, "carol").await;
            let kind = if seed % 2 == 0 { ChannelKind::Broadcast } else { ChannelKind::Group };
            let people = [alice.clone(), bob.clone(), dave.clone()];
            let room = story.room_of(kind, &people).await;
            let stop = Rc::new(Cell::new(false));
            flow([bob, dave], room.channel, stop.clone());
            let may = come_and_go(&story, &alice, &ear, (room.channel, kind)).await;
            stop.set(true);
            let last = may.last().copied();
            let has_all = || ear.heard(room.channel).last().copied() == last;
            let stuck = || format!("{:?} of {last:?}", ear.heard(room.channel).last());
            story.wait("carol hears of her last removal", has_all, stuck).await;
            assert_eq!(ear.heard(room.channel), may, "all of it, once, and nothing else");
        });
        end.must_be_clean();
    }
}

#[test]
fn a_device_that_logs_in_while_its_person_is_added_hears_everything_once() {
    for seed in seeds(STORIES / 4) {
        let end = play(seed, Memory::Sound, |story| async move {
            let alice = Device::online(&story, "alice").await;
            let bob = Device::online(&story, "bob").await;
            let first = Ear::online(&story, "carol").await;
            let room = story.room_of(ChannelKind::Group, &[alice.clone(), bob.clone()]).await;
            let stop = Rc::new(Cell::new(false));
            flow([alice.clone(), bob], room.channel, stop.clone());
            let mut ears = vec![first];
            for _ in 0..12 {
                ears.push(Ear::new(&story, "carol"));
                tokio::time::sleep(story.dice.millis(0..40)).await;
                let added = alice
                    .client()
                    .add_members(room.channel, &[ears[0].uid()], Admission::default())
                    .await;
                added.expect("she is added");
                tokio::time::sleep(story.dice.millis(0..40)).await;
                let user = ears[0].user();
                let last = alice.client().remove_member(room.channel, user).await;
                let last = last.expect("she is removed").get();
                for ear in &ears {
                    let settled = || ear.is_through(room.channel, last);
                    let stuck = || format!("{:?}", ear.heard(room.channel).last());
                    story.wait("every device is through", settled, stuck).await;
                }
            }
            stop.set(true);
        });
        end.must_be_clean();
    }
}
