//! Who was away gets exactly what they missed, once, in order, in one round trip.

use damso_proto::id::ChannelNo;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;
use damso_proto::wire::standing::State;

use super::raw::{Raw, cursors, fresh_key, text};
use super::server::{Local, UNBOUND};

fn group(raw: &mut Raw, name: &str, uids: &[&str]) -> wire::ChannelInfo {
    let uids = uids.iter().map(|uid| (*uid).to_owned()).collect();
    let ask = Ask::CreateChannel(wire::CreateChannel {
        name: name.to_owned(),
        uids,
        ..Default::default()
    });
    match raw.ask(ask).0 {
        Said::Channel(info) => info,
        other => panic!("expected a channel, heard {other:?}"),
    }
}

fn welcome(heard: &[Said]) -> &wire::Welcome {
    match heard.first() {
        Some(Said::Welcome(welcome)) => welcome,
        other => panic!("Welcome comes first, not {other:?}"),
    }
}

fn sent(raw: &mut Raw, channel: u64, body: &str) -> wire::Ack {
    match raw.ask(text(channel, body)).0 {
        Said::Ack(ack) => ack,
        other => panic!("expected an ack, heard {other:?}"),
    }
}

#[test]
fn the_third_of_a_group_comes_back_and_has_everything_once_in_order() {
    let server = Local::start(&UNBOUND);
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let (mut bob, _) = Raw::log_in(&server.string("bob"), "b", Default::default());
    let (carol, heard) = Raw::log_in(&server.string("carol"), "c", Default::default());
    let epoch = welcome(&heard).epoch;
    let me = ChannelNo::self_of(damso_proto::id::UserNo::new(welcome(&heard).user)).get();
    let info = group(&mut alice, "three", &["bob", "carol"]);
    let channel = info.channel;
    sent(&mut alice, channel, "all three are here");
    drop(carol);

    let mut bodies = Vec::new();
    for number in 0..100 {
        let body = format!("while carol is away {number}");
        let from = if number % 3 == 0 { &mut bob } else { &mut alice };
        sent(from, channel, &body);
        bodies.push(body);
    }

    let had = cursors(&[(me.min(channel), 2), (me.max(channel), 2)], epoch);
    let had = if me < channel { cursors(&[(me, 1), (channel, 2)], epoch) } else { had };
    let (mut carol, heard) = Raw::log_in(&server.string("carol"), "c", had);
    let standing = heard.iter().find_map(|said| match said {
        Said::Standing(standing) if standing.channel == channel => Some(standing),
        _ => None,
    });
    let standing = standing.expect("the group is told to have a tail");
    assert_eq!((standing.state(), standing.from, standing.to), (State::Tail, 3, 102));
    let missed: Vec<_> = heard
        .iter()
        .filter_map(|said| match said {
            Said::Event(event) if event.channel == channel => Some(event),
            _ => None,
        })
        .collect();
    let texts: Vec<_> = missed
        .iter()
        .map(|event| match &event.content {
            Some(wire::event::Content::Text(text)) => text.clone(),
            other => panic!("only texts were sent, not {other:?}"),
        })
        .collect();
    assert_eq!(texts, bodies);
    assert!(missed.is_sorted_by(|one, next| one.seq + 1 == next.seq && one.id < next.id));

    sent(&mut bob, channel, "and on it goes");
    assert_eq!(carol.event().seq, 103);
}

#[test]
fn a_send_is_stored_once_however_often_it_is_sent() {
    let server = Local::start(&UNBOUND);
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let (_bob, _) = Raw::log_in(&server.string("bob"), "b", Default::default());
    let channel = group(&mut alice, "two", &["bob"]).channel;
    let key = fresh_key();
    let first = alice.ask_with(text(channel, "once"), key).0;
    let (Said::Ack(first), Said::Ack(again)) =
        (first, alice.ask_with(text(channel, "once"), key).0)
    else {
        panic!("both are acknowledged");
    };
    assert!(!first.duplicate && again.duplicate);
    assert_eq!((first.seq, first.id), (again.seq, again.id));
    assert!(matches!(alice.ask_with(text(channel, "other"), key).0, Said::Refusal(_)));
    assert_eq!(sent(&mut alice, channel, "next").seq, first.seq + 1);
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let mut server = Local::start(&UNBOUND);
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let (_bob, _) = Raw::log_in(&server.string("bob"), "b", Default::default());
    let channel = group(&mut alice, "two", &["bob"]).channel;
    let last = (0..50).map(|number| sent(&mut alice, channel, &format!("{number}")).seq).last();
    drop(alice);
    server.restart(&["--shards", "1"]);
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let ask = wire::ReadHistory { channel, rows: 100, ..Default::default() };
    let Said::Page(page) = alice.ask(Ask::ReadHistory(ask)).0 else { panic!("a page") };
    assert_eq!((page.from, Some(page.to)), (1, last));
    assert_eq!(page.rows.len() as u64, page.to);
    assert_eq!(sent(&mut alice, channel, "after").seq, page.to + 1);
}
