//! What a replica must remember to go on after its process ended.

use bytes::Bytes;

use super::outbox::Unsent;
use super::resume::Cursor;
use crate::id::UserNo;

/// A replica at one moment: no event that the app took comes again, and no send is lost.
///
/// Take one after handling a batch of news, and keep it together with what was made
/// of that batch.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Snapshot {
    /// Whose it is; another person's login refuses it. `None`: never logged in.
    pub user: Option<UserNo>,
    /// Where the app stands in each channel.
    pub cursors: Vec<Cursor>,
    /// Sends without an answer, each lane in order. They may have been stored meanwhile.
    pub unsent: Vec<Unsent>,
    /// The last session, for the server's logs.
    pub session: Bytes,
}
