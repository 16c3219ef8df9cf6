//! Those who lead a channel name it, again and again, while connections suffer and the server dies:
//! each name is told once, where its command was answered, and every copy of the channel ends as the
//! channel is.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use damso_client::{Channel, ChannelNo, Client, Content, Error, Position, Role, Seq, System};

use super::crowd::Crowd;
use super::device::Device;
use super::harm::{befall, in_flight};
use super::story::{Memory, Story, play, seeds};

/// Names of one story.
const NAMES: u64 = 24;

/// What each name's command was answered, if anything.
type Answers = Rc<RefCell<BTreeMap<String, Result<Seq, Error>>>>;

/// A member's own copy of the channel.
async fn copy(client: &Client, channel: ChannelNo) -> Channel {
    let all = client.channels().await.expect("a list");
    all.into_iter().find(|it| it.channel == channel).expect("one of theirs")
}

/// Gives the channel a name that nobody else gives, and waits for nothing.
fn name(story: &Rc<Story>, by: &Device, channel: ChannelNo, name: String, answers: &Answers) {
    let (client, answers) = (by.client(), answers.clone());
    story.command(async move {
        let answer = client.rename(channel, &name).await;
        answers.borrow_mut().insert(name, answer);
    });
}

/// Every name that the channel's history tells, with its seq and its version.
async fn told(client: &Client, channel: ChannelNo) -> Vec<(String, Seq, u64)> {
    let (mut all, mut at) = (Vec::new(), Seq::ZERO);
    loop {
        let page = client.history(channel, Position::After(at), 0).await.expect("a page");
        all.extend(page.events.into_iter().filter_map(|event| match event.content {
            Content::System(System::ChannelUpdated { name: Some(name), version, .. }) => {
                Some((name, event.seq, version))
            }
            _ => None,
        }));
        if page.to >= page.head || page.to < page.from {
            return all;
        }
        at = page.to;
    }
}

#[test]
fn each_name_is_told_once_where_it_was_answered_and_every_copy_follows() {
    for seed in seeds(8) {
        let memory =
            if seed.is_multiple_of(2) { Memory::Unlucky { one_in: 8 } } else { Memory::Sound };
        let end = play(seed, memory, |story| async move {
            let mut crowd = Crowd::meet(&story, 4).await;
            let room = crowd.rooms[0].clone();
            let (owner, channel) = (&room.members[0], room.channel);
            let other = room.members.iter().find(|device| device.user() != owner.user());
            let other = other.expect("a room of several");
            let raised = owner.client().set_role(channel, other.user(), Role::Moderator).await;
            raised.expect("a moderator");
            for device in &room.members {
                device.keep(copy(&device.client(), channel).await);
            }
            let answers = Answers::default();
            for number in 0..NAMES {
                let by = if story.dice.one_in(2) { owner } else { other };
                name(&story, by, channel, format!("이름 {number}"), &answers);
                match story.dice.below(4) {
                    0 => story.kill(in_flight(&story.dice)),
                    1 => befall(&story, &mut crowd).await,
                    _ => {}
                }
                crowd.chat(story.dice.millis(1..300)).await;
                if !story.serves() {
                    story.start();
                }
            }
            story.network.heal();
            let answered = || answers.borrow().len() as u64 == NAMES;
            let stuck = || format!("{:?}", answers.borrow());
            story.wait("every name is answered", answered, stuck).await;
            let told = told(&Device::online(&story, owner.name()).await.client(), channel).await;
            assert!(answers.borrow().values().any(Result::is_ok), "nothing was named");
            assert!(told.is_sorted_by(|a, b| a.1 < b.1 && a.2 < b.2), "{told:?}");
            for (name, answer) in &*answers.borrow() {
                let seqs: Vec<_> = told.iter().filter(|it| it.0 == *name).map(|it| it.1).collect();
                match answer {
                    Ok(seq) => assert_eq!(seqs, [*seq], "{name}"),
                    Err(error) => assert!(seqs.len() <= 1, "{name}: {error}"),
                }
            }
            let now = copy(&owner.client(), channel).await;
            assert_eq!(told.last().map(|it| (&it.0, it.2)), Some((&now.name, now.version)));
            for device in &room.members {
                let is_so = || {
                    let copy = device.copy(channel).expect("one that was kept");
                    (copy.name, copy.version) == (now.name.clone(), now.version)
                };
                let stuck = || format!("{}: {:?} of {now:?}", device.name(), device.copy(channel));
                story.wait("a copy has followed", is_so, stuck).await;
            }
        });
        end.must_be_clean();
    }
}
