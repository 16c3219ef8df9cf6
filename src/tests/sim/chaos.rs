//! Everything at once, and the same again from the same seed.

use std::rc::Rc;

use damso_client::Admission;

use super::crowd::Crowd;
use super::device::Device;
use super::harm::{befall, in_flight};
use super::story::{End, Memory, Story, play, seeds};

/// What happens in one story.
const HAPPENINGS: usize = 30;
/// How far an operator, or NTP, sets the server's clock, milliseconds.
const SET_BY_MS: u64 = 50_000;

async fn happening(story: &Rc<Story>, crowd: &mut Crowd, guest: &Rc<Device>) {
    let dice = &story.dice;
    match dice.below(12) {
        0..=5 => befall(story, crowd).await,
        6 => story.kill(in_flight(dice)),
        7 => story.cut_power(in_flight(dice)),
        8 => story.drain().await,
        9 => {
            let by = i64::try_from(dice.below(2 * SET_BY_MS)).expect("some seconds");
            story.clock.set_by_ms(by - i64::try_from(SET_BY_MS).expect("some seconds"));
        }
        _ => {
            let (owner, channel) = (crowd.people[0].client(), crowd.rooms[0].channel);
            // Not waited for: the server may be down. What it comes to is seen by everybody.
            let (uid, user, adds) = (guest.uid(), guest.user(), dice.one_in(2));
            story.command(async move {
                let done = match adds {
                    true => {
                        owner
                            .add_members(channel, std::slice::from_ref(&uid), Admission::default())
                            .await
                    }
                    false => owner.remove_member(channel, user).await,
                };
                drop(done);
            });
        }
    }
    crowd.chat(dice.millis(1..300)).await;
    if !story.serves() {
        crowd.chat(dice.millis(1..3_000)).await;
        story.start();
    }
}

fn chaos(seed: u64) -> End {
    let memory = if seed.is_multiple_of(3) { Memory::Unlucky { one_in: 8 } } else { Memory::Sound };
    play(seed, memory, |story| async move {
        let mut crowd = Crowd::meet(&story, 5).await;
        let guest = Device::online(&story, "guest").await;
        for _ in 0..HAPPENINGS {
            happening(&story, &mut crowd, &guest).await;
        }
    })
}

#[test]
fn every_promise_is_kept_whatever_happens() {
    for seed in seeds(24) {
        chaos(seed).must_be_clean();
    }
}

#[test]
fn the_same_seed_is_the_same_story() {
    let ends = [5, 5, 6].map(chaos);
    let told = ends.each_ref().map(|end| (end.trace, end.lasted));
    assert_eq!(told[0], told[1], "nothing comes from outside");
    assert_ne!(told[0], told[2], "and the seed is what decides");
}
