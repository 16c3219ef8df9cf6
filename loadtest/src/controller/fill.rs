//! `fill`: a store of N messages over C channels, through the server's own append path.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::RunError;
use super::live::Live;
use super::side::Side;
use super::target::Opponent;
use super::watch::Watch;
use crate::engine::poll::unix_ms;
use crate::scenario::Kind;
use crate::scenario::layout::Class;
use crate::worker::order::{Config, FillOrder};

/// Options of `fill`.
#[derive(Args, Clone, Debug)]
pub struct FillOptions {
    /// Messages to be stored, all channels together
    #[arg(long, default_value_t = 100_000)]
    pub messages: u64,
    /// Channels
    #[arg(long, default_value_t = 100)]
    pub channels: u32,
    /// Members of each
    #[arg(long, default_value_t = 2)]
    pub members: u32,
    /// Payload of a message, bytes
    #[arg(long, default_value_t = 200, value_name = "BYTES")]
    pub payload: usize,
    /// Messages on their way at once
    #[arg(long, default_value_t = 512)]
    pub window: u32,
    /// The data directory to fill; a server is started on it, and no other may use it
    #[arg(long, required_unless_present = "url", conflicts_with = "url")]
    pub data: Option<PathBuf>,
    /// Connection string of a server that runs
    #[arg(long, env = "DAMSO_URL", hide_env_values = true, requires = "token_key")]
    pub url: Option<String>,
    /// Private key of that server's issuer
    #[arg(long, value_name = "FILE", requires = "url")]
    pub token_key: Option<PathBuf>,
}

/// Fills a store. Progress goes to standard error.
///
/// # Errors
/// [`RunError`]: the store is not full, though it may hold a part.
pub fn fill(options: &FillOptions) -> Result<String, RunError> {
    if options.channels == 0 || options.members == 0 || options.messages == 0 || options.window == 0
    {
        let what = "--messages, --channels, --members and --window must be above 0";
        return Err(RunError::Usage(what.into()));
    }
    let opponent = match (&options.url, &options.token_key) {
        (Some(url), Some(key)) => Opponent::there(url, key.clone(), Watch::Nothing)?,
        _ => Opponent::damso(options.data.as_deref())?,
    };
    let run = unix_ms();
    // As many people as members, or as many as keep 32 requests each in flight.
    let people = options.members.max(options.window.div_ceil(16)).max(2);
    let class = Class { count: options.channels, members: options.members, kind: Kind::Group };
    let config = Config {
        target: opponent.aim.clone(),
        run,
        worker: 0,
        people,
        classes: vec![class],
        connect_per_second: 1_000.0,
        opening_max: opponent.backlog,
        source: opponent.source(run, 0, 0),
        spin: false,
        check: false,
    };
    let mut live = Live::new();
    let mut side = Side::with(opponent, vec![config])?;
    side.connect(&mut live)?;
    let order = FillOrder {
        messages: options.messages,
        payload_bytes: options.payload,
        window: options.window,
    };
    let started = Instant::now();
    let all = options.messages;
    let (stored, refused) = side.fill(&[order], |stored, refused| {
        let rate = stored as f64 / started.elapsed().as_secs_f64();
        let left = (all - stored.min(all)) as f64 / rate.max(1.0);
        live.passing(&format!(
            "{stored} of {all} messages, {rate:.0}/s, {refused} refused and sent again, {left:.0} s \
             left"
        ));
    })?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(format!(
        "{stored} messages in {} channels stored and acknowledged in {seconds:.1} s ({:.0}/s); \
         {refused} were refused and sent again",
        options.channels,
        stored as f64 / seconds
    ))
}
