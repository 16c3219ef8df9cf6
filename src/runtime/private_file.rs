//! Files that hold secrets: for their owner alone, and whole or not there at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Permission bits of everyone but the owner.
const OTHERS: u32 = 0o077;

/// Makes the file at `path`: written aside, synced, then given its name, so that a crash at
/// any moment leaves either nothing there or all of it.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`]: there is one, and it is left as it is. Else whatever
/// the operating system says.
pub fn create(path: &Path, contents: &[u8]) -> io::Result<()> {
    let aside = aside(path);
    // A crash may have left one; it never had the name that counts.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(contents)?;
    file.sync_all()?;
    // A link, unlike a rename, never takes the place of a file that came in between.
    let linked = fs::hard_link(&aside, path);
    fs::remove_file(&aside)?;
    linked?;
    sync_parent(path)
}

/// Makes the name of a new file durable.
///
/// # Errors
/// Whatever the operating system says.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Whether somebody but the owner may read or write the file at `path`.
///
/// # Errors
/// Whatever the operating system says.
pub fn is_open_to_others(path: &Path) -> io::Result<bool> {
    Ok(fs::metadata(path)?.permissions().mode() & OTHERS != 0)
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_its_owners_alone_and_never_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("key");
        fs::write(aside(&path), "what a crash left").unwrap();
        create(&path, b"secret").unwrap();
        assert!(!is_open_to_others(&path).unwrap());
        let again = create(&path, b"other").map_err(|error| error.kind());
        assert_eq!(again, Err(io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read(&path).unwrap(), b"secret");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left aside");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(is_open_to_others(&path).unwrap());
    }
}
