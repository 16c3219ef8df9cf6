//! A token that ends under a live connection, and one that goes on in its place.
//!
//! ```text
//! Welcome ...... TokenExpiring ...... the token ends ..(a minute, for clocks).. Closing
//!                     \___ Reauth: the same person, nothing revoked -> Renewed, anew from there
//! ```

use std::rc::Rc;
use std::time::Duration;

use damso_proto::code::{CloseCode, Code};
use damso_proto::id::{RequestId, UserNo};
use damso_proto::wire;
use damso_proto::wire::server_frame::Kind;

use super::reply;
use super::shard::Shard;
use super::token::TokenError;
use super::token_life::{Due, TokenLife};
use crate::model::limits::{
    LOGIN_LOOKS_MAX, OVERLOADED_RETRY, TOKEN_KEYS_AT_LEAST, UNAVAILABLE_RETRY,
};
use crate::runtime::route::ConnectionId;

/// Why a token does not take the place of the one before.
enum NotRenewed {
    Token(TokenError),
    /// Of somebody else, or revoked.
    Foreign,
    /// The directory cannot say; the same token may do later.
    Busy,
    Failed,
}

impl Shard {
    /// Tells whose token ends soon, or closes whose token is over.
    pub(super) fn token_ends(&self, id: ConnectionId, what: Due) {
        match what {
            Due::Tell(expires_ms) => {
                let expiring = Kind::TokenExpiring(wire::TokenExpiring { expires_ms });
                self.control(id, reply::unasked(expiring));
                self.kick();
            }
            Due::End => {
                self.close(id, CloseCode::TokenExpired, Duration::ZERO, "the token is over");
            }
        }
    }
}

/// Answers Reauth.
pub(super) async fn renew(
    shard: Rc<Shard>,
    (id, request): (ConnectionId, RequestId),
    user: UserNo,
    token: String,
) {
    let kind = match renewed(&shard, id, user, &token).await {
        Ok(token_expires_ms) => {
            metrics::counter!("damso_tokens_renewed_total").increment(1);
            Kind::Renewed(wire::Renewed { token_expires_ms })
        }
        Err(why) => {
            metrics::counter!("damso_tokens_not_renewed_total").increment(1);
            refusal(&why)
        }
    };
    shard.control(id, reply::answer(request, kind));
    shard.answered(id);
    shard.kick();
}

/// Takes a token in, and returns when it ends.
async fn renewed(
    shard: &Shard,
    id: ConnectionId,
    user: UserNo,
    token: &str,
) -> Result<u64, NotRenewed> {
    let floors = shard.floors();
    let claims = shard.verifier().verify_patiently(token, &*floors.clock).await;
    let claims = claims.map_err(NotRenewed::Token)?;
    // Of a session that is gone nothing is answered.
    let device = shard.with_session(id, |session| session.device.clone());
    let device = device.ok_or(NotRenewed::Foreign)?;
    for _ in 0..LOGIN_LOOKS_MAX {
        let revocations = floors.directory.revocations();
        let (directory, uid, device) =
            (floors.directory.clone(), claims.uid.clone(), device.clone());
        let issued_ms = claims.issued_ms;
        let asked = floors.door.call(move || directory.may_stay(&uid, &device, issued_ms)).await;
        match asked {
            Ok(Ok(Some(found))) if found == user => {}
            Ok(Ok(_)) => return Err(NotRenewed::Foreign),
            Ok(Err(error)) => {
                tracing::error!(%error, "a token cannot be renewed");
                return Err(NotRenewed::Failed);
            }
            Err(_) => return Err(NotRenewed::Busy),
        }
        // Else it may have been revoked while that was found out.
        if floors.directory.revocations() == revocations {
            let life = TokenLife::new(&*floors.clock, claims.expires_ms);
            shard.with_session(id, |session| session.token = life);
            return Ok(claims.expires_ms);
        }
    }
    Err(NotRenewed::Busy)
}

fn refusal(why: &NotRenewed) -> Kind {
    let (code, after, text) = match why {
        NotRenewed::Token(TokenError::Expired) => {
            (Code::TokenExpired, Duration::ZERO, "the token is over")
        }
        NotRenewed::Token(TokenError::UnknownYet) => {
            (Code::Unavailable, TOKEN_KEYS_AT_LEAST, "the issuer's keys were fetched a moment ago")
        }
        NotRenewed::Token(_) => (Code::TokenInvalid, Duration::ZERO, "the token is not valid here"),
        NotRenewed::Foreign => {
            (Code::TokenInvalid, Duration::ZERO, "the token is another person's, or was revoked")
        }
        NotRenewed::Busy => (Code::Overloaded, OVERLOADED_RETRY, "too much waits"),
        NotRenewed::Failed => {
            (Code::Unavailable, UNAVAILABLE_RETRY, "the stores cannot answer now")
        }
    };
    reply::token(code, after, text.to_owned())
}
