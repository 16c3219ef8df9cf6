//! The store's directory: made aside and renamed, so that it is whole or not there.
//!
//! ```text
//! history.lock         held while a process has the store open
//! history.new-<pid>    half-born: whoever holds the lock deletes it
//! history/
//!   FORMAT             text: format number, maker, partitions
//!   epoch              text: a number; a restore raises it by one
//!   p0/                a partition
//!     db/              the database
//!     watermark        how far it was durable, apart from the database
//!     state            text: serving | recovering; absent after a clean stop
//!     journals-<n>/    journals as they were before a recovery, the last two
//!     unfit            text: why this partition was refused; nothing is opened while it is here
//! ```

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use damso_proto::id::Epoch;

use super::options::Options;
use super::schema::Tables;
use super::watermark::Watermark;
use crate::store::log::StoreError;

/// The format that this build writes, and the highest that it reads.
const FORMAT: u32 = 1;

/// The store's directory, locked.
#[derive(Debug)]
pub(super) struct Layout {
    directory: PathBuf,
    /// Partitions, fixed when the store was made.
    pub(super) partitions: u16,
    /// The epoch that new events are written in.
    pub(super) epoch: Epoch,
    _lock: Lock,
}

/// The locked file. Unlocked by name, not by closing it: a child that another thread forks
/// shares the lock until it executes its program.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(why) = self.0.unlock() {
            tracing::warn!(%why, "the history store's lock goes when its last holder does");
        }
    }
}

impl Layout {
    /// Locks the store's directory and makes it if it is absent.
    pub(super) fn open(options: &Options) -> Result<Self, StoreError> {
        let directory = options.directory.clone();
        let lock = lock(&beside(&directory, ".lock"))?;
        remove_half_born(&directory)?;
        if !directory.try_exists().map_err(failed("look at", &directory))? {
            create(&directory, options)?;
        }
        let partitions = read_format(&directory)?;
        let epoch = read_epoch(&directory)?;
        Ok(Self { directory, partitions, epoch, _lock: lock })
    }

    /// The directory of a partition.
    pub(super) fn partition(&self, number: u16) -> PathBuf {
        self.directory.join(format!("p{number}"))
    }

    /// The store's directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Wraps an I/O error with what was attempted.
pub(super) fn failed(action: &str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let action = format!("{action} {}", path.display());
    move |source| StoreError::Io { action, source }
}

/// Makes a directory's entries durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(failed("sync", path))
}

/// Writes a small text file so that it is there whole or not at all.
pub(super) fn write_text(path: &Path, text: &str) -> Result<(), StoreError> {
    let aside = beside(path, ".new");
    let write = || {
        fs::write(&aside, text)?;
        File::open(&aside)?.sync_all()?;
        fs::rename(&aside, path)
    };
    write().map_err(failed("write", path))?;
    path.parent().map_or(Ok(()), sync_directory)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

fn lock(path: &Path) -> Result<Lock, StoreError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed("create", parent))?;
    }
    let open = File::options().create(true).truncate(false).write(true).open(path);
    let file = open.map_err(failed("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Io {
            action: format!("lock {}", path.display()),
            source: io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another damso has this history open; stop it, or give this one another data \
                 directory",
            ),
        }),
        Err(fs::TryLockError::Error(source)) => Err(failed("lock", path)(source)),
    }
}

fn half_born_prefix(directory: &Path) -> Option<OsString> {
    let mut prefix = directory.file_name()?.to_owned();
    prefix.push(".new-");
    Some(prefix)
}

fn remove_half_born(directory: &Path) -> Result<(), StoreError> {
    let (Some(parent), Some(prefix)) = (directory.parent(), half_born_prefix(directory)) else {
        return Ok(());
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let remove = || {
        for entry in fs::read_dir(parent)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    };
    remove().map_err(failed("remove what an earlier start left half made in", parent))
}

/// Makes the whole store aside, syncs it, and gives it its name.
fn create(directory: &Path, options: &Options) -> Result<(), StoreError> {
    let aside = beside(directory, &format!(".new-{}", std::process::id()));
    let partitions = options.partitions.max(1);
    for number in 0..partitions {
        let partition = aside.join(format!("p{number}"));
        let db = partition.join("db");
        fs::create_dir_all(&db).map_err(failed("create", &db))?;
        let watermark = partition.join("watermark");
        Watermark::create(&watermark).map_err(failed("create", &watermark))?;
        create_database(&db, options)?;
        sync_directory(&partition)?;
    }
    let version = env!("CARGO_PKG_VERSION");
    let format =
        format!("damso history {FORMAT}\nmade by damso {version}\npartitions {partitions}\n");
    write_text(&aside.join("FORMAT"), &format)?;
    write_text(&aside.join("epoch"), "1\n")?;
    fs::rename(&aside, directory).map_err(failed("name", directory))?;
    match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

fn create_database(db: &Path, options: &Options) -> Result<(), StoreError> {
    let make = || {
        let tables = Tables::open(db, options)?;
        let mut batch = tables.batch(8);
        tables.put_last(&mut batch, super::row::LastGroup::default());
        batch.commit()?;
        tables.persist()
    };
    make().map_err(|why: fjall::Error| StoreError::Io {
        action: format!("create {}", db.display()),
        source: io::Error::other(why),
    })
}

/// Reads FORMAT and returns the number of partitions.
fn read_format(directory: &Path) -> Result<u16, StoreError> {
    let path = directory.join("FORMAT");
    let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
    let mut lines = text.lines();
    let format = lines.next().and_then(|line| line.strip_prefix("damso history ")?.parse().ok());
    let maker = lines.next().and_then(|line| line.strip_prefix("made by ")).unwrap_or("nobody");
    let partitions = lines.next().and_then(|line| line.strip_prefix("partitions ")?.parse().ok());
    match (format, partitions) {
        (Some(FORMAT), Some(partitions @ 1..)) => Ok(partitions),
        (Some(newer @ FORMAT..), _) => Err(StoreError::Unfit(format!(
            "{} has history format {newer}, made by {maker}; this is damso {}, which reads formats \
             up to {FORMAT}. Nothing was changed: run that version, or a later one.",
            directory.display(),
            env!("CARGO_PKG_VERSION"),
        ))),
        _ => Err(StoreError::Unfit(format!(
            "{} is not readable as the format of a history. Nothing was changed: restore that file \
             from a backup copy of {}.",
            path.display(),
            directory.display(),
        ))),
    }
}

fn read_epoch(directory: &Path) -> Result<Epoch, StoreError> {
    let path = directory.join("epoch");
    let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
    match text.trim().parse() {
        Ok(number @ 1..) => Ok(Epoch::new(number)),
        _ => Err(StoreError::Unfit(format!(
            "{} must hold a number from 1 up: the epoch, one higher after each restore.",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(directory: &Path) -> Options {
        Options::new(directory.join("history"))
    }

    #[test]
    fn a_newer_format_is_refused_before_any_write_and_names_its_maker() {
        let directory = tempfile::tempdir().unwrap();
        let options = store(directory.path());
        drop(Layout::open(&options).unwrap());
        let format = options.directory.join("FORMAT");
        fs::write(&format, "damso history 2\nmade by damso 0.9.1\npartitions 1\n").unwrap();
        let why = Layout::open(&options).unwrap_err().to_string();
        for part in ["format 2", "damso 0.9.1", "Nothing was changed"] {
            assert!(why.contains(part), "{part:?} is missing in {why:?}");
        }
        fs::write(&format, "").unwrap();
        assert!(matches!(Layout::open(&options), Err(StoreError::Unfit(_))));
    }

    #[test]
    fn two_processes_cannot_have_one_store() {
        let directory = tempfile::tempdir().unwrap();
        let first = Layout::open(&store(directory.path())).unwrap();
        let second = Layout::open(&store(directory.path())).unwrap_err().to_string();
        assert!(second.contains("another damso"), "{second}");
        drop(first);
        Layout::open(&store(directory.path())).unwrap();
    }

    #[test]
    fn a_descriptor_that_a_forked_child_inherited_does_not_keep_the_store_locked() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open(&store(directory.path())).unwrap();
        let inherited = layout._lock.0.try_clone().unwrap();
        drop(layout);
        Layout::open(&store(directory.path())).unwrap();
        drop(inherited);
    }

    #[test]
    fn half_born_directories_are_removed_and_others_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let half_born = directory.path().join("history.new-77/p0/db");
        let other = directory.path().join("history.news");
        fs::create_dir_all(&half_born).unwrap();
        fs::create_dir_all(&other).unwrap();
        drop(Layout::open(&store(directory.path())).unwrap());
        assert!(!directory.path().join("history.new-77").exists());
        assert!(other.exists());
    }

    #[test]
    fn the_epoch_is_what_its_file_says() {
        let directory = tempfile::tempdir().unwrap();
        let options = store(directory.path());
        assert_eq!(Layout::open(&options).unwrap().epoch, Epoch::new(1));
        fs::write(options.directory.join("epoch"), "3\n").unwrap();
        assert_eq!(Layout::open(&options).unwrap().epoch, Epoch::new(3));
        for bad in ["", "0", "two"] {
            fs::write(options.directory.join("epoch"), bad).unwrap();
            assert!(matches!(Layout::open(&options), Err(StoreError::Unfit(_))), "{bad:?}");
        }
    }
}
