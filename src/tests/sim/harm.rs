//! What befalls a device, and what a process that dies leaves on its way to the disk.

use std::rc::Rc;

use damso::connections::End;
use damso::store::memory::InFlight;

use super::crowd::Crowd;
use super::device::Device;
use super::dice::Dice;
use super::story::Story;

/// Somebody's connection suffers, or their app; people chat meanwhile.
pub(crate) async fn befall(story: &Rc<Story>, crowd: &mut Crowd) {
    let dice = &story.dice;
    let victim = crowd.somebody().clone();
    let number = victim.number();
    match dice.below(6) {
        0 => story.network.cut(number),
        1 => {
            let bytes = usize::try_from(dice.below(6_000)).expect("a small number");
            story.network.cut_after(number, *dice.pick(&[End::Left, End::Right]), bytes);
        }
        2 => {
            // Half open: neither end hears of the other, and both give up.
            story.network.hold(number, true);
            crowd.chat(dice.millis(1..3_000)).await;
            tokio::time::sleep(dice.millis(1..200_000)).await;
            story.network.hold(number, false);
        }
        3 => {
            // Reads nothing for a while; what it misses is read from history.
            story.network.stall(number, true);
            crowd.chat(dice.millis(1..5_000)).await;
            story.network.stall(number, false);
        }
        4 => victim.restart(),
        // A second device of somebody who is here, or its successor.
        _ => crowd.people.push(Device::new(story, victim.name())),
    }
}

/// Whether the disk of a process that dies has what was being committed.
pub(crate) fn in_flight(dice: &Dice) -> InFlight {
    if dice.one_in(2) { InFlight::Vanish } else { InFlight::Survive }
}
