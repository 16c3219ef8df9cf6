//! Two people block each other, again and again, while one of them sends on and on: nothing comes
//! above the seq that a block is answered with until it ends.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use damso_client::{ChannelNo, Seq};
use damso_loadtest::checker::Observation;
use tokio::task::spawn_local;

use super::device::Device;
use super::ear::Ear;
use super::harm::in_flight;
use super::story::{Memory, Room, Story, play, seeds};

/// Blocks of one story.
const BLOCKS: usize = 20;
/// Those during which the server is killed.
const KILLS: usize = 6;

/// The direct channel of these devices' persons, judged as any room is.
async fn direct(story: &Story, members: [&Rc<Device>; 2]) -> ChannelNo {
    let [one, other] = members;
    let channel = one.client().open_direct(&other.uid()).await.expect("a channel").channel;
    let members = members.map(Rc::clone).to_vec();
    for device in &members {
        let (receiver, from) = (device.receiver(), Seq::new(1));
        story.watch.borrow_mut().observe(Observation::MustStart { receiver, channel, from });
    }
    story.rooms.borrow_mut().push(Room { channel, members });
    channel
}

/// A message each millisecond, until told to stop.
fn flow(sender: Rc<Device>, channel: ChannelNo, stop: Rc<Cell<bool>>) {
    spawn_local(async move {
        while !stop.get() {
            sender.send(channel);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn nothing_is_sent_above_the_seq_that_a_block_is_answered_with() {
    for seed in seeds(6) {
        let end = play(seed, Memory::Sound, |story| async move {
            let alice = Device::online(&story, "alice").await;
            let bob = Device::online(&story, "bob").await;
            let ear = Ear::online(&story, "alice").await;
            let channel = direct(&story, [&alice, &bob]).await;
            let stop = Rc::new(Cell::new(false));
            flow(bob.clone(), channel, stop.clone());
            let newest = || ear.heard(channel).last().copied();
            let stuck = || format!("{:?}", newest());
            for round in 0..BLOCKS {
                let before = newest();
                story.wait("bob is heard", || newest() > before, stuck).await;
                let (by, other) = if round % 2 == 0 { (&alice, &bob) } else { (&bob, &alice) };
                let last = by.client().block(other.user()).await.expect("a block").get();
                assert!(last > 1 && newest() <= Some(last), "round {round}: {:?}", newest());
                story.wait("all that came before", || newest() == Some(last), stuck).await;
                tokio::time::sleep(story.dice.millis(0..30)).await;
                assert_eq!(newest(), Some(last), "round {round}");
                by.client().unblock(other.user()).await.expect("no block");
            }
            stop.set(true);
        });
        end.must_be_clean();
    }
}

#[test]
fn a_block_that_was_given_while_the_server_was_killed_holds_once_it_is_answered() {
    for seed in seeds(8) {
        let end = play(seed, Memory::Sound, |story| async move {
            let alice = Device::online(&story, "alice").await;
            let bob = Device::online(&story, "bob").await;
            let channel = direct(&story, [&alice, &bob]).await;
            let stop = Rc::new(Cell::new(false));
            flow(bob.clone(), channel, stop.clone());
            for round in 0..KILLS {
                tokio::time::sleep(story.dice.millis(1..60)).await;
                let death = async {
                    tokio::time::sleep(story.dice.millis(0..40)).await;
                    story.kill(in_flight(&story.dice));
                    tokio::time::sleep(story.dice.millis(0..500)).await;
                    story.start();
                };
                // Asked again by the SDK, under its key, until it is answered.
                let client = alice.client();
                let (last, ()) = tokio::join!(client.block(bob.user()), death);
                let last = last.expect("a block").get();
                let ear = Ear::online(&story, "alice").await;
                let newest = || ear.heard(channel).last().copied();
                let stuck = || format!("{:?} of {last}", newest());
                story.wait("all that came before", || newest() == Some(last), stuck).await;
                tokio::time::sleep(story.dice.millis(0..30)).await;
                assert_eq!(newest(), Some(last), "round {round}");
                client.unblock(bob.user()).await.expect("no block");
            }
            stop.set(true);
        });
        end.must_be_clean();
    }
}
