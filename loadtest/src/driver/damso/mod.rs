//! The protocol of damso, over the client machine of `damso-proto`.
//!
//! ```text
//! send      kept until answered; after a reconnect it goes out again with its key
//! event     checked by its place: behind the cursor it is late, or repeated
//! behind    read from history at once, so that nothing is missing in the end
//! resume    names every cursor, as an app's SDK does
//! ```
//!
//! The history checker sees everything, too: it judges what the tally of deliveries cannot, such
//! as whether an acknowledged message stands in history at the place that was acknowledged.

mod answers; // what answers and standings mean
mod asks; //    what is asked, and what waits for an answer
mod person; //  what is kept of one connection
mod session; // logging in, hearing, leaving

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use foldhash::fast::FixedState;

use self::asks::Step;
use self::person::Person;
use crate::checker::{Checker, Observation};
use crate::driver::{DriverError, Setting};
use crate::engine::target::{Issuer, Target};
use crate::schedule::Random;

pub use self::session::Talk;

/// Witnesses named per broken law.
const WITNESSES: usize = 10;

/// See the module.
pub struct Damso {
    setting: Setting,
    target: Target,
    /// Makes tokens. `None`: the target takes a uid for a token (the bare loop), and tells nobody
    /// that they are in a channel.
    issuer: Option<Issuer>,
    /// `None`: nobody keeps books.
    checker: Option<Checker>,
    random: Random,
    people: Vec<Person>,
    /// The target's number of each channel; 0 = not made yet.
    numbers: Vec<u64>,
    channels: HashMap<u64, u32, FixedState>,
    /// The highest seq acknowledged, by channel.
    heads: Vec<u64>,
    /// How far each channel is read back: (at, head, floor).
    back: HashMap<u32, (u64, u64, u64), FixedState>,
    epoch: u64,
    steps: VecDeque<Step>,
    /// Members who learned that they are in a channel.
    told: u64,
}

impl Damso {
    /// A driver for the server at `target`.
    ///
    /// # Errors
    /// The token key cannot be read.
    pub fn new(
        setting: Setting,
        target: Target,
        token_key: Option<&Path>,
    ) -> Result<Self, DriverError> {
        let issuer = token_key.map(Issuer::read).transpose()?;
        let channels = setting.layout.channels();
        let mut people = Vec::new();
        people.resize_with(setting.layout.people() as usize, Person::default);
        Ok(Self {
            target,
            issuer,
            checker: setting.check.then(|| Checker::new(WITNESSES)),
            random: Random::new(setting.run ^ u64::from(setting.worker) << 48),
            people,
            numbers: vec![0; channels as usize],
            channels: HashMap::default(),
            heads: vec![0; channels as usize],
            back: HashMap::default(),
            epoch: 0,
            steps: (0..channels).map(|channel| Step { channel, add: None }).collect(),
            told: 0,
            setting,
        })
    }

    fn watch(&mut self, observation: Observation) {
        if let Some(checker) = &mut self.checker {
            checker.observe(observation);
        }
    }
}
