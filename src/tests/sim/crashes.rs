//! The process ends between gathering, commit and acknowledgement.

use std::time::Duration;

use damso_loadtest::checker::Law;

use super::crowd::Crowd;
use super::harm::in_flight;
use super::story::{End, Memory, play, seeds};

/// Kills of one story.
const KILLS: usize = 8;

/// People chat while the server is killed and comes back again and again.
fn killed_often(seed: u64, memory: Memory) -> End {
    play(seed, memory, |story| async move {
        let crowd = Crowd::meet(&story, 4).await;
        for _ in 0..KILLS {
            crowd.chat(story.dice.millis(1..400)).await;
            let in_flight = in_flight(&story.dice);
            match story.dice.below(4) {
                0 => story.kill(in_flight),
                1 => story.cut_power(in_flight),
                2 => story.drain().await,
                _ => {
                    let chatting = crowd.chat(Duration::from_secs(60));
                    tokio::select! {
                        biased;
                        () = story.kill_at_commit(in_flight) => {}
                        () = chatting => panic!("a minute without a commit"),
                    }
                }
            }
            crowd.chat(story.dice.millis(0..2_000)).await;
            story.start();
        }
    })
}

#[test]
fn what_was_acknowledged_survives_whatever_moment_the_server_is_killed_at() {
    let mut known = 0;
    for seed in seeds(16) {
        let end = killed_often(seed, Memory::Sound);
        end.must_be_clean();
        known += end.verdict.counts.repeats;
    }
    assert!(known > 0, "nothing was ever on its way");
}

#[test]
fn a_server_that_forgets_its_keys_is_found_out() {
    let broken = |seed| killed_often(seed, Memory::Forgetful).verdict.count(Law::StoredTwice);
    assert!((1..=8).map(broken).any(|twice| twice > 0), "messages were stored twice");
}
