//! Devices come back while events arrive: they have everything, once, in order.

use std::time::Duration;

use damso::connections::End;

use super::crowd::Crowd;
use super::device::Device;
use super::story::{Memory, play, seeds};

/// Harm that is done to connections in one story.
const HARM: usize = 30;

#[test]
fn devices_that_come_and_go_miss_nothing_and_see_nothing_twice() {
    for seed in seeds(12) {
        let end = play(seed, Memory::Sound, |story| async move {
            let mut crowd = Crowd::meet(&story, 4).await;
            for _ in 0..HARM {
                let victim = crowd.somebody().clone();
                let number = victim.number();
                match story.dice.below(6) {
                    0 => story.network.cut(number),
                    1 => {
                        let bytes = story.dice.below(4_000);
                        let bytes = usize::try_from(bytes).expect("a small number");
                        let end = *story.dice.pick(&[End::Left, End::Right]);
                        story.network.cut_after(number, end, bytes);
                    }
                    2 => victim.restart(),
                    3 => {
                        // A second device of somebody who is here, or its successor.
                        let second = Device::new(&story, victim.name());
                        crowd.people.push(second);
                    }
                    4 => {
                        // Reads nothing for a while; what it misses is read from history.
                        story.network.stall(number, true);
                        crowd.chat(story.dice.millis(1..2_000)).await;
                        story.network.stall(number, false);
                    }
                    _ => {
                        // Half open: neither end hears of the other, and both give up.
                        story.network.hold(number, true);
                        crowd.chat(story.dice.millis(1..3_000)).await;
                        tokio::time::sleep(story.dice.millis(1..200_000)).await;
                        story.network.hold(number, false);
                    }
                }
                crowd.chat(story.dice.millis(1..300)).await;
            }
        });
        end.must_be_clean();
        assert!(end.lasted > Duration::from_secs(10), "devices were away");
    }
}
