//! Where lines go: people's or scripts', with or without colour, around a prompt.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::{Value, json};

use crate::render::json_line;

/// Clears the line that the cursor is in.
const CLEAR: &str = "\r\x1b[2K";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const RESET: &str = "\x1b[0m";

/// Standard output and standard error, as the user wants them.
#[derive(Debug)]
pub(crate) struct Screen {
    json: bool,
    colour: bool,
    prompt: Option<String>,
    /// Whether a person sits there.
    pub(crate) interactive: bool,
    /// Nobody reads what is written any more.
    pub(crate) is_gone: bool,
}

impl Screen {
    pub(crate) fn new(json: bool) -> Self {
        let interactive = io::stdin().is_terminal() && io::stdout().is_terminal() && !json;
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { json, colour: interactive && !no_colour, prompt: None, interactive, is_gone: false }
    }

    /// What stands before the cursor while a person types.
    pub(crate) fn prompt(&mut self, channel: Option<&str>) {
        if self.interactive {
            self.prompt = Some(format!("{}> ", channel.unwrap_or("(no channel)")));
            self.put("");
        }
    }

    /// A line of the chat: `text` for people, `json` for scripts.
    pub(crate) fn line(&mut self, text: &str, json: impl FnOnce() -> Value) {
        if self.json {
            let line = json_line(&json());
            self.write(&line);
        } else {
            self.put(text);
        }
    }

    /// Something about the program itself, not part of the chat.
    pub(crate) fn note(&mut self, text: &str) {
        if self.json {
            let line = json_line(&json!({"type": "note", "text": text}));
            self.write(&line);
        } else if self.interactive {
            let line =
                if self.colour { format!("{DIM}* {text}{RESET}") } else { format!("* {text}") };
            self.put(&line);
        } else {
            eprintln!("* {text}");
        }
    }

    /// Something went wrong.
    pub(crate) fn error(&mut self, text: &str) {
        if self.json {
            let line = json_line(&json!({"type": "error", "text": text}));
            self.write(&line);
        } else if self.interactive {
            let line =
                if self.colour { format!("{RED}! {text}{RESET}") } else { format!("! {text}") };
            self.put(&line);
        } else {
            eprintln!("damso-chat: {text}");
        }
    }

    /// Whether lines are for scripts.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// The cursor's line is left as it is.
    pub(crate) fn end(&mut self) {
        if self.prompt.take().is_some() {
            self.write("");
        }
    }

    /// A line above the prompt, and the prompt anew.
    fn put(&mut self, line: &str) {
        let Some(prompt) = &self.prompt else { return self.write(line) };
        let end = if line.is_empty() { "" } else { "\n" };
        let mut out = io::stdout().lock();
        let written = write!(out, "{CLEAR}{line}{end}{prompt}").and_then(|()| out.flush());
        self.is_gone |= written.is_err();
    }

    fn write(&mut self, line: &str) {
        let mut out = io::stdout().lock();
        let written = writeln!(out, "{line}").and_then(|()| out.flush());
        self.is_gone |= written.is_err();
    }
}
