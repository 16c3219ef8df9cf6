//! The request table: one row per request kind, and the way from a request to its handler.

use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Asked;
use damso_proto::wire::server_frame::Kind as Reply_;

use super::budgets::Purse;
use super::envelope::Envelope;
use super::floors::Floors;
use super::refusal::Refusal;
use super::{blocks, channels, history, lists, members, outcome, people, update};
#[cfg(doc)]
use crate::model::limits;
use crate::model::rights::Actor;

/// What is known of a request kind before it is carried out.
///
/// A person has two budgets, and what a request does says which one it is paid from: what
/// changes something is paid from [`limits::SENDS_PER_USER`], what only reads from
/// [`limits::READS_PER_USER`]. With one budget for both, a device that comes back after a long
/// time and reads what it missed, a page of 4 at a time, would keep its person from sending for
/// minutes: 3,000 channels at 20 a second are ten. So reading has room for 1,000 pages at once
/// and 100 a second, as many as a device with four of them on their way can take in over a
/// network of 40 ms, and no more than a tenth of one of the threads that read them. Resuming
/// costs nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its name in metrics and logs.
    pub name: &'static str,
    /// Whether it changes something, and so needs an idempotency key: all but a new token, which
    /// changes nothing more when it comes again.
    pub mutates: bool,
    /// What it costs, in units of one message.
    pub cost: u32,
}

impl Row {
    /// What it costs its person.
    pub const fn price(self) -> (Purse, u32) {
        (if self.mutates { Purse::Changes } else { Purse::Reads }, self.cost)
    }
}

/// An answer on its way to the session.
pub type Reply = Reply_;

/// The row of a request. `None`: a frame that is no request.
pub const fn row(asked: &Asked) -> Option<Row> {
    let (name, mutates, cost) = match asked {
        Asked::Send(_) => ("send", true, 1),
        Asked::ReadHistory(_) => ("read_history", false, 4),
        // Up to 256 keys, each of which may have to be looked for on the disk.
        Asked::ReadOutcome(_) => ("read_outcome", false, 20),
        Asked::CreateChannel(_) => ("create_channel", true, 20),
        Asked::UpdateChannel(_) => ("update_channel", true, 10),
        Asked::OpenDirect(_) => ("open_direct", true, 10),
        Asked::ListChannels(_) => ("list_channels", false, 4),
        Asked::AddMembers(_) => ("add_members", true, 10),
        Asked::RemoveMember(_) => ("remove_member", true, 10),
        Asked::SetRole(_) => ("set_role", true, 10),
        Asked::MuteMember(_) => ("mute_member", true, 10),
        Asked::BanMember(_) => ("ban_member", true, 10),
        Asked::LiftBan(_) => ("lift_ban", true, 10),
        Asked::ListBans(_) => ("list_bans", false, 4),
        Asked::Block(_) => ("block", true, 10),
        Asked::Unblock(_) => ("unblock", true, 10),
        Asked::ListBlocks(_) => ("list_blocks", false, 4),
        Asked::LeaveChannel(_) => ("leave_channel", true, 10),
        Asked::ListMembers(_) => ("list_members", false, 4),
        Asked::FindPeople(_) => ("find_people", false, 2),
        Asked::Reauth(_) => ("reauth", true, 10),
        Asked::Hello(_) | Asked::Resume(_) | Asked::Ping(_) | Asked::Pong(_) | Asked::Cancel(_) => {
            return None;
        }
    };
    Some(Row { name, mutates, cost })
}

/// Carries a request out. A message is not among them: [`super::send()`] answers later; nor is a
/// new token, which is the session's.
///
/// # Errors
/// What the handler says; [`crate::delivery::Refusal::Deadline`] where it would begin too late.
pub async fn handle(
    actor: Actor,
    from: Envelope,
    asked: Asked,
    floors: &Floors,
) -> Result<Reply, Refusal> {
    let deadline = from.deadline;
    let mutates = row(&asked).is_some_and(|row| row.mutates);
    // Whether a command is a repetition, which is never too late or one too many, is known where
    // it is decided.
    if !mutates && let Some(refusal) = from.barred(floors.clock.now()) {
        return Err(refusal);
    }
    Ok(match asked {
        Asked::ReadHistory(ask) => Reply::Page(history::page(actor, ask, deadline, floors).await?),
        Asked::ReadOutcome(wire::ReadOutcome { keys }) => {
            Reply::Outcomes(outcome::outcomes(actor, keys, deadline, floors).await?)
        }
        Asked::CreateChannel(ask) => {
            Reply::Channel(channels::create(actor, from, ask, floors).await?)
        }
        Asked::UpdateChannel(ask) => Reply::Done(update::channel(actor, from, ask, floors).await?),
        Asked::OpenDirect(ask) => {
            Reply::Channel(channels::open_direct(actor, from, ask, floors).await?)
        }
        Asked::ListChannels(ask) => {
            Reply::ChannelList(channels::list(actor, ask, deadline, floors).await?)
        }
        Asked::AddMembers(ask) => Reply::Done(members::add(actor, from, ask, floors).await?),
        Asked::RemoveMember(ask) => Reply::Done(members::remove(actor, from, ask, floors).await?),
        Asked::SetRole(ask) => Reply::Done(members::set_role(actor, from, ask, floors).await?),
        Asked::MuteMember(ask) => Reply::Done(members::mute(actor, from, ask, floors).await?),
        Asked::BanMember(ask) => Reply::Done(members::ban(actor, from, ask, floors).await?),
        Asked::LiftBan(ask) => Reply::Done(members::lift_ban(actor, from, ask, floors).await?),
        Asked::ListBans(ask) => Reply::BanList(lists::bans(actor, ask, deadline, floors).await?),
        Asked::Block(ask) => Reply::Done(blocks::block(actor, from, ask, floors).await?),
        Asked::Unblock(ask) => Reply::Done(blocks::unblock(actor, from, ask, floors).await?),
        Asked::ListBlocks(ask) => {
            Reply::BlockList(blocks::list(actor, ask, deadline, floors).await?)
        }
        Asked::LeaveChannel(ask) => Reply::Done(members::leave(actor, from, ask, floors).await?),
        Asked::ListMembers(ask) => {
            Reply::MemberList(lists::members(actor, ask, deadline, floors).await?)
        }
        Asked::FindPeople(ask) => Reply::People(people::find(ask, deadline, floors).await?),
        Asked::Send(_)
        | Asked::Reauth(_)
        | Asked::Hello(_)
        | Asked::Resume(_)
        | Asked::Ping(_)
        | Asked::Pong(_)
        | Asked::Cancel(_) => return Err(Refusal::Unknown),
    })
}
