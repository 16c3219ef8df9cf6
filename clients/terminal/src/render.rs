//! Text of others, made safe for a terminal, and lines made of it.

use damso_client::{Content, Event, Role, System, UserNo};
use serde_json::{Value, json};

/// Behind a line break, so that no text of others can look like a line of ours.
const CONTINUATION: &str = "\n    ";

/// What a terminal may be given of a remote text: no escape sequences, no reordering.
pub(crate) fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => safe.push_str(CONTINUATION),
            '\t' => safe.push(' '),
            hostile if is_hostile(hostile) => {}
            harmless => safe.push(harmless),
        }
    }
    safe
}

/// The same for what must fit on one line.
pub(crate) fn safe_line(text: &str) -> String {
    text.chars().filter(|character| !is_hostile(*character)).collect()
}

/// Moves the cursor, or makes text read in another order than it is stored.
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200e}' | '\u{200f}'      // marks of direction
            | '\u{2028}'..='\u{202e}'                 // separators, embeddings, overrides
            | '\u{2066}'..='\u{2069}'                 // isolates
            | '\u{fff9}'..='\u{fffb}'                 // annotations
            | '\u{e0000}'..='\u{e007f}') // invisible tags
}

/// One line of JSON. What is hostile to a terminal is escaped, so nothing is lost.
pub(crate) fn json_line(value: &Value) -> String {
    let mut line = String::new();
    for character in value.to_string().chars() {
        if is_hostile(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            line.push(character);
        }
    }
    line
}

/// Hours, minutes and seconds in UTC.
pub(crate) fn time(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000;
    format!("{:02}:{:02}:{:02}Z", seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60)
}

/// How people are called.
pub(crate) trait Names {
    /// A person's uid as it may be shown.
    fn of(&self, user: UserNo) -> String;

    /// Several, with commas.
    fn list(&self, users: &[UserNo]) -> String {
        users.iter().map(|user| self.of(*user)).collect::<Vec<_>>().join(", ")
    }
}

/// `[time] name: text`, or what happened. `None`: nothing to show.
pub(crate) fn event_line(event: &Event, names: &impl Names) -> Option<String> {
    let what = match &event.content {
        Content::Text(text) => format!("{}: {}", names.of(event.sender), safe(text)),
        Content::Custom { name, body } => {
            let name = safe_line(name);
            format!("{} sent {name} ({} bytes)", names.of(event.sender), body.len())
        }
        Content::System(system) => format!("* {}", system_text(system, names)?),
        Content::Unknown => return None,
    };
    Some(format!("[{}] {what}", time(event.unix_ms())))
}

fn system_text(system: &System, names: &impl Names) -> Option<String> {
    match system {
        System::Created { by, members } => {
            let others: Vec<UserNo> = members.iter().copied().filter(|user| user != by).collect();
            let with = if others.is_empty() {
                String::new()
            } else {
                format!(" with {}", names.list(&others))
            };
            Some(format!("{} made this channel{with}", names.of(*by)))
        }
        System::MembersAdded { by, members } => {
            Some(format!("{} added {}", names.of(*by), names.list(members)))
        }
        System::MemberRemoved { by, member, banned } => {
            let what = if *banned { "banned" } else { "removed" };
            Some(format!("{} {what} {}", names.of(*by), names.of(*member)))
        }
        System::Muted { by, member, until_ms, .. } => {
            let (by, member) = (names.of(*by), names.of(*member));
            Some(match until_ms {
                0 => format!("{by} let {member} write again"),
                until_ms => format!("{by} muted {member} until {}", time(*until_ms)),
            })
        }
        System::MemberLeft { member } => Some(format!("{} left", names.of(*member))),
        System::RoleSet { by, member, role, .. } => {
            let (by, member) = (names.of(*by), names.of(*member));
            Some(format!("{by} made {member} {}", role_text(*role)))
        }
        System::BlockSet { user, blocked } => {
            let what = if *blocked { "block" } else { "no longer block" };
            Some(format!("you {what} {}", names.of(*user)))
        }
        System::ChannelUpdated { by, name: Some(name), .. } => {
            Some(format!("{} named this channel {}", names.of(*by), safe_line(name)))
        }
        System::ChannelUpdated { name: None, .. }
        | System::ChannelAdded { .. }
        | System::ChannelRemoved { .. } => None,
    }
}

/// What somebody is, as people say it and type it.
pub(crate) const fn role_text(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Moderator => "moderator",
        Role::Member => "member",
        Role::Reader => "reader",
    }
}

/// The same for scripts. Ids are text: not every reader of JSON has 64-bit numbers.
pub(crate) fn event_json(event: &Event, names: &impl Names) -> Option<Value> {
    let mut line = json!({
        "channel": event.channel.get(),
        "seq": event.seq.get(),
        "id": event.id.get().to_string(),
        "time_ms": event.unix_ms(),
        "sender": names.of(event.sender),
    });
    let content = match &event.content {
        Content::Text(text) => json!({"type": "message", "text": text}),
        Content::Custom { name, body } => {
            json!({"type": "custom", "name": name, "bytes": body.len()})
        }
        Content::System(system) => json!({"type": "system", "text": system_text(system, names)?}),
        Content::Unknown => return None,
    };
    let reply = event.reply_to.map(|seq| ("reply_to".to_owned(), json!(seq.get())));
    if let (Value::Object(line), Value::Object(content)) = (&mut line, content) {
        line.extend(content);
        line.extend(reply);
    }
    Some(line)
}

/// The people that an event names.
pub(crate) fn people_of(event: &Event) -> Vec<UserNo> {
    let mut people = vec![event.sender];
    match &event.content {
        Content::System(System::Created { by, members } | System::MembersAdded { by, members }) => {
            people.push(*by);
            people.extend(members);
        }
        Content::System(System::MemberRemoved { by, member, .. }) => people.extend([*by, *member]),
        Content::System(System::MemberLeft { member }) => people.push(*member),
        Content::System(System::ChannelUpdated { by, .. }) => people.push(*by),
        Content::System(System::BlockSet { user, .. }) => people.push(*user),
        _ => {}
    }
    people.retain(|user| user.get() != 0);
    people
}

#[cfg(test)]
mod tests {
    use damso_client::{ChannelNo, MessageId, Seq};

    use super::*;

    struct Fixed;

    impl Names for Fixed {
        fn of(&self, user: UserNo) -> String {
            ["the server", "alice", "bob"][user.get() as usize].into()
        }
    }

    fn event(content: Content) -> Event {
        Event {
            channel: ChannelNo::new(4),
            seq: Seq::new(9),
            id: MessageId::new(3_723_000 << 22),
            sender: UserNo::new(1),
            reply_to: None,
            silent: false,
            uncounted: false,
            content,
        }
    }

    #[test]
    fn remote_text_cannot_steer_a_terminal() {
        let cases = [
            ("안녕 👋🏽 日本", "안녕 👋🏽 日本"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}x", "[2J]0;titlex"),
            ("\u{9b}31mred", "31mred"),
            ("a\u{202e}b\u{2066}c\u{200f}d", "abcd"),
            ("one\r\ntwo", "one\n    two"),
            ("tab\there\u{7f}\u{8}", "tab here"),
            ("\u{2028}[09:00:00Z] bob: never said", "[09:00:00Z] bob: never said"),
        ];
        for (hostile, expected) in cases {
            assert_eq!(safe(hostile), expected, "{hostile:?}");
        }
        assert_eq!(safe_line("a\nb"), "ab");
    }

    #[test]
    fn an_event_is_one_line_with_time_and_name() {
        let cases = [
            (Content::Text("hi".into()), Some("[01:02:03Z] alice: hi")),
            (
                Content::System(System::MemberLeft { member: UserNo::new(2) }),
                Some("[01:02:03Z] * bob left"),
            ),
            (
                Content::Custom { name: "poll/1".into(), body: vec![1, 2].into() },
                Some("[01:02:03Z] alice sent poll/1 (2 bytes)"),
            ),
            (
                Content::System(System::Created {
                    by: UserNo::new(1),
                    members: vec![UserNo::new(1), UserNo::new(2)],
                }),
                Some("[01:02:03Z] * alice made this channel with bob"),
            ),
            (
                Content::System(System::ChannelUpdated {
                    by: UserNo::new(1),
                    name: Some("저녁\u{1b}[2J".into()),
                    custom: None,
                    version: 7,
                }),
                Some("[01:02:03Z] * alice named this channel 저녁[2J"),
            ),
            (Content::Unknown, None),
        ];
        for (content, expected) in cases {
            assert_eq!(event_line(&event(content), &Fixed).as_deref(), expected);
        }
    }

    #[test]
    fn json_loses_nothing_and_is_harmless_too() {
        let hostile = "a\u{1b}[1m\u{202e}\u{9b}\u{e0041}\"\n";
        let json = event_json(&event(Content::Text(hostile.into())), &Fixed).expect("a line");
        let line = json_line(&json);
        assert!(!line.chars().any(is_hostile), "{line}");
        let read: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(read["text"], hostile);
        assert_eq!((&read["type"], &read["seq"]), (&json!("message"), &json!(9)));
    }

    #[test]
    fn everyone_whom_an_event_names_is_looked_up() {
        let members = vec![UserNo::new(2)];
        let created = event(Content::System(System::Created { by: UserNo::new(1), members }));
        assert_eq!(people_of(&created), [1, 1, 2].map(UserNo::new));
    }
}
