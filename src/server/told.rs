//! What an operator is told of a running server, as text.

use std::fmt::Write as _;

use serde::Serialize;

use crate::admin::{ConnectionRow, Facts, Status};

/// A line for programs.
pub(super) fn json(value: &impl Serialize) -> String {
    // Of structs of numbers and texts; there is nothing in them that JSON has no word for.
    serde_json::to_string(value).map(|text| text + "\n").unwrap_or_default()
}

/// How a server is.
pub(super) fn status(status: &Status) -> String {
    let Status { facts, not_ready, resident_bytes, descriptors, descriptors_max, cpu_s, shards } =
        status;
    let Facts { version, pid, uptime_s, chat, api, connections, connections_max, .. } = facts;
    let mut text = format!("damso {version}, process {pid}, up {}: ", span(*uptime_s));
    match not_ready {
        None => text.push_str("ready\n"),
        Some(why) => line(&mut text, format_args!("NOT READY: {why}")),
    }
    line(
        &mut text,
        format_args!("  clients      {chat}, {connections} of {connections_max} connections"),
    );
    line(&mut text, format_args!("  backends     {api}"));
    let memory = resident_bytes.map_or("unknown".to_owned(), mebibytes);
    let (budget, level) = (mebibytes(facts.memory_budget_bytes), &facts.memory_level);
    let memory = format!("{memory} of {budget} ({level})");
    line(&mut text, format_args!("  memory       {memory}, {cpu_s:.1} s of processor time"));
    let open = descriptors.map_or("unknown".to_owned(), |open| open.to_string());
    line(&mut text, format_args!("  descriptors  {open} of {descriptors_max}"));
    line(&mut text, format_args!("  certificate  {}", certificate(facts.certificate_until_s)));
    text.push_str("  shard  sessions    people  channels      mail  oldest unsent\n");
    for (shard, row) in shards.iter().enumerate() {
        match row {
            Some(row) => line(
                &mut text,
                format_args!(
                    "  {shard:>5}  {:>8}  {:>8}  {:>8}  {:>8}  {:>10.1} ms",
                    row.sessions, row.people, row.channels, row.mail, row.unsent_oldest_ms
                ),
            ),
            None => line(&mut text, format_args!("  {shard:>5}  DOES NOT ANSWER")),
        }
    }
    text
}

/// Who is connected.
pub(super) fn connections(rows: &[ConnectionRow], more: bool) -> String {
    let mut text = String::new();
    if rows.is_empty() {
        text.push_str("nobody is connected\n");
        return text;
    }
    let widest =
        |of: fn(&ConnectionRow) -> usize, least| rows.iter().map(of).max().unwrap_or(0).max(least);
    let users = widest(|row| user_of(row).chars().count(), 4);
    let devices = widest(|row| printed(&row.device).chars().count(), 6);
    let wide = format_args!("  {:users$}  {:devices$}  ", "user", "device").to_string();
    line(
        &mut text,
        format_args!(
            "{:<14}{wide}{:<39}  {:>9}  {:>6}  state",
            "connection", "address", "for", "asked"
        ),
    );
    for row in rows {
        let address = row.address.map_or("-".to_owned(), |address| address.to_string());
        line(
            &mut text,
            format_args!(
                "{:<14}  {:users$}  {:devices$}  {address:<39}  {:>9}  {:>6}  {}",
                row.connection,
                user_of(row),
                printed(&row.device),
                span(row.since_s),
                row.in_flight,
                row.state
            ),
        );
    }
    if more {
        line(&mut text, format_args!("... and more: --max {}", rows.len() * 10));
    }
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{line}");
}

/// Names are other people's: what a terminal would obey is shown, not sent.
fn printed(name: &str) -> String {
    name.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

fn user_of(row: &ConnectionRow) -> String {
    printed(row.user.as_deref().unwrap_or("?"))
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// A time as two of its units.
fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

fn certificate(until_s: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let left = until_s.saturating_sub(now.map_or(0, |now| now.as_secs().cast_signed()));
    match u64::try_from(left) {
        Ok(left) => format!("good for {}", span(left)),
        Err(_) => "OVER: renew it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::ShardRow;

    fn row(user: Option<&str>, device: &str) -> ConnectionRow {
        ConnectionRow {
            connection: "0-12-3".into(),
            user: user.map(Into::into),
            number: 7,
            device: device.into(),
            address: Some([192, 0, 2, 7].into()),
            since_s: 3_700,
            in_flight: 2,
            state: "live".into(),
        }
    }

    #[test]
    fn names_of_others_move_no_terminal_and_columns_stand_below_each_other() {
        let text = connections(&[row(Some("앨리스"), "\u{1b}[2J"), row(None, "phone")], true);
        assert!(!text.contains('\u{1b}') && text.contains("1 h 1 min"), "{text}");
        let columns: Vec<_> = text
            .lines()
            .take(3)
            .map(|line| {
                let at = line.find("state").or_else(|| line.find("live")).unwrap();
                line[..at].chars().count()
            })
            .collect();
        assert_eq!(columns, [columns[0]; 3], "{text}");
        assert!(text.ends_with("... and more: --max 20\n"), "{text}");
    }

    #[test]
    fn a_shard_that_is_silent_and_a_server_that_is_not_ready_are_seen() {
        let facts = Facts {
            version: "1".into(),
            pid: 1,
            draining: true,
            uptime_s: 90_000,
            chat: ([127, 0, 0, 1], 1).into(),
            api: ([127, 0, 0, 1], 2).into(),
            connections: 1,
            connections_max: 2,
            certificate_until_s: 0,
            memory_budget_bytes: 4 << 20,
            memory_level: "free".into(),
        };
        let shard =
            ShardRow { sessions: 1, people: 1, channels: 1, mail: 0, unsent_oldest_ms: 0.25 };
        let told = status(&Status {
            facts,
            not_ready: Some("draining".into()),
            resident_bytes: Some(3 << 20),
            descriptors: None,
            descriptors_max: 9,
            cpu_s: 0.5,
            shards: vec![Some(shard), None],
        });
        for seen in [
            "NOT READY: draining",
            "1 d 1 h",
            "3.0 MiB of 4.0 MiB (free)",
            "OVER",
            "DOES NOT ANSWER",
        ] {
            assert!(told.contains(seen), "{seen}: {told}");
        }
    }
}
