//! How long the disk takes to make 4 KiB durable: appends with fdatasync, as the committer does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::measured::Disk;

/// The file is so long from the beginning, and empty, as the engine's journal is.
const FILE_BYTES: u64 = 64 << 20;
/// What one append has: about a commit group of a few messages.
const APPEND_BYTES: usize = 4 * 1024;
/// Appends that are measured.
const APPENDS: usize = 200;
/// Appends before them, for whatever only the first ones pay.
const WARM_UP: usize = 10;
/// A disk that is very slow is measured for so long.
const PATIENCE: Duration = Duration::from_secs(20);
/// Type of a file system in memory (linux/magic.h: TMPFS_MAGIC, RAMFS_MAGIC).
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Measures in `directory`, and leaves nothing there.
pub(super) fn measure(directory: &Path) -> io::Result<Disk> {
    let statistics = rustix::fs::statfs(directory)?;
    let space = rustix::fs::statvfs(directory)?;
    let mut times = appended(directory)?;
    times.sort_unstable();
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    Ok(Disk {
        directory: directory.into(),
        in_memory: u64::try_from(statistics.f_type).is_ok_and(|kind| IN_MEMORY.contains(&kind)),
        free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        appends: times.len(),
        sync_p50_us: us(quantile(&times, 50)),
        sync_p99_us: us(quantile(&times, 99)),
        sync_max_us: us(quantile(&times, 100)),
    })
}

fn appended(directory: &Path) -> io::Result<Vec<Duration>> {
    let mut trial = Trial::create(directory)?;
    let bytes = [0x5a; APPEND_BYTES];
    let begun = Instant::now();
    let mut times = Vec::with_capacity(APPENDS);
    for number in 0..WARM_UP + APPENDS {
        let before = Instant::now();
        trial.file.write_all(&bytes)?;
        trial.file.sync_data()?;
        if number >= WARM_UP {
            times.push(before.elapsed());
        }
        if begun.elapsed() > PATIENCE && !times.is_empty() {
            break;
        }
    }
    Ok(times)
}

/// Of rising times, the one that so many percent do not exceed.
fn quantile(rising: &[Duration], percent: usize) -> Duration {
    let at = (rising.len() * percent).div_ceil(100).saturating_sub(1);
    rising.get(at).copied().unwrap_or_default()
}

/// A file that goes when this is dropped.
struct Trial {
    file: File,
    path: PathBuf,
}

impl Trial {
    fn create(directory: &Path) -> io::Result<Self> {
        let path = directory.join(format!(".damso-doctor-{}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let trial = Self { file, path };
        trial.file.set_len(FILE_BYTES)?;
        Ok(trial)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a trial file stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_time_that_was_measured() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        for (percent, ms) in [(50, 100), (99, 198), (100, 200)] {
            assert_eq!(quantile(&times, percent), Duration::from_millis(ms));
        }
        assert_eq!(quantile(&times[..1], 99), Duration::from_millis(1));
        assert_eq!(quantile(&[], 50), Duration::ZERO);
    }

    #[test]
    fn nothing_is_left_where_it_was_measured() {
        let place = tempfile::tempdir().unwrap();
        let disk = measure(place.path()).expect("a place that can be written");
        assert!(disk.appends > 0 && disk.sync_p50_us > 0.0);
        assert!(disk.sync_p50_us <= disk.sync_p99_us && disk.sync_p99_us <= disk.sync_max_us);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
        assert!(measure(&place.path().join("nothing")).is_err());
    }
}
