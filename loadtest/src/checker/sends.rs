//! What was sent, and what its senders were told.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// What the sender knows of a send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// No answer, or none that says anything.
    Open,
    /// It stands at this seq under this id.
    Acked { seq: u64, id: u64 },
    /// The last attempt was surely not stored.
    Refused,
}

/// One key.
#[derive(Clone, Debug)]
pub(super) struct Send {
    pub(super) sender: u64,
    pub(super) session: u64,
    pub(super) channel: u64,
    /// What a slot with this message carries.
    pub(super) content: u64,
    /// The highest seq acknowledged in the channel when this was first sent.
    pub(super) above: u64,
    pub(super) outcome: Outcome,
    /// It was sent more than once.
    pub(super) repeated: bool,
    /// An attempt is out whose answer says nothing, so a refusal of another proves nothing.
    pub(super) doubt: bool,
    /// Where it was found; 0 = nowhere yet.
    pub(super) place: u64,
}

/// All sends, by key and by what they look like.
#[derive(Default, Debug)]
pub(super) struct Sends {
    rows: Vec<Send>,
    by_key: HashMap<[u8; 16], u32, FixedState>,
    by_content: HashMap<u64, u32, FixedState>,
}

/// What became of entering a send.
pub(super) enum Entered {
    /// A key of its own.
    New,
    /// The key was there.
    Repeat,
    /// Another key looks the same.
    Ambiguous,
}

impl Sends {
    /// Enters an attempt.
    pub(super) fn enter(&mut self, key: [u8; 16], send: Send) -> Entered {
        if let Some(&row) = self.by_key.get(&key) {
            let known = &mut self.rows[row as usize];
            known.repeated = true;
            known.doubt |= known.outcome == Outcome::Open;
            if known.outcome == Outcome::Refused {
                known.outcome = Outcome::Open;
            }
            return if known.content == send.content {
                Entered::Repeat
            } else {
                Entered::Ambiguous
            };
        }
        let row = u32::try_from(self.rows.len()).expect("fewer than 2^32 sends fit in memory");
        self.by_key.insert(key, row);
        let mut entered = Entered::Ambiguous;
        self.by_content.entry(send.content).or_insert_with(|| {
            entered = Entered::New;
            row
        });
        self.rows.push(send);
        entered
    }

    /// The send of this key.
    pub(super) fn of_key(&mut self, key: &[u8; 16]) -> Option<&mut Send> {
        self.by_key.get(key).map(|&row| &mut self.rows[row as usize])
    }

    /// The send that looks like this, and its rank among all sends.
    pub(super) fn of_content(&mut self, content: u64) -> Option<(u32, &mut Send)> {
        self.by_content.get(&content).map(|&row| (row, &mut self.rows[row as usize]))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Send> {
        self.rows.iter()
    }
}
