//! Opening a partition: what a crash left is kept aside, recovered, and then doubted.
//!
//! ```text
//! unfit? -> state: absent (clean) | serving (crashed: copy the journals) | recovering (copied)
//!        -> after a crash: cut a torn journal -> recover
//!        -> all last groups equal, and not below the watermark -> state: serving
//! ```
//!
//! The copy comes first because the engine's recovery truncates a damaged journal: without
//! it, the only evidence, and often the data, would be gone.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::journal::{self, Tail};
use super::layout::{Layout, failed, sync_directory, write_text};
use super::options::{JOURNAL_COPIES_MAX, Options};
use super::row::LastGroup;
use super::schema::{NAMES, Tables};
use super::watermark::Watermark;
use crate::store::log::StoreError;

const COPY_PREFIX: &str = "journals-";

/// A partition that passed all checks.
pub(super) struct OpenPartition {
    pub(super) tables: Tables,
    pub(super) watermark: Watermark,
    pub(super) last: LastGroup,
    pub(super) state: State,
}

/// Says to the next start whether this one stopped cleanly.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
}

impl State {
    /// Everything is on the disk: the next start has nothing to recover.
    pub(super) fn stopped_cleanly(&self) -> Result<(), StoreError> {
        fs::remove_file(&self.path).map_err(failed("remove", &self.path))?;
        self.path.parent().map_or(Ok(()), sync_directory)
    }
}

/// Opens a partition, or says why it must not be served.
pub(super) fn open(
    layout: &Layout,
    number: u16,
    options: &Options,
) -> Result<OpenPartition, StoreError> {
    let directory = layout.partition(number);
    let unfit = directory.join("unfit");
    match fs::read_to_string(&unfit) {
        Ok(why) => return Err(StoreError::Unfit(why.trim_end().to_owned())),
        Err(why) if why.kind() == io::ErrorKind::NotFound => {}
        Err(why) => return Err(failed("read", &unfit)(why)),
    }
    let state = State { path: directory.join("state") };
    let crashed = prepare(&directory, &state)?;
    open_checked(&directory, crashed, options).map_or_else(
        |why| Err(refuse(layout, &directory, why)),
        |(tables, watermark, last)| {
            write_text(&state.path, "serving\n")?;
            Ok(OpenPartition { tables, watermark, last, state })
        },
    )
}

/// Keeps the journals of a crashed run before anything touches them. Says whether there was one.
fn prepare(directory: &Path, state: &State) -> Result<bool, StoreError> {
    let crashed = match fs::read_to_string(&state.path) {
        // An earlier start copied them, and may have changed them since.
        Ok(text) if text.trim_end() == "recovering" => return Ok(true),
        Ok(_) => {
            copy_journals(directory)?;
            true
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound => false,
        Err(why) => return Err(failed("read", &state.path)(why)),
    };
    write_text(&state.path, "recovering\n")?;
    Ok(crashed)
}

enum Refused {
    /// Trying again may help.
    Failed(StoreError),
    /// What is lost or damaged.
    Unfit(String),
}

fn open_checked(
    directory: &Path,
    crashed: bool,
    options: &Options,
) -> Result<(Tables, Watermark, LastGroup), Refused> {
    let path = directory.join("watermark");
    let (watermark, durable) = match Watermark::open(&path) {
        Ok(opened) => opened,
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            return Err(Refused::Unfit(format!("{} is missing", path.display())));
        }
        Err(why) => return Err(Refused::Failed(failed("open", &path)(why))),
    };
    let Some(durable) = durable else {
        let why = format!(
            "{} is damaged, so nobody can tell whether the newest commit groups are here",
            path.display()
        );
        return Err(Refused::Unfit(why));
    };
    let db = directory.join("db");
    if crashed {
        let tail = journal::cut_torn_end(&db);
        let tail = tail.map_err(|why| Refused::Failed(failed("read the journal in", &db)(why)))?;
        if tail != Tail::Clean {
            tracing::warn!(db = %db.display(), ?tail, "the journal ended within a batch");
        }
    }
    let tables = match catch_unwind(AssertUnwindSafe(|| Tables::open(&db, options))) {
        Ok(opened) => opened.map_err(|why| cannot_open(&db, why))?,
        Err(_) => {
            return Err(Refused::Unfit(format!(
                "{} is damaged: the engine panicked",
                db.display()
            )));
        }
    };
    let last = tables.last_groups().map_err(|why| cannot_open(&db, why))?;
    let last = agree(last, durable).map_err(Refused::Unfit)?;
    Ok((tables, watermark, last))
}

fn cannot_open(db: &Path, why: fjall::Error) -> Refused {
    let action = format!("open {}", db.display());
    match why {
        fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source))
            if source.kind() != io::ErrorKind::NotFound =>
        {
            Refused::Failed(StoreError::Io { action, source })
        }
        fjall::Error::Locked => {
            Refused::Failed(StoreError::Io { action, source: io::ErrorKind::ResourceBusy.into() })
        }
        damaged => Refused::Unfit(format!("{} is damaged: {damaged}", db.display())),
    }
}

/// The last group, if every keyspace has the same and the watermark none later.
fn agree(last: [Option<LastGroup>; NAMES.len()], durable: LastGroup) -> Result<LastGroup, String> {
    let told: Vec<String> = NAMES
        .iter()
        .zip(last)
        .map(|(name, last)| match last {
            Some(last) => format!("{name} {}", last.number),
            None => format!("{name} none"),
        })
        .collect();
    let numbers = || last.iter().map(|last| last.map_or(0, |last| last.number));
    let (least, most) = (numbers().min().unwrap_or(0), numbers().max().unwrap_or(0));
    let expected = most.max(durable.number);
    match last {
        [Some(first), ..] if last == [Some(first); NAMES.len()] && least >= durable.number => {
            Ok(first)
        }
        _ => Err(format!(
            "acknowledged commit groups {} to {expected} are missing wholly or in part: the \
             watermark knows {}, the keyspaces have: {}",
            (least + 1).min(expected),
            durable.number,
            told.join(", "),
        )),
    }
}

/// Tells the operator what to keep and what to do, now and at every later start.
fn refuse(layout: &Layout, directory: &Path, why: Refused) -> StoreError {
    let why = match why {
        Refused::Failed(why) => return why,
        Refused::Unfit(why) => why,
    };
    let copy = copies(directory).ok().and_then(|copies| copies.last().cloned());
    let kept = match copy {
        Some((_, path)) => format!("Keep {} (the journals before this start). ", path.display()),
        None => String::new(),
    };
    let history = layout.directory().display();
    let unfit = directory.join("unfit");
    let message = format!(
        "history partition {} is not served: {why}. {kept}Move {history} aside, restore the \
         newest backup copy of it in its place, and raise the number in {history}/epoch by one. \
         (This verdict stands in {}; without that file the partition is checked again.)",
        directory.display(),
        unfit.display(),
    );
    match write_text(&unfit, &message) {
        Ok(()) => StoreError::Unfit(message),
        Err(also) => StoreError::Unfit(format!("{message} And: {also}.")),
    }
}

/// Copies of journals with their numbers, oldest first.
fn copies(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(COPY_PREFIX)?.parse().ok());
        copies.extend(number.map(|number| (number, entry.path())));
    }
    copies.sort();
    Ok(copies)
}

fn copy_journals(directory: &Path) -> Result<(), StoreError> {
    let copy = || {
        let mut copies = copies(directory)?;
        let number = copies.last().map_or(1, |(number, _)| number + 1);
        let aside = directory.join("journals.new");
        if aside.try_exists()? {
            fs::remove_dir_all(&aside)?;
        }
        fs::create_dir(&aside)?;
        for entry in fs::read_dir(directory.join("db"))? {
            let from = entry?.path();
            if let (Some("jnl"), Some(name)) =
                (from.extension().and_then(|ending| ending.to_str()), from.file_name())
            {
                copy_sparse(&from, &aside.join(name))?;
            }
        }
        let named = directory.join(format!("{COPY_PREFIX}{number}"));
        fs::rename(&aside, &named)?;
        copies.push((number, named));
        let surplus = copies.len().saturating_sub(JOURNAL_COPIES_MAX);
        copies.iter().take(surplus).try_for_each(|(_, path)| fs::remove_dir_all(path))
    };
    match copy() {
        // A full disk must not keep the store from opening: reading is still possible.
        Err(why) if why.kind() == io::ErrorKind::StorageFull => {
            tracing::warn!(directory = %directory.display(), "no space to copy the journals");
            Ok(())
        }
        copied => copied.map_err(failed("copy the journals of", directory)),
    }
}

/// Copies a file without its zeroes: a journal is mostly a hole of 64 MiB.
fn copy_sparse(from: &Path, to: &Path) -> io::Result<()> {
    const CHUNK: usize = 64 << 10;
    let (mut from, mut to) = (File::open(from)?, File::create_new(to)?);
    let len = from.metadata()?.len();
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while let Some(data) = data_from(&from, at)?.filter(|data| *data < len) {
        at = data - data % CHUNK as u64;
        let wanted = usize::try_from(len - at).unwrap_or(CHUNK).min(CHUNK);
        from.seek(SeekFrom::Start(at))?;
        from.read_exact(&mut chunk[..wanted])?;
        if chunk[..wanted].iter().any(|byte| *byte != 0) {
            to.seek(SeekFrom::Start(at))?;
            to.write_all(&chunk[..wanted])?;
        }
        at += wanted as u64;
    }
    to.set_len(len)
}

/// Where data begins at or after `at`. `None`: only a hole is left.
fn data_from(file: &File, at: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
        Ok(data) => Ok(Some(data)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        // A file system without holes.
        Err(rustix::io::Errno::INVAL) => Ok(Some(at)),
        Err(why) => Err(why.into()),
    }
}
