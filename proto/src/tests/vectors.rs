//! The golden frames in `vectors/` say what the code says, both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use damso_proto::frame;
use damso_proto::limits::FRAME_BYTES_MAX;
use damso_proto::wire::{ClientFrame, ServerFrame};
use prost::Message;
use prost_reflect::{Kind, MessageDescriptor, Value};
use serde_json::Value as Json;

use super::descriptors::{from_json, message, pool, to_json};
use super::samples;
use super::vector_file::{Block, check, hex, read, unhex};

const HEAD: &str = "\
# Golden frames: what a {FROM} sends.
#
# bytes: one frame in hexadecimal, its length in front, as it goes through TLS.
# means: the same as JSON, as protobuf defines it: 64-bit numbers as strings,
#        bytes as base64, absent = default. `keep-alive` is the frame of length 0.
# Another encoder may put fields into another order; whoever decodes takes any.
";

fn body_of(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    let body = frame::split(&mut rest, FRAME_BYTES_MAX).expect("a length").expect("a whole frame");
    assert!(rest.is_empty(), "one frame and no more");
    body
}

fn written(from: &str, samples: &[(&str, Vec<u8>)]) -> String {
    let descriptor = message(&pool(), if from == "client" { "ClientFrame" } else { "ServerFrame" });
    let mut text = HEAD.replace("{FROM}", from);
    for (name, bytes) in samples {
        let body = body_of(bytes);
        let means = match body {
            [] => "keep-alive".to_owned(),
            body => to_json(&descriptor, body).to_string(),
        };
        writeln!(text, "\nname: {name}\nbytes: {}\nmeans: {means}", hex(bytes)).expect("memory");
    }
    text
}

fn client_samples() -> Vec<(&'static str, Vec<u8>)> {
    samples::client().iter().map(|sample| (sample.name, sample.bytes())).collect()
}

fn server_samples() -> Vec<(&'static str, Vec<u8>)> {
    samples::server().iter().map(|sample| (sample.name, sample.bytes())).collect()
}

#[test]
fn what_is_encoded_is_what_the_vectors_say() {
    check("client.txt", &written("client", &client_samples()));
    check("server.txt", &written("server", &server_samples()));
}

/// Decodes a block's bytes with the generated code, and by descriptor; compares both with `means`.
fn decoded<F: Message + Default>(block: &Block, descriptor: &MessageDescriptor) -> Option<F> {
    let bytes = unhex(&block["bytes"]);
    let body = body_of(&bytes);
    if block["means"] == "keep-alive" {
        assert_eq!(body, [0_u8; 0], "{block:?}");
        return None;
    }
    let means: Json = serde_json::from_str(&block["means"]).expect("JSON");
    assert_eq!(to_json(descriptor, body), means, "{block:?}");
    let frame = F::decode(body).expect("a frame");
    let other_order = from_json(descriptor, &block["means"]);
    assert_eq!(F::decode(&other_order[..]).expect("a frame").encode_to_vec(), body, "{block:?}");
    assert_eq!(frame.encode_to_vec(), body, "nothing is lost on the way: {block:?}");
    Some(frame)
}

#[test]
fn what_the_vectors_say_is_what_is_decoded() {
    let pool = pool();
    let client = message(&pool, "ClientFrame");
    let expected: BTreeMap<_, _> =
        samples::client().into_iter().map(|s| (s.name, s.frame)).collect();
    let stored = read("client.txt");
    assert_eq!(stored.len(), expected.len());
    for block in stored {
        assert_eq!(decoded::<ClientFrame>(&block, &client), expected[&block["name"][..]]);
    }
    let server = message(&pool, "ServerFrame");
    let expected: BTreeMap<_, _> =
        samples::server().into_iter().map(|s| (s.name, s.frame)).collect();
    let stored = read("server.txt");
    assert_eq!(stored.len(), expected.len());
    for block in stored {
        assert_eq!(decoded::<ServerFrame>(&block, &server), expected[&block["name"][..]]);
    }
}

/// Adds `Message.field` of everything that a message sets, all the way down.
fn set_fields(message: &prost_reflect::DynamicMessage, found: &mut BTreeSet<String>) {
    for (field, value) in message.fields() {
        found.insert(field.full_name().to_owned());
        // An entry has both its fields, whatever they hold.
        if let (Value::Map(_), Kind::Message(entry)) = (value, field.kind()) {
            found.extend(entry.fields().map(|field| field.full_name().to_owned()));
        }
        let values = match value {
            Value::List(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        for value in values {
            match (value, field.kind()) {
                (Value::Message(inner), _) => set_fields(inner, found),
                (Value::EnumNumber(number), Kind::Enum(named)) => {
                    let value = named.get_value(*number).expect("a value of the .proto files");
                    found.insert(value.full_name().to_owned());
                }
                _ => {}
            }
        }
    }
}

#[test]
fn every_field_and_every_value_of_the_proto_files_is_in_a_vector() {
    let pool = pool();
    let mut found = BTreeSet::new();
    for (frame, samples) in [("ClientFrame", client_samples()), ("ServerFrame", server_samples())] {
        let frame = message(&pool, frame);
        for (_, bytes) in samples {
            let body = body_of(&bytes);
            let message = prost_reflect::DynamicMessage::decode(frame.clone(), body);
            set_fields(&message.expect("a frame"), &mut found);
        }
    }
    let fields = pool.all_messages().flat_map(|message| message.fields().collect::<Vec<_>>());
    let names: Vec<String> = fields.map(|field| field.full_name().to_owned()).collect();
    // Of these no value but the default exists yet.
    let not_yet = ["Hello.capabilities", "Welcome.features", "Row.rev"];
    let exempt = |name: &str| not_yet.iter().any(|exempt| name.ends_with(exempt));
    let missing: Vec<_> =
        names.iter().filter(|name| !found.contains(*name) && !exempt(name)).collect();
    assert!(missing.is_empty(), "no vector has {missing:?}");
    let states = pool.get_enum_by_name("damso.v1.Standing.State").expect("the states");
    for state in states.values().filter(|state| state.number() != 0) {
        assert!(found.contains(state.full_name()), "no vector has {}", state.full_name());
    }
}

#[test]
fn names_are_given_once() {
    let mut names = BTreeSet::new();
    for (name, _) in client_samples().into_iter().chain(server_samples()) {
        assert!(names.insert(name), "{name} twice");
    }
}
