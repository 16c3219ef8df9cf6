//! A store whose appends end in conflicts and in unknown outcomes: stored, not stored, or stored
//! after the channel was opened again.

use damso_client::Admission;

use super::crowd::Crowd;
use super::device::Device;
use super::story::{Memory, play, seeds};

/// Rounds of chat of one story, with a change of members between any two.
const ROUNDS: usize = 12;

#[test]
fn delivery_orders_everything_once_over_a_store_that_often_does_not_know() {
    for seed in seeds(16) {
        let memory = Memory::Unlucky { one_in: 1 + seed % 6 };
        let end = play(seed, memory, |story| async move {
            let crowd = Crowd::meet(&story, 4).await;
            let guest = Device::online(&story, "guest").await;
            let (owner, channel) = (crowd.people[0].client(), crowd.rooms[0].channel);
            for _ in 0..ROUNDS {
                crowd.chat(story.dice.millis(1..400)).await;
                // An unknown outcome is asked for again by the next round.
                drop(owner.add_members(channel, &[guest.uid()], Admission::default()).await);
                crowd.chat(story.dice.millis(1..400)).await;
                drop(owner.remove_member(channel, guest.user()).await);
            }
        });
        end.must_be_clean();
    }
}
