//! What a replica must remember to go on after its process ended.

use std::fmt;

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
    /// The device that took it. A login as another one leaves the proof out.
    pub device: String,
    /// What proves that it is this device. Whoever hands it to [`super::Replica::new`] has stored
    /// it: it is presented from then on, and the server then asks for it each time.
    pub proof: Proof,
}

/// What proves to the server that this is the device that it knows; empty: nothing does. Never
/// shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Proof(pub Bytes);

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Proof(none)" } else { "Proof(..)" })
    }
}
