//! Each law broken on purpose: the checker must complain, by that law's name.

use damso_proto::id::{ChannelNo, Key, MessageId, Seq, UserNo};

use super::Observation::{
    Acked, Doubtful, MustReach, MustStart, ReadBack, Received, Refused, Removed, Resumed, Sent,
    Skipped, Stored,
};
use super::{BodyHash, Checker, Content, Law, Observation, ReceiverNo, Seen, SessionNo, Verdict};

const ROOM: ChannelNo = ChannelNo::new(4);
const ALICE: UserNo = UserNo::new(1);
const PHONE: ReceiverNo = ReceiverNo(1);
const LAPTOP: ReceiverNo = ReceiverNo(2);
const FIRST: SessionNo = SessionNo(1);
const SECOND: SessionNo = SessionNo(2);

fn key(n: u8) -> Key {
    Key::new(1_800_000_000_000, [n; 10])
}

fn seen(seq: u64, text: &str) -> Seen {
    let content = Content::Message { sender: ALICE, body: BodyHash::of_text(text) };
    Seen { channel: ROOM, seq: Seq::new(seq), id: MessageId::new(100 + seq), content }
}

fn sent(n: u8, text: &str) -> Observation {
    let body = BodyHash::of_text(text);
    Sent { sender: ALICE, session: FIRST, channel: ROOM, key: key(n), body }
}

fn acked(n: u8, seq: u64) -> Observation {
    let (seq, id) = (Seq::new(seq), MessageId::new(100 + seq));
    Acked { key: key(n), channel: ROOM, seq, id, duplicate: false }
}

fn got(receiver: ReceiverNo, seq: u64, text: &str) -> Observation {
    Received { receiver, session: FIRST, seen: seen(seq, text) }
}

fn stored(seq: u64, text: &str) -> Observation {
    Stored { seen: seen(seq, text) }
}

fn read(head: u64) -> Observation {
    ReadBack { channel: ROOM, from: Seq::new(1), head: Seq::new(head) }
}

/// Three messages, acknowledged, received by two devices and stored.
fn clean() -> Vec<Observation> {
    let mut all = Vec::new();
    for (n, text) in [(1, "one"), (2, "two"), (3, "three")] {
        let seq = u64::from(n);
        all.extend([sent(n, text), acked(n, seq), got(PHONE, seq, text), got(LAPTOP, seq, text)]);
    }
    all.extend([stored(1, "one"), stored(2, "two"), stored(3, "three"), read(3)]);
    all
}

fn judge(observations: impl IntoIterator<Item = Observation>) -> Verdict {
    let mut checker = Checker::new(3);
    observations.into_iter().for_each(|observation| checker.observe(observation));
    checker.finish()
}

/// Runs the clean history and then `more`, and expects that exactly `law` is broken.
fn breaks(law: Law, more: impl IntoIterator<Item = Observation>) {
    breaks_from(law, clean().into_iter().chain(more));
}

fn breaks_from(law: Law, observations: impl IntoIterator<Item = Observation>) {
    let verdict = judge(observations);
    let broken: Vec<Law> = verdict.violations.keys().copied().collect();
    assert_eq!(broken, [law], "{verdict}");
    assert_eq!(verdict.witnesses[0].law, law);
}

/// The clean history with one observation replaced (`None`: left out).
fn with(old: Observation, new: Option<Observation>) -> Vec<Observation> {
    let mut all = clean();
    let at = all.iter().position(|observation| *observation == old).expect("part of it");
    match new {
        Some(new) => all[at] = new,
        None => drop(all.remove(at)),
    }
    all
}

#[test]
fn a_clean_history_passes_and_everything_in_it_is_counted() {
    let verdict = judge(clean());
    assert!(verdict.passed(), "{verdict}");
    let counts = verdict.counts;
    assert_eq!((counts.sends, counts.acked, counts.received, counts.stored), (3, 3, 6, 3));
    assert_eq!((counts.channels, counts.channels_unread, counts.unanswered), (1, 0, 0));
}

#[test]
fn an_acknowledged_send_that_history_lacks_is_lost() {
    breaks_from(Law::Lost, [sent(1, "one"), acked(1, 1), read(0)]);
}

#[test]
fn what_a_receiver_saw_must_stay_in_history_after_a_crash() {
    breaks_from(Law::Vanished, [sent(1, "one"), got(PHONE, 1, "one"), read(0)]);
}

#[test]
fn what_an_earlier_reading_had_must_be_in_a_later_one() {
    breaks_from(Law::Vanished, [sent(1, "one"), stored(1, "one"), read(1), read(0)]);
    let twice = [sent(1, "one"), stored(1, "one"), read(1), stored(1, "one"), read(1)];
    assert!(judge(twice).passed());
}

#[test]
fn one_key_is_stored_once() {
    let again = [stored(1, "one"), stored(2, "two"), stored(3, "three"), stored(4, "one"), read(4)];
    breaks(Law::StoredTwice, again);
}

#[test]
fn history_has_no_holes() {
    let far = [sent(9, "far"), stored(9, "far")];
    let again = [stored(1, "one"), stored(2, "two"), stored(3, "three"), read(9)];
    let all = clean().into_iter().filter(|o| !matches!(o, ReadBack { .. })).chain(far);
    breaks_from(Law::HistoryHole, all.chain(again));
    breaks_from(Law::HistoryHole, [sent(1, "one"), stored(1, "one"), read(2)]);
    breaks_from(Law::HistoryHole, [sent(1, "one"), stored(0, "one")]);
}

#[test]
fn ids_rise_with_seq() {
    let low = Seen { id: MessageId::new(1), ..seen(4, "four") };
    breaks(
        Law::IdOrder,
        [sent(4, "four"), Received { receiver: PHONE, session: FIRST, seen: low }]
            .into_iter()
            .chain([Stored { seen: low }])
            .chain([stored(1, "one"), stored(2, "two"), stored(3, "three"), read(4)]),
    );
}

#[test]
fn channels_do_not_share_ids() {
    let elsewhere = Seen {
        channel: ChannelNo::new(6),
        seq: Seq::new(1),
        content: Content::Other(BodyHash::of_text("made")),
        ..seen(3, "three")
    };
    breaks(Law::IdShared, [Stored { seen: elsewhere }]);
}

#[test]
fn everyone_sees_the_same_at_the_same_place() {
    let other_text = [sent(4, "four"), got(LAPTOP, 2, "four")];
    breaks_from(
        Law::Diverged,
        clean()
            .into_iter()
            .filter(|o| *o != got(LAPTOP, 2, "two"))
            .flat_map(|o| if o == got(LAPTOP, 3, "three") { other_text.to_vec() } else { vec![o] }),
    );
    let other_id = Seen { id: MessageId::new(7), ..seen(2, "two") };
    let corrupt = Received { receiver: LAPTOP, session: FIRST, seen: other_id };
    breaks_from(Law::Diverged, with(got(LAPTOP, 2, "two"), Some(corrupt)));
    breaks_from(Law::Diverged, with(stored(2, "two"), Some(stored(2, "tw0"))));
}

#[test]
fn a_receiver_misses_nothing() {
    breaks_from(Law::ReceiverHole, with(got(LAPTOP, 2, "two"), None));
}

#[test]
fn a_receiver_does_not_miss_the_first_event_either() {
    let start = |from| MustStart { receiver: LAPTOP, channel: ROOM, from: Seq::new(from) };
    let late = with(got(LAPTOP, 1, "one"), None);
    assert!(judge(late.clone()).passed(), "without being told, it may begin anywhere");
    breaks_from(Law::ReceiverHole, [start(1)].into_iter().chain(late.clone()));
    breaks_from(Law::ReceiverHole, late.iter().copied().chain([start(1)]));
    assert!(judge(late.into_iter().chain([start(2)])).passed());
}

#[test]
fn a_receiver_sees_nothing_again() {
    breaks(Law::ReceiverRepeat, [got(PHONE, 3, "three")]);
    let swapped = [sent(1, "a"), sent(2, "b"), got(PHONE, 2, "b"), got(PHONE, 1, "a")];
    breaks_from(Law::ReceiverRepeat, swapped);
}

#[test]
fn a_resumed_session_goes_on_behind_its_cursor() {
    let resumed = |cursor| Resumed {
        receiver: PHONE,
        session: SECOND,
        channel: ROOM,
        cursor: Seq::new(cursor),
    };
    let next = |seq, text| Received { receiver: PHONE, session: SECOND, seen: seen(seq, text) };
    let four = [sent(4, "four"), next(4, "four"), stored(4, "four")];
    let hole = [sent(4, "four"), sent(5, "five"), resumed(3), next(5, "five")];
    breaks(Law::ReceiverRepeat, [resumed(3), next(3, "three")]);
    breaks(Law::ReceiverHole, [resumed(4)]);
    let unread = clean().into_iter().filter(|o| !matches!(o, ReadBack { .. }));
    breaks_from(Law::ReceiverHole, unread.clone().chain(hole));
    let verdict = judge(unread.chain([resumed(2), next(3, "three")]).chain(four));
    assert!(verdict.passed(), "a device that forgot one gets it again: {verdict}");
}

#[test]
fn what_the_server_called_behind_is_no_hole() {
    let skip = Skipped { receiver: LAPTOP, channel: ROOM, to: Seq::new(2) };
    let verdict = judge(with(got(LAPTOP, 2, "two"), Some(skip)));
    assert!(verdict.passed(), "{verdict}");
    assert_eq!(verdict.counts.skipped, 1);
}

#[test]
fn a_receiver_comes_as_far_as_it_must() {
    let reach = |seq| MustReach { receiver: PHONE, channel: ROOM, seq: Seq::new(seq) };
    breaks(Law::NotReached, [reach(4)]);
    assert!(judge(clean().into_iter().chain([reach(3)])).passed());
    let never = MustReach { receiver: ReceiverNo(9), channel: ROOM, seq: Seq::new(1) };
    breaks(Law::NotReached, [never]);
}

#[test]
fn a_removed_person_receives_nothing_later() {
    let removed = |last| Removed { receiver: PHONE, channel: ROOM, last: Seq::new(last) };
    breaks(Law::AfterRemoval, [removed(2)]);
    let late = [removed(3), sent(4, "four"), got(PHONE, 4, "four"), stored(4, "four")];
    let unread: Vec<_> = clean().into_iter().filter(|o| !matches!(o, ReadBack { .. })).collect();
    breaks_from(Law::AfterRemoval, unread.iter().copied().chain(late));
    let added_again = Skipped { receiver: PHONE, channel: ROOM, to: Seq::new(3) };
    let back = [removed(3), added_again, sent(4, "four"), got(PHONE, 4, "four")];
    assert!(judge(unread.into_iter().chain(back)).passed());
}

#[test]
fn nothing_appears_that_nobody_sent() {
    breaks_from(Law::Unsent, [stored(1, "ghost"), read(1)]);
    let made = Seen { content: Content::Other(BodyHash::of_text("made")), ..seen(1, "") };
    assert!(
        judge([Stored { seen: made }, read(1)]).passed(),
        "the server's own events are no ghosts"
    );
}

#[test]
fn what_was_refused_is_not_stored() {
    let refused = Refused { key: key(1) };
    breaks_from(Law::RefusedStored, [sent(1, "one"), refused, stored(1, "one"), read(1)]);
    let doubtful = Doubtful { key: key(1) };
    let lost_answer =
        [sent(1, "one"), doubtful, sent(1, "one"), refused, stored(1, "one"), read(1)];
    assert!(judge(lost_answer).passed(), "the attempt without an answer may have been stored");
    let tried_again =
        [sent(1, "one"), refused, sent(1, "one"), acked(1, 1), stored(1, "one"), read(1)];
    assert!(judge(tried_again).passed());
}

#[test]
fn what_is_sent_after_an_ack_stands_behind_it() {
    let early = [sent(1, "a"), acked(1, 2), sent(2, "b"), stored(1, "b"), stored(2, "a"), read(2)];
    let verdict = judge(early);
    assert_eq!(verdict.count(Law::RealTime), 1, "{verdict}");
}

#[test]
fn a_session_keeps_the_order_of_its_sends() {
    let swapped = [sent(1, "a"), sent(2, "b"), stored(1, "b"), stored(2, "a"), read(2)];
    breaks_from(Law::SenderOrder, swapped);
    let repeated =
        [sent(1, "a"), sent(2, "b"), sent(1, "a"), stored(1, "b"), stored(2, "a"), read(2)];
    assert!(judge(repeated).passed(), "a repetition may come late");
}

#[test]
fn a_key_has_one_answer() {
    let elsewhere = |channel, seq| {
        let (seq, id) = (Seq::new(seq), MessageId::new(100 + seq));
        Acked { key: key(1), channel: ChannelNo::new(channel), seq, id, duplicate: false }
    };
    for (channel, seq) in [(8, 51), (4, 2)] {
        let verdict = judge(clean().into_iter().chain([elsewhere(channel, seq)]));
        assert_eq!(verdict.count(Law::AckChanged), 1, "{verdict}");
    }
    assert!(judge(clean().into_iter().chain([acked(1, 1)])).passed(), "the same answer again");
}

#[test]
fn only_what_was_sent_is_acknowledged() {
    breaks(Law::AckUnasked, [Refused { key: key(9) }]);
    breaks(Law::AckUnasked, [acked(9, 1)]);
}

#[test]
fn a_first_attempt_is_no_duplicate() {
    let (seq, id) = (Seq::new(1), MessageId::new(101));
    let duplicate = Acked { key: key(1), channel: ROOM, seq, id, duplicate: true };
    breaks_from(Law::FalseDuplicate, with(acked(1, 1), Some(duplicate)));
    let repeated = with(acked(1, 1), Some(duplicate)).into_iter();
    assert!(judge([sent(1, "one")].into_iter().chain(repeated)).passed());
}

#[test]
fn sends_that_look_the_same_are_the_observers_fault() {
    breaks(Law::SameBody, [sent(4, "one")]);
}

#[test]
fn witnesses_are_bounded_and_violations_are_not() {
    let repeats = (0..100).map(|_| got(PHONE, 3, "three"));
    let verdict = judge(clean().into_iter().chain(repeats));
    assert_eq!(verdict.count(Law::ReceiverRepeat), 100);
    assert_eq!(verdict.witnesses.len(), 3);
    let named = verdict.witnesses[0].to_string();
    assert!(named.contains("channel 4 seq 3 (receiver 1 session 1)"), "{named}");
}

#[test]
fn a_channel_that_was_not_read_back_is_counted_as_such() {
    let verdict = judge([sent(1, "one"), acked(1, 1)]);
    assert_eq!(verdict.counts.channels_unread, 1);
}
