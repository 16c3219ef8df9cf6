//! README.md says what the code does: numbers, names, limits, bytes.

use std::collections::BTreeMap;

use damso_proto::code::{CloseCode, Code};
use damso_proto::limits;

use super::descriptors::{message, pool};
use super::vector_file::{read, unhex};

const README: &str = include_str!("../../README.md");

/// Cells of all table rows whose first cell is a number.
fn numbered_rows() -> Vec<(u32, Vec<&'static str>)> {
    let cells = |line: &'static str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        Some((cells.first()?.parse().ok()?, cells))
    };
    README.lines().filter(|line| line.starts_with('|')).filter_map(cells).collect()
}

/// The blocks fenced as `kind`: what stands behind it, and the lines.
fn blocks(kind: &str) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut parts = README.split("\n```");
    parts.next();
    let fenced = parts.step_by(2).filter_map(|block| block.split_once('\n'));
    let of_kind = fenced.filter_map(|(head, text)| Some((head.strip_prefix(kind)?.trim(), text)));
    of_kind.map(|(head, text)| (head, text.lines().collect())).collect()
}

fn vectors() -> BTreeMap<String, Vec<u8>> {
    let blocks = ["client.txt", "server.txt"].into_iter().flat_map(read);
    blocks.map(|block| (block["name"].clone(), unhex(&block["bytes"]))).collect()
}

#[test]
fn every_code_has_its_row_and_no_row_has_another() {
    let named = |number, name: &str| (number, format!("`{name}`"));
    let refusals = Code::ALL.iter().map(|code| named(code.number(), code.name()));
    let closes = CloseCode::ALL.iter().map(|code| named(code.number(), code.name()));
    let expected: Vec<_> = refusals.chain(closes).collect();
    let rows = numbered_rows().into_iter();
    let written: Vec<_> = rows
        .filter(|(number, cells)| *number >= 100 && cells[1].starts_with('`'))
        .map(|(number, cells)| (number, cells[1].to_owned()))
        .collect();
    assert_eq!(written, expected);
}

#[test]
fn every_kind_of_frame_is_told_with_its_number() {
    let rows = numbered_rows();
    let told = |number: u32, name: &str| {
        rows.iter().any(|(_, cells)| {
            cells.windows(2).any(|pair| pair[0] == number.to_string() && pair[1] == name)
        })
    };
    let answers_too = |name: &str| {
        rows.iter().any(|(_, cells)| cells.last().is_some_and(|cell| cell.contains(name)))
    };
    let pool = pool();
    for frame in ["ClientFrame", "ServerFrame"] {
        let frame = message(&pool, frame);
        let kinds = frame.oneofs().find(|oneof| oneof.name() == "kind").expect("kinds");
        for field in kinds.fields() {
            let kind = field.kind();
            let name = kind.as_message().expect("a message").name().to_owned();
            let is_answer = frame.name() == "ServerFrame" && answers_too(&name);
            let is_refusal = name == "Refusal";
            assert!(
                told(field.number(), &name)
                    || told_behind(field.number(), &name)
                    || is_answer
                    || is_refusal,
                "README does not tell {} {name}",
                field.number()
            );
        }
    }
}

/// The right half of the table of frames that are no requests.
fn told_behind(number: u32, name: &str) -> bool {
    README.lines().any(|line| line.ends_with(&format!("| {number} | {name} |")))
}

#[test]
fn the_limits_are_those_of_the_code() {
    let seconds = |limit: std::time::Duration| limit.as_secs();
    let expected = [
        ("frame before Welcome, bytes", limits::FRAME_BEFORE_LOGIN_BYTES_MAX.into()),
        ("frame after Welcome, bytes", limits::FRAME_BYTES_MAX.into()),
        ("frame that a Welcome may allow, bytes", limits::FRAME_BYTES_CEILING.into()),
        ("bytes behind Hello that wait for the login", limits::BEHIND_HELLO_BYTES_MAX as u64),
        ("Resume frames", limits::RESUME_FRAMES_MAX.into()),
        ("cursors in a Resume frame", limits::RESUME_CURSORS_PER_FRAME_MAX as u64),
        ("pending sends in a Resume frame", limits::RESUME_PENDING_PER_FRAME_MAX as u64),
        ("requests in flight", limits::REQUESTS_IN_FLIGHT_MAX.into()),
        ("trace context, bytes", limits::TRACEPARENT_BYTES_MAX as u64),
        ("login, seconds", seconds(limits::LOGIN_LIMIT)),
        ("probe after silence, seconds", seconds(limits::PROBE_AFTER)),
        ("idle limit, seconds", seconds(limits::IDLE_LIMIT)),
    ];
    for (limit, value) in expected {
        let row = format!("| {limit} | {value} |");
        assert!(README.contains(&row), "README lacks {row}");
    }
}

#[test]
fn the_session_is_made_of_golden_frames() {
    let vectors = vectors();
    let sessions = blocks("session");
    let (_, lines) = sessions.first().expect("a session");
    assert!(lines.len() >= 8);
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, name, bytes] = words[..] else { panic!("{line}") };
        assert_eq!(unhex(bytes), vectors[name], "{name}");
    }
}

#[test]
fn the_frames_taken_apart_are_golden_ones() {
    let vectors = vectors();
    let frames = blocks("frame");
    assert_eq!(frames.len(), 2);
    for (name, lines) in frames {
        let hex = lines.iter().map(|line| line.trim_start().split("  ").next().unwrap_or_default());
        assert_eq!(unhex(&hex.collect::<String>()), vectors[name], "{name}");
    }
}
