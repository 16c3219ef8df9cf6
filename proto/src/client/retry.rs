//! What a code means for a client that may be older than it.

pub(super) fn reconnects_after(close_code: u32) -> bool {
    close_code < 200
}

pub(super) fn may_succeed_later(code: u32) -> bool {
    (200..300).contains(&code)
}

pub(super) fn is_key_expired(code: u32) -> bool {
    code == 107
}

pub(super) fn is_not_found(code: u32) -> bool {
    code == 102
}

#[cfg(test)]
pub(super) mod tests {
    pub(in crate::client) const LATER: u32 = 200;
    pub(in crate::client) const NOT_FOUND: u32 = 102;
    pub(in crate::client) const KEY_EXPIRED: u32 = 107;
    pub(in crate::client) const GOING_AWAY: u32 = 100;
    pub(in crate::client) const TOKEN_EXPIRED: u32 = 300;
}
