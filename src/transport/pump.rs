//! The reading task of a session: ready, read, repeat. It owns nothing but its name.

use std::future::poll_fn;
use std::rc::Rc;

use crate::runtime::route::ConnectionId;
use crate::session::Shard;

/// Feeds what a connection says to its session until it ends.
pub(super) async fn pump(shard: Rc<Shard>, id: ConnectionId) {
    while let Some(ready) = poll_fn(|context| shard.poll_ready(id, context)).await {
        if ready.writable {
            shard.write(id);
        }
        if ready.readable && !shard.read(id) {
            break;
        }
    }
    shard.end(id);
}
