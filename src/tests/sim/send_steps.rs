//! The connection is lost at each byte, and at each moment, of a send: it is stored once, and its
//! sender hears where.

use std::rc::Rc;
use std::time::Duration;

use damso::connections::End;

use super::device::Device;
use super::story::{Memory, Room, Story, play};

/// More bytes than a short send, or its acknowledgement and its event, takes.
const BYTES_MAX: usize = 2_000;
/// Longer than anything takes between a send and its acknowledgement, while nothing fails.
const MOMENTS: u64 = 120;

async fn two(story: &Rc<Story>) -> (Rc<Device>, Room) {
    let alice = Device::online(story, "alice").await;
    let bob = Device::online(story, "bob").await;
    let room = story.room(&[alice.clone(), bob]).await;
    (alice, room)
}

/// Waits until nothing of the device's is under way.
async fn answered(story: &Story, device: &Device) {
    let stuck = || device.name().to_owned();
    story.wait("a send is answered", || device.unsent() == 0, stuck).await;
    device.comes_online().await;
}

#[test]
fn a_send_is_stored_once_whatever_byte_its_connection_is_lost_at() {
    for end in [End::Left, End::Right] {
        let story = play(1, Memory::Sound, |story| async move {
            let (alice, room) = two(&story).await;
            for bytes in 0..=BYTES_MAX {
                answered(&story, &alice).await;
                let dials = story.network.dials(alice.number());
                story.network.cut_after(alice.number(), end, bytes);
                alice.send(room.channel);
                answered(&story, &alice).await;
                if story.network.dials(alice.number()) == dials {
                    assert!(bytes > 40, "{end:?}: a send has more than {bytes} bytes");
                    return;
                }
            }
            panic!("{end:?}: the connection is lost for ever");
        });
        story.must_be_clean();
    }
}

#[test]
fn a_send_is_stored_once_whatever_moment_its_connection_is_lost_at() {
    let story = play(2, Memory::Sound, |story| async move {
        let (alice, room) = two(&story).await;
        for moment in 0..MOMENTS {
            answered(&story, &alice).await;
            let dials = story.network.dials(alice.number());
            alice.send(room.channel);
            tokio::time::sleep(Duration::from_millis(moment / 8)).await;
            for _ in 0..moment % 8 {
                tokio::task::yield_now().await;
            }
            story.network.cut(alice.number());
            // Back before the first copy is stored, more often than not.
            while story.network.dials(alice.number()) == dials {
                alice.client().network_changed();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        answered(&story, &alice).await;
    });
    story.must_be_clean();
    assert!(story.verdict.counts.repeats > MOMENTS / 8, "many were lost before their answer");
}
