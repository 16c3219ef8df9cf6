//! Lines of standard input, read on a thread of their own: a terminal has no other way.

use std::io::{self, BufRead as _, Read as _};

use tokio::sync::mpsc;

/// Longest line: the longest text and a little for a command.
const LINE_BYTES_MAX: u64 = 20 * 1024;
/// Lines that are read ahead of what they ask for.
const LINES_AHEAD_MAX: usize = 64;

/// A line, or why there is none.
pub(crate) type Line = Result<String, String>;

/// Starts to read. The channel ends with the input.
pub(crate) fn lines() -> io::Result<mpsc::Receiver<Line>> {
    let (sender, lines) = mpsc::channel(LINES_AHEAD_MAX);
    std::thread::Builder::new().name("stdin".into()).spawn(move || {
        let mut input = io::stdin().lock();
        while let Some(line) = next_line(&mut input) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    })?;
    Ok(lines)
}

fn next_line(input: &mut impl io::BufRead) -> Option<Line> {
    let mut bytes = Vec::new();
    match input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes) {
        Ok(0) => return None,
        Ok(_) => {}
        Err(error) => return Some(Err(format!("cannot read the input: {error}"))),
    }
    if bytes.len() as u64 == LINE_BYTES_MAX && bytes.last() != Some(&b'\n') {
        return Some(Err(match skip_line(input) {
            Ok(()) => {
                format!("a line has at most {LINE_BYTES_MAX} bytes; this one was passed over")
            }
            Err(error) => format!("cannot read the input: {error}"),
        }));
    }
    Some(String::from_utf8(bytes).map_err(|_| "a line that is not UTF-8 was passed over".into()))
}

fn skip_line(input: &mut impl io::BufRead) -> io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        let (length, found) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        input.consume(length);
        if found {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_too_long_or_not_utf8_is_passed_over_alone() {
        let long = "x".repeat(50_000);
        let text = [long.as_bytes(), b"\none\n\xff\ntwo"].concat();
        let mut input = &text[..];
        let mut lines = std::iter::from_fn(|| next_line(&mut input));
        assert!(lines.next().is_some_and(|line| line.is_err()));
        assert_eq!(lines.next(), Some(Ok("one\n".into())));
        assert!(lines.next().is_some_and(|line| line.is_err()));
        assert_eq!(lines.next(), Some(Ok("two".into())));
        assert_eq!(lines.next(), None);
    }
}
