//! What is kept of this installation: its name, and what proves it to the server.
//!
//! ```text
//! {"device": "rust-0123...", "proof": "64 hexadecimal digits"}
//! ```

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use damso_client::{Proof, Snapshot};
use serde_json::{Value, json};

/// A file of one person at one server.
pub(crate) struct Store {
    path: PathBuf,
    device: String,
    proof: Vec<u8>,
}

impl Store {
    /// Reads the file; an absent one is made by [`Store::keep`].
    pub(crate) fn open(path: PathBuf) -> Result<Self, String> {
        let problem = |why: &str| format!("cannot use {}: {why}", path.display());
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { path, device: String::new(), proof: Vec::new() });
            }
            Err(error) => return Err(problem(&error.to_string())),
        };
        let kept: Value =
            serde_json::from_str(&text).map_err(|error| problem(&error.to_string()))?;
        let field = |name: &str| {
            kept[name].as_str().ok_or_else(|| problem(&format!("it has no text `{name}`")))
        };
        let proof = unhex(field("proof")?).ok_or_else(|| problem("`proof` is not hexadecimal"))?;
        let device = field("device")?.to_owned();
        Ok(Self { path, device, proof })
    }

    /// Where a client goes on.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let (device, proof) = (self.device.clone(), Proof(self.proof.clone().into()));
        Snapshot { device, proof, ..Snapshot::default() }
    }

    /// Keeps what the client was told, if that is new. It is whole on disk, or as it was before.
    pub(crate) fn keep(&self, snapshot: &Snapshot) -> Result<(), String> {
        if snapshot.device == self.device && *snapshot.proof.0 == *self.proof {
            return Ok(());
        }
        let kept = json!({ "device": snapshot.device, "proof": hex(&snapshot.proof.0) });
        let written = write(&self.path, &format!("{kept}\n"));
        written.map_err(|error| format!("cannot write {}: {error}", self.path.display()))
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    // A crash may have left one, with whatever rights.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, path)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.len().is_multiple_of(2).then(|| digits.map(byte).collect())?
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_kept_comes_back_for_its_owner_alone_and_damage_is_named() {
        let place = std::env::temp_dir().join(format!("damso-chat-{}", std::process::id()));
        fs::create_dir_all(&place).expect("a directory");
        let path = place.join("alice.json");
        let empty = Store::open(path.clone()).expect("an absent file is empty");
        assert_eq!(empty.snapshot(), Snapshot::default());
        let (device, proof) = ("my \"laptop\"".to_owned(), Proof(vec![0xde, 1, 0].into()));
        let snapshot = Snapshot { device, proof, ..Snapshot::default() };
        empty.keep(&snapshot).expect("it is written");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o077, 0);
        assert_eq!(Store::open(path.clone()).expect("a file").snapshot(), snapshot);
        for text in ["", "{}", r#"{"device":"d","proof":"abc"}"#, r#"{"device":"d","proof":"é0"}"#]
        {
            fs::write(&path, text).expect("a file");
            let problem = Store::open(path.clone()).err().expect("damage");
            assert!(problem.contains("alice.json"), "{problem}");
        }
        fs::remove_dir_all(&place).expect("it goes");
    }
}
