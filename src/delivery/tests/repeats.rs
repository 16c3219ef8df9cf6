//! Commands that find nothing to change while the one that changed it is not known everywhere.

use damso_proto::id::Seq;

use super::kit::World;
use crate::delivery::{Answer, ChangeKind};
use crate::model::deadline::Deadline;
use crate::store::directory::kit::joining;
use crate::store::memory::Commit;

#[test]
fn each_command_hears_its_own_seq() {
    let mut world = World::new(Commit::Stepped);
    let (alice, bob, carol) = (world.person("alice"), world.person("bob"), world.person("carol"));
    let channel = world.group(alice, &[]);
    let [first, again, other] = ["bob", "bob", "carol"].map(|body| world.key(alice, body));
    let submit = |world: &mut World, key, user| {
        let work = world.change(key, ChangeKind::Add(joining(&[user], None)), Deadline::NONE);
        world.delivery.submit(channel, work);
    };
    submit(&mut world, first, bob);
    assert_eq!(world.turn(), []);
    // Durable, but these come before any shard's word that it has applied it.
    world.log.commit_next();
    submit(&mut world, again, bob);
    submit(&mut world, first, bob);
    submit(&mut world, other, carol);
    submit(&mut world, again, bob);
    let answered = world.settle();
    let seqs: Vec<_> = answered
        .into_iter()
        .map(|(_, outcome)| match outcome {
            Ok(Answer::Done(seq)) => seq,
            other => panic!("{other:?}"),
        })
        .collect();
    let [bobs, carols, nothing] = [Seq::new(2), Seq::new(3), Seq::ZERO];
    assert_eq!(seqs, [bobs, nothing, bobs, carols, nothing]);
}
