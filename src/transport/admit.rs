//! Whether somebody may come in, and what they are told if not.

use std::cell::RefCell;
use std::time::Duration;

use damso_proto::code::CloseCode;

use crate::connections::{Scratch, Wire};
use crate::model::limits;
use crate::model::memory::Level;
use crate::session::{self, Refused, Shard};
use crate::store::directory::{Admission, Login, Provision};

/// Come back later.
pub(super) const BUSY: Refused =
    Refused { code: CloseCode::Overloaded, text: "too many logins at once" };

/// There is no memory for anybody who is not in yet.
const NO_ROOM: Refused =
    Refused { code: CloseCode::Overloaded, text: "memory is short: nobody new comes in for now" };

/// Whether there is memory for somebody new.
///
/// # Errors
/// Come back later.
pub(super) fn room(shard: &Shard) -> Result<(), Refused> {
    if shard.floors().memory.level() < Level::Tight {
        return Ok(());
    }
    metrics::counter!("damso_memory_refused_total", "what" => "login").increment(1);
    Err(NO_ROOM)
}

/// Asks the directory whether somebody may come in.
pub(super) async fn ask(
    shard: &Shard,
    login: &Login,
    provision: Provision,
) -> Result<Admission, Refused> {
    let floors = shard.floors();
    let (directory, login, now_ms) =
        (floors.directory.clone(), login.clone(), floors.clock.unix_ms());
    let asked = floors.door.call(move || directory.admit(&login, provision, now_ms)).await;
    match asked {
        Ok(Ok(admission)) => Ok(admission),
        Ok(Err(error)) => {
            tracing::error!(%error, "a login cannot be looked up");
            Err(BUSY)
        }
        Err(_) => Err(BUSY),
    }
}

/// Tells why nobody comes in here, and ends the connection.
pub(super) async fn farewell(mut wire: Wire, scratch: &RefCell<Scratch>, refused: &Refused) {
    count(refused.code.name());
    let told = async {
        let busy = refused.code == CloseCode::Overloaded;
        let after = if busy { limits::LOGIN_RETRY } else { Duration::ZERO };
        let frame = session::closing(refused.code, after, refused.text);
        let sent = wire.send(&mut scratch.borrow_mut(), &frame);
        if sent.is_ok() && wire.drain().await.is_ok() {
            wire.end(&mut scratch.borrow_mut());
            wire.part().await;
        }
    };
    // Whoever does not read the reason loses it.
    drop(tokio::time::timeout(limits::FAREWELL, told).await);
}

pub(super) fn count(reason: &'static str) {
    metrics::counter!("damso_logins_failed_total", "reason" => reason).increment(1);
}
