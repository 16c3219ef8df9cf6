//! What a line of input asks for.

use damso_client::{Role, Uid};

use crate::render::role_text;

/// Rows that `/history` shows unless it is told otherwise, and at most.
const HISTORY_ROWS: u32 = 20;
const HISTORY_ROWS_MAX: u32 = 100_000;

/// One line of input.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Command {
    /// Nothing: an empty line.
    Nothing,
    /// A text for the current channel.
    Say(String),
    Channels,
    Direct(Uid),
    Group {
        name: String,
        uids: Vec<Uid>,
    },
    Broadcast {
        name: String,
        uids: Vec<Uid>,
    },
    /// To the channel of this place in the list, from 1.
    Switch(usize),
    /// Another name for the current channel.
    Rename(String),
    Add(Uid),
    Remove(Uid),
    Role {
        uid: Uid,
        role: Role,
    },
    /// For so many minutes; 0: not any more.
    Mute {
        uid: Uid,
        minutes: u32,
    },
    Ban(Uid),
    Unban(Uid),
    Block(Uid),
    Unblock(Uid),
    Blocks,
    Leave,
    Members,
    History(u32),
    State,
    Help,
    Quit,
}

/// What `/help` says.
pub(crate) const HELP: &str = "\
text                   send it to the current channel (//text sends /text)
/direct UID            chat with one person
/group NAME UID...     make a group
/broadcast NAME UID... make a channel in which I write and these people read
/channels              list my channels, numbered
/switch N              go to channel N of that list
/rename NAME           give this channel another name (owners, moderators)
/history [N]           show the last N messages (20)
/members               who is in this channel
/add UID               let someone into this channel (owners, moderators)
/remove UID            put someone out of this channel (owners, moderators)
/role UID ROLE         make someone owner, moderator, member or reader
/mute UID MINUTES      let someone write nothing for so long; 0 lets them again
/ban UID               put someone out and keep them out; /unban UID ends that
/block UID             let neither of us write to the other; /unblock UID ends that
/blocks                whom I block
/leave                 leave this channel
/state                 how the connection stands
/quit                  end, once everything is sent";

impl Command {
    /// Reads a line. `Err`: how the command is used.
    pub(crate) fn parse(line: &str) -> Result<Self, &'static str> {
        let line = line.trim_end_matches(['\r', '\n']);
        let Some(command) = line.strip_prefix('/') else {
            let blank = line.trim().is_empty();
            return Ok(if blank { Self::Nothing } else { Self::Say(line.into()) });
        };
        if command.starts_with('/') {
            return Ok(Self::Say(command.into()));
        }
        let mut words = command.split_whitespace();
        let name = words.next().unwrap_or_default();
        let words: Vec<&str> = words.collect();
        match (name, &words[..]) {
            ("channels", []) => Ok(Self::Channels),
            ("direct", [uid]) => Ok(Self::Direct(parse_uid(uid)?)),
            ("direct", _) => Err("/direct UID"),
            ("group", [name, uids @ ..]) => {
                let uids = uids.iter().map(|uid| parse_uid(uid)).collect::<Result<_, _>>()?;
                Ok(Self::Group { name: (*name).into(), uids })
            }
            ("group", []) => Err("/group NAME UID..."),
            ("broadcast", [name, uids @ ..]) => {
                let uids = uids.iter().map(|uid| parse_uid(uid)).collect::<Result<_, _>>()?;
                Ok(Self::Broadcast { name: (*name).into(), uids })
            }
            ("broadcast", []) => Err("/broadcast NAME UID..."),
            ("switch", [number]) => match number.parse() {
                Ok(number) if number > 0 => Ok(Self::Switch(number)),
                _ => Err("/switch N, where N is a number that /channels shows"),
            },
            ("switch", _) => Err("/switch N"),
            ("rename", []) => Err("/rename NAME"),
            // A name may have blanks in it.
            ("rename", words) => Ok(Self::Rename(words.join(" "))),
            ("add", [uid]) => Ok(Self::Add(parse_uid(uid)?)),
            ("add", _) => Err("/add UID"),
            ("remove", [uid]) => Ok(Self::Remove(parse_uid(uid)?)),
            ("remove", _) => Err("/remove UID"),
            ("role", [uid, role]) => {
                let roles = [Role::Owner, Role::Moderator, Role::Member, Role::Reader];
                let role = roles.into_iter().find(|known| role_text(*known) == *role);
                let role = role.ok_or("a role is owner, moderator, member or reader")?;
                Ok(Self::Role { uid: parse_uid(uid)?, role })
            }
            ("role", _) => Err("/role UID ROLE"),
            ("mute", [uid, minutes]) => {
                let minutes = minutes.parse().map_err(|_| "/mute UID MINUTES, a whole number")?;
                Ok(Self::Mute { uid: parse_uid(uid)?, minutes })
            }
            ("mute", _) => Err("/mute UID MINUTES"),
            ("ban", [uid]) => Ok(Self::Ban(parse_uid(uid)?)),
            ("ban", _) => Err("/ban UID"),
            ("unban", [uid]) => Ok(Self::Unban(parse_uid(uid)?)),
            ("unban", _) => Err("/unban UID"),
            ("block", [uid]) => Ok(Self::Block(parse_uid(uid)?)),
            ("block", _) => Err("/block UID"),
            ("unblock", [uid]) => Ok(Self::Unblock(parse_uid(uid)?)),
            ("unblock", _) => Err("/unblock UID"),
            ("blocks", []) => Ok(Self::Blocks),
            ("leave", []) => Ok(Self::Leave),
            ("members", []) => Ok(Self::Members),
            ("history", []) => Ok(Self::History(HISTORY_ROWS)),
            ("history", [rows]) => match rows.parse() {
                Ok(rows @ 1..=HISTORY_ROWS_MAX) => Ok(Self::History(rows)),
                _ => Err("/history N, where N is from 1 to 100000"),
            },
            ("state", []) => Ok(Self::State),
            ("help" | "?", _) => Ok(Self::Help),
            ("quit" | "exit", []) => Ok(Self::Quit),
            _ => Err("no such command; /help lists them"),
        }
    }
}

fn parse_uid(text: &str) -> Result<Uid, &'static str> {
    Uid::parse(text).ok_or("a uid has 1 to 64 bytes and no control characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(text: &str) -> Uid {
        Uid::parse(text).expect("a uid")
    }

    #[test]
    fn a_line_is_a_text_unless_it_begins_with_a_slash() {
        let say = |text: &str| Ok(Command::Say(text.into()));
        let cases = [
            ("안녕", say("안녕")),
            ("  keeps its blanks ", say("  keeps its blanks ")),
            ("//shrug", say("/shrug")),
            ("a /quit", say("a /quit")),
            ("   ", Ok(Command::Nothing)),
            ("", Ok(Command::Nothing)),
            ("dos\r\n", say("dos")),
        ];
        for (line, expected) in cases {
            assert_eq!(Command::parse(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_command_is_read_with_its_words() {
        let group = |uids: Vec<Uid>| Ok(Command::Group { name: "tea".into(), uids });
        let cases = [
            ("/direct bob", Ok(Command::Direct(uid("bob")))),
            ("/direct  auth0|5f7c ", Ok(Command::Direct(uid("auth0|5f7c")))),
            ("/group tea", group(Vec::new())),
            ("/group tea bob 민수", group(vec![uid("bob"), uid("민수")])),
            ("/switch 2", Ok(Command::Switch(2))),
            ("/history", Ok(Command::History(HISTORY_ROWS))),
            ("/history 500", Ok(Command::History(500))),
            ("/rename 점심 모임", Ok(Command::Rename("점심 모임".into()))),
            ("/add bob", Ok(Command::Add(uid("bob")))),
            ("/remove bob", Ok(Command::Remove(uid("bob")))),
            ("/broadcast news", Ok(Command::Broadcast { name: "news".into(), uids: vec![] })),
            ("/role bob reader", Ok(Command::Role { uid: uid("bob"), role: Role::Reader })),
            ("/mute bob 10", Ok(Command::Mute { uid: uid("bob"), minutes: 10 })),
            ("/ban bob", Ok(Command::Ban(uid("bob")))),
            ("/unban bob", Ok(Command::Unban(uid("bob")))),
            ("/block bob", Ok(Command::Block(uid("bob")))),
            ("/unblock bob", Ok(Command::Unblock(uid("bob")))),
            ("/blocks", Ok(Command::Blocks)),
            ("/quit", Ok(Command::Quit)),
        ];
        for (line, expected) in cases {
            assert_eq!(Command::parse(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_command_that_is_none_says_how_it_is_used() {
        let long = format!("/direct {}", "x".repeat(65));
        let lines =
            ["/", "/nonsense", "/direct", "/direct a b", "/group", "/switch 0", "/switch x"];
        for line in lines.into_iter().chain([
            "/history 0",
            "/leave now",
            "/rename ",
            "/role bob king",
            "/role bob",
            &long,
        ]) {
            assert!(Command::parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn every_command_of_the_help_is_one() {
        let commands = HELP.lines().filter_map(|line| line.split_whitespace().next());
        for command in commands.filter(|word| word.starts_with('/')) {
            let takes = |rest| Command::parse(&format!("{command}{rest}")).is_ok();
            assert!(["", " 1", " 1 1", " 1 reader"].into_iter().any(takes), "{command}");
        }
    }
}
