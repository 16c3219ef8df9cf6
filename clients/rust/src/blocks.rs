//! Whom a person blocks.

use damso_proto::client::Answer;
use damso_proto::id::{Seq, Uid, UserNo};
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind;

use crate::client::Client;
use crate::error::Error;

/// A person whom this one blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blocked {
    /// Their number.
    pub user: UserNo,
    /// Who they are.
    pub uid: Uid,
}

impl Client {
    /// Blocks a person: from now on neither of the two writes in their direct channel, and the
    /// other one, who is not told, cannot add this one to a channel. Nothing of theirs comes in the
    /// direct channel above the returned seq; 0: there is none, or it was so already.
    ///
    /// In channels that both are in they go on to be heard: what is shown of them is the app's to
    /// decide.
    ///
    /// # Errors
    /// [`Error`]; asking again is safe.
    pub async fn block(&self, user: UserNo) -> Result<Seq, Error> {
        self.done(Kind::Block(wire::Block { user: user.get() })).await
    }

    /// Blocks a person no longer. The two write to each other again, unless the other one blocks
    /// this one, too.
    ///
    /// # Errors
    /// [`Error`]; asking again is safe.
    pub async fn unblock(&self, user: UserNo) -> Result<(), Error> {
        self.done(Kind::Unblock(wire::Unblock { user: user.get() })).await.map(drop)
    }

    /// Whom this person blocks, by rising number.
    ///
    /// # Errors
    /// [`Error`]; asking again is safe.
    pub async fn blocks(&self) -> Result<Vec<Blocked>, Error> {
        let ask = |after| Kind::ListBlocks(wire::ListBlocks { after, limit: 0 });
        self.pages(
            ask,
            |blocked: &Blocked| blocked.user.get(),
            |answer| {
                let Answer::Blocks(list) = answer else { return None };
                let is_last = list.end || list.people.is_empty();
                // With a uid that is one; a server sends no others.
                let blocked = |wire::Blocked { user, uid }| {
                    Some(Blocked { user: UserNo::new(user), uid: Uid::parse(&uid)? })
                };
                Some((list.people.into_iter().filter_map(blocked).collect(), is_last))
            },
        )
        .await
    }
}
