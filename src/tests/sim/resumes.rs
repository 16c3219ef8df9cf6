//! Devices come back while events arrive: they have everything, once, in order.

use std::time::Duration;

use super::crowd::Crowd;
use super::harm::befall;
use super::story::{Memory, play, seeds};

/// What befalls devices in one story.
const HARM: usize = 30;

#[test]
fn devices_that_come_and_go_miss_nothing_and_see_nothing_twice() {
    for seed in seeds(12) {
        let end = play(seed, Memory::Sound, |story| async move {
            let mut crowd = Crowd::meet(&story, 4).await;
            for _ in 0..HARM {
                befall(&story, &mut crowd).await;
                crowd.chat(story.dice.millis(1..300)).await;
            }
        });
        end.must_be_clean();
        assert!(end.lasted > Duration::from_secs(10), "devices were away");
    }
}
