//! Packets and streams of them.

use std::num::NonZeroU16;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::codec::{
    BODY_BYTES_MAX, Delivery, Fault, FilterList, PACKET_BYTES_MAX, Packet, PacketId, Publish, Qos,
    decode,
};
use super::super::reader::Reader;

fn id(number: u16) -> PacketId {
    PacketId(NonZeroU16::new(number).unwrap())
}

fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(&mut out).unwrap();
    out
}

fn publish(delivery: Delivery, retain: bool, payload: &[u8]) -> Packet<'_> {
    Packet::Publish(Publish { topic: "a/b", delivery, retain, payload })
}

/// What a stream came to: its packets, encoded again, and the fault that ended it.
fn hear<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Option<Fault>) {
    let mut reader = Reader::default();
    let mut heard = Vec::new();
    for piece in pieces {
        let result = reader.read(piece, |packet| {
            heard.push(encoded(&packet));
            Ok(())
        });
        if let Err(fault) = result {
            return (heard, Some(fault));
        }
    }
    (heard, None)
}

/// `bytes` cut at the given places, each taken modulo the length.
fn cut<'a>(bytes: &'a [u8], at: &[usize]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = at.iter().map(|at| at % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let begins = std::iter::once(0).chain(ends.iter().copied());
    begins.zip(ends.iter()).map(|(begin, end)| &bytes[begin..*end]).collect()
}

/// Any packet, encoded.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let delivery = prop_oneof![
        Just(Delivery::AtMostOnce),
        (1..u16::MAX, any::<bool>())
            .prop_map(|(number, again)| Delivery::AtLeastOnce { id: id(number), again }),
    ];
    // Around the lengths at which the remaining length gets a byte more.
    let payload = prop_oneof![vec(any::<u8>(), 0..300), vec(any::<u8>(), 16_370..16_390)];
    let filters = vec(("[a-z가-힣/]{1,20}", any::<bool>()), 1..9);
    prop_oneof![
        ("[a-z가-힣]{0,30}", any::<u16>()).prop_map(|(client_id, keep_alive_s)| {
            encoded(&Packet::Connect { client_id: &client_id, keep_alive_s })
        }),
        (any::<bool>(), 1..6_u8).prop_map(|(ok, code)| {
            encoded(&Packet::ConnAck { session_present: ok, code: if ok { 0 } else { code } })
        }),
        (delivery, any::<bool>(), payload)
            .prop_map(|(delivery, retain, payload)| encoded(&publish(delivery, retain, &payload))),
        (1..u16::MAX).prop_map(|number| encoded(&Packet::PubAck(id(number)))),
        (1..u16::MAX, filters).prop_map(|(number, filters)| {
            let mut list = FilterList::default();
            for (topic, sure) in filters {
                assert!(list.push(&topic, if sure { Qos::AtLeastOnce } else { Qos::AtMostOnce }));
            }
            encoded(&Packet::Subscribe { id: id(number), filters: list.filters() })
        }),
        (1..u16::MAX, vec(prop_oneof![0..3_u8, Just(0x80)], 0..9))
            .prop_map(|(number, codes)| encoded(&Packet::SubAck { id: id(number), codes: &codes })),
        prop_oneof![Just(Packet::PingReq), Just(Packet::PingResp), Just(Packet::Disconnect)]
            .prop_map(|packet| encoded(&packet)),
    ]
}

proptest! {
    #[test]
    fn a_stream_cut_anywhere_gives_the_packets_that_went_in(
        packets in vec(packet(), 0..12),
        at in vec(any::<usize>(), 0..12),
    ) {
        let stream = packets.concat();
        prop_assert_eq!(hear(cut(&stream, &at)), (packets, None));
    }

    #[test]
    fn a_harmed_stream_ends_alike_wherever_it_is_cut(
        packets in vec(packet(), 1..6),
        harm in vec((any::<usize>(), any::<u8>()), 1..4),
        at in vec(any::<usize>(), 0..12),
    ) {
        let mut stream = packets.concat();
        for (at, byte) in harm {
            let at = at % stream.len();
            stream[at] = byte;
        }
        prop_assert_eq!(hear(cut(&stream, &at)), hear([&stream[..]]));
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in vec(any::<u8>(), 0..2_000), at in vec(any::<usize>(), 0..9)) {
        hear(cut(&bytes, &at));
    }
}

#[test]
fn packets_have_the_bytes_that_the_standard_says() {
    let mut list = FilterList::default();
    assert!(list.push("a/b", Qos::AtLeastOnce));
    assert!(list.push("c", Qos::AtMostOnce));
    let sure = Delivery::AtLeastOnce { id: id(0x0102), again: true };
    let cases: [(Packet<'_>, &[u8]); 9] = [
        (
            Packet::Connect { client_id: "me", keep_alive_s: 60 },
            b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02me",
        ),
        (Packet::ConnAck { session_present: false, code: 5 }, b"\x20\x02\x00\x05"),
        (publish(Delivery::AtMostOnce, true, b"hi"), b"\x31\x07\x00\x03a/bhi"),
        (publish(sure, false, b"hi"), b"\x3a\x09\x00\x03a/b\x01\x02hi"),
        (Packet::PubAck(id(9)), b"\x40\x02\x00\x09"),
        (
            Packet::Subscribe { id: id(7), filters: list.filters() },
            b"\x82\x0c\x00\x07\x00\x03a/b\x01\x00\x01c\x00",
        ),
        (Packet::SubAck { id: id(7), codes: &[1, 0x80] }, b"\x90\x04\x00\x07\x01\x80"),
        (Packet::PingReq, b"\xc0\x00"),
        (Packet::Disconnect, b"\xe0\x00"),
    ];
    for (packet, bytes) in cases {
        assert_eq!(encoded(&packet), bytes, "{packet:?}");
        assert_eq!(decode(bytes), Ok(Some((packet, bytes.len()))));
    }
    let read: Vec<_> = list.filters().collect();
    assert_eq!(read, [("a/b", Qos::AtLeastOnce), ("c", Qos::AtMostOnce)]);
}

#[test]
fn what_the_standard_forbids_is_a_fault() {
    let cases: [(&[u8], Fault); 22] = [
        (b"\x00", Fault::Head(0)),
        (b"\xf0\x00", Fault::Head(0xf0)),
        (b"\x41", Fault::Head(0x41)),
        (b"\x80\x02", Fault::Head(0x80)),
        // QoS 2, QoS 3, and DUP at QoS 0.
        (b"\x34", Fault::Head(0x34)),
        (b"\x36", Fault::Head(0x36)),
        (b"\x38", Fault::Head(0x38)),
        (b"\x30\xff\xff\xff\xff", Fault::Length),
        (b"\x40\x01\x00", Fault::Short),
        (b"\x40\x03\x00\x01\x00", Fault::Long),
        (b"\xd0\x01\x00", Fault::Long),
        (b"\x40\x02\x00\x00", Fault::Id),
        (b"\x32\x05\x00\x01a\x00\x00", Fault::Id),
        (b"\x30\x02\x00\x00", Fault::Text),
        (b"\x30\x03\x00\x01#", Fault::Text),
        (b"\x30\x03\x00\x01\x00", Fault::Text),
        (b"\x30\x03\x00\x01\xff", Fault::Text),
        (b"\x30\x03\x00\x02a", Fault::Short),
        (b"\x82\x02\x00\x01", Fault::Short),
        (b"\x82\x06\x00\x01\x00\x01a\x02", Fault::Code(2)),
        (b"\x90\x03\x00\x01\x03", Fault::Code(3)),
        (b"\x20\x02\x01\x05", Fault::Code(1)),
    ];
    for (bytes, fault) in cases {
        assert_eq!(decode(bytes), Err(fault), "{bytes:x?}");
    }
    let will = b"\x10\x0e\x00\x04MQTT\x04\x06\x00\x3c\x00\x02me";
    assert_eq!(decode(will), Err(Fault::Protocol));
}

#[test]
fn the_longest_packet_passes_and_a_longer_one_is_refused_by_its_header() {
    let overhead = "a/b".len() + 2;
    let payload = vec![7; BODY_BYTES_MAX - overhead];
    let longest = encoded(&publish(Delivery::AtMostOnce, false, &payload));
    assert!(longest.len() <= PACKET_BYTES_MAX);
    assert_eq!(hear([&longest[..100], &longest[100..]]), (vec![longest.clone()], None));

    let payload = vec![7; payload.len() + 1];
    let mut out = Vec::new();
    let longer = publish(Delivery::AtMostOnce, false, &payload);
    assert_eq!(longer.encode(&mut out), Err(Fault::TooLong(BODY_BYTES_MAX + 1)));
    assert!(out.is_empty());
    let mut header = longest[..4].to_vec();
    header[1] += 1;
    assert_eq!(decode(&header), Err(Fault::TooLong(BODY_BYTES_MAX + 1)));
}

#[test]
fn a_list_of_topics_stops_growing_where_its_packet_would_be_too_long() {
    let mut list = FilterList::default();
    let mut pushed = 0;
    while list.push(&format!("load/{pushed}"), Qos::AtMostOnce) {
        pushed += 1;
    }
    assert_eq!(list.filters().count(), pushed);
    let bytes = encoded(&Packet::Subscribe { id: id(1), filters: list.filters() });
    assert!((PACKET_BYTES_MAX - 20..=PACKET_BYTES_MAX).contains(&bytes.len()), "{}", bytes.len());
}
