//! One line that says how it goes, on a terminal; elsewhere nothing but the milestones.

use std::io::{IsTerminal as _, Write as _};

use crate::report::model::Second;
use crate::report::text::time;

/// Columns of a terminal that does not say, and the fewest that are worth a line.
const WIDTH: usize = 40;

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
            // A line that wraps could not be taken back.
            let width = rustix::termios::tcgetwinsize(std::io::stderr())
                .map_or(WIDTH, |size| usize::from(size.ws_col).max(WIDTH));
            let text: String = text.chars().take(width - 1).collect();
            eprint!("\r\x1b[K{text}");
            let _ = std::io::stderr().flush();
            self.open = true;
        }
    }

    /// How the last second of a phase went.
    pub(super) fn second(&mut self, what: &str, seconds: f64, second: &Second) {
        let Second { at, offered, acked, live, last, lateness, visits, .. } = second;
        let visits = if *visits > 0 { format!("{visits} visits/s  ") } else { String::new() };
        // What matters most stands first, for narrow terminals.
        self.passing(&format!(
            "{what} {at}/{seconds:.0} s  {live} live  {visits}{offered}/s offered {acked}/s acked  last \
             p50 {} p99 {} max {}  harness late p99 {}",
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
