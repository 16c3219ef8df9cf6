//! Line-mode chat client of damso, for people and for scripts.

mod chat; // a person at the chat
mod command; // what a line asks for
mod input; // lines of standard input
mod names; // people by number
mod render; // remote text made safe
mod screen; // where lines go
mod store; // what is kept of this installation

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use damso_client::{Client, ConnectionString, Options, State, Uid};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::chat::{Chat, Continue, state_text};
use crate::input::Line;
use crate::screen::Screen;
use crate::store::Store;

const EXAMPLES: &str = "\
Examples:
  damso-chat 'damso://localhost:7443?pin=sha256-...&token=...'
      chat; the server prints such a line for each person
  export DAMSO_URL='damso://...'; damso-chat --direct bob
      chat with bob
  echo 'the build is green' | damso-chat --direct bob
      send one message and end once it is on the server's disk
  damso-chat --json --follow < /dev/null
      print everything that comes in, one JSON object a line, until interrupted

Inside, a line is a message to the current channel; /help lists the commands.
The exit status is 0 if everything that was asked for succeeded, 1 if not, 2 for wrong usage.
NO_COLOR turns colours off.";

/// Chat from a terminal or a script.
#[derive(Parser, Debug)]
#[command(version, after_long_help = EXAMPLES, after_help = "More with --help.")]
struct Arguments {
    /// Where the server is, how to know it and who you are: damso://HOST:PORT?pin=...&token=...
    #[arg(env = "DAMSO_URL", hide_env_values = true, value_name = "CONNECTION_STRING")]
    url: String,
    /// Begin in the direct channel with this person.
    #[arg(long, value_name = "UID")]
    direct: Option<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Go on receiving after the input has ended.
    #[arg(long)]
    follow: bool,
    /// For scripts: how long to wait for the server to be reached, and for the last messages.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
    /// Keep in this file, for its owner alone, what the server knows this installation by. Give
    /// each person one of their own. Without it this is a new device each time.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// A name for this installation, if it is new.
    #[arg(long, value_name = "NAME", default_value = "")]
    device: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut screen = Screen::new(arguments.json);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments, &mut screen)),
        Err(error) => Err(format!("cannot start: {error}")),
    };
    match result {
        Ok(code) => code,
        Err(problem) => {
            screen.error(&problem);
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments, screen: &mut Screen) -> Result<ExitCode, String> {
    let address: ConnectionString =
        arguments.url.parse().map_err(|error: damso_client::AddressError| error.to_string())?;
    let direct = match &arguments.direct {
        Some(uid) => Some(Uid::parse(uid).ok_or("--direct takes a uid of 1 to 64 bytes")?),
        None => None,
    };
    let limit = Duration::from_secs(arguments.timeout);
    let store = arguments.state.map(Store::open).transpose()?;
    let snapshot = store.as_ref().map(Store::snapshot).unwrap_or_default();
    let device = if snapshot.device.is_empty() { arguments.device } else { String::new() };
    let options = Options { device, snapshot, ..Options::default() };
    let client = Client::connect_with(address, options).map_err(|error| error.to_string())?;
    let mut state = client.state();
    let patience = (!screen.interactive).then_some(limit);
    online(&mut state, screen, patience).await?;
    if let Some(store) = &store {
        store.keep(&client.snapshot())?;
    }
    let mut chat = Chat::new(client, std::mem::replace(screen, Screen::new(arguments.json)));
    chat.begin().await.map_err(|error| format!("cannot list the channels: {error}"))?;
    if let Some(uid) = &direct {
        chat.direct(uid).await?;
    }
    chat.prompt();
    let lines = input::lines().map_err(|error| format!("cannot read the input: {error}"))?;
    let ended = talk(&mut chat, lines, &mut state, arguments.follow).await;
    let finished = match ended {
        Ok(()) => finish(&mut chat, limit).await,
        Err(problem) => Err(problem),
    };
    chat.screen.end();
    if let Err(problem) = finished {
        chat.fail(&problem);
    }
    chat.client().close();
    Ok(if chat.has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Waits for the first login. A person is told how it goes, and decides how long to wait.
async fn online(
    state: &mut watch::Receiver<State>,
    screen: &mut Screen,
    patience: Option<Duration>,
) -> Result<(), String> {
    let waiting = async {
        loop {
            let present = state.borrow_and_update().clone();
            match &present {
                State::Online => return Ok(()),
                State::SignedOut(_) => return Err(state_text(&present)),
                State::Backoff { .. } if screen.interactive => screen.note(&state_text(&present)),
                _ => {}
            }
            state.changed().await.map_err(|_| "the client ended")?;
        }
    };
    match patience {
        None => waiting.await,
        Some(limit) => {
            let result = timeout(limit, waiting).await;
            result.unwrap_or_else(|_| Err(state_text(&state.borrow())))
        }
    }
}

/// Does what comes in from both sides until the input ends.
async fn talk(
    chat: &mut Chat,
    mut lines: mpsc::Receiver<Line>,
    state: &mut watch::Receiver<State>,
    follow: bool,
) -> Result<(), String> {
    let mut input = true;
    state.mark_unchanged();
    while !chat.screen.is_gone {
        let ready = chat.ready();
        tokio::select! {
            line = lines.recv(), if input => match line {
                Some(Ok(line)) => {
                    if chat.line(&line).await == Continue::No {
                        return Ok(());
                    }
                }
                Some(Err(problem)) => chat.fail(&problem),
                None if follow => input = false,
                None => return Ok(()),
            },
            more = ready => {
                if !more {
                    return Err(state_text(&state.borrow()));
                }
                chat.take_in().await;
            }
            () = chat.sent() => {}
            _ = state.changed() => {
                let present = state.borrow_and_update().clone();
                match &present {
                    State::Online | State::Backoff { .. } => chat.screen.note(&state_text(&present)),
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// Lets everything that was said arrive, and shows what comes in meanwhile.
async fn finish(chat: &mut Chat, limit: Duration) -> Result<(), String> {
    let sending = async {
        while chat.is_sending() {
            let ready = chat.ready();
            tokio::select! {
                () = chat.sent() => {}
                more = ready => {
                    if !more {
                        return Err("signed out before everything was sent".into());
                    }
                    chat.take_in().await;
                }
            }
        }
        Ok(())
    };
    match timeout(limit, sending).await {
        Ok(result) => result,
        Err(_) => Err("not everything was sent in time".into()),
    }
}
