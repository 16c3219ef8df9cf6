//! One line that says how it goes, on a terminal; elsewhere nothing but the milestones.

use std::io::{IsTerminal as _, Write as _};

use crate::report::model::Second;
use crate::report::text::time;

/// Where progress goes: standard error.
pub(super) struct Live {
    terminal: bool,
    /// A line without an end stands there.
    open: bool,
}

impl Live {
    pub(super) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { terminal, open: false }
    }

    /// Something that stays.
    pub(super) fn milestone(&mut self, text: &str) {
        self.clear();
        eprintln!("{text}");
    }

    /// Something that the next call replaces.
    pub(super) fn passing(&mut self, text: &str) {
        if self.terminal {
            eprint!("\r\x1b[K{text}");
            let _ = std::io::stderr().flush();
            self.open = true;
        }
    }

    /// How the last second of a phase went.
    pub(super) fn second(&mut self, what: &str, seconds: f64, second: &Second) {
        let Second { at, offered, acked, live, last, lateness, .. } = second;
        self.passing(&format!(
            "{what}  {at:>3} of {seconds:.0} s   {live} live   {offered}/s offered, {acked}/s \
             acked   last receiver p50 {} p99 {} max {}   harness late p99 {}",
            time(last.p50),
            time(last.p99),
            time(last.max),
            time(lateness.p99)
        ));
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.open) {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
    }
}
