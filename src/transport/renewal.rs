//! A certificate that follows its files, without a restart.
//!
//! ```text
//! every 10 s: files as they were -> nothing
//!             files changed      -> read; what cannot be used is doubted, and read again next time
//! SIGHUP:     always             -> read; what cannot be used is told
//! ```
//!
//! Chain and key are two files, and nobody replaces two files at once: whoever looks in between
//! sees a key of another certificate, half a file, or none. So the first look at a change believes
//! nothing bad of it. If the next look finds the same, nobody is writing: it is told. SIGHUP means
//! that the operator has written both. Whatever happens, the last good one is shown on.
//!
//! Blocking: for a thread that is no shard.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use damso_proto::time::Moment;
use metrics::counter;

use super::certificate::{self, Certificate, CertificateError};
use super::tls::Tls;
use super::validity::Standing;
use crate::model::limits;
use crate::runtime::clock::Clock;

/// The certificate that two files hold, and what has been told of it.
#[derive(Debug)]
pub struct Renewal {
    files: Files,
    tls: Tls,
    /// As the files were right before they were last read.
    seen: Stamps,
    doubts: Doubts,
    /// The last reminder of how the certificate stands, and when it was.
    reminded: Option<(Standing, Moment)>,
}

/// What came of reading the files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Another certificate is shown now.
    Loaded,
    /// They hold the one that is shown.
    Unchanged,
    /// They cannot be used, perhaps since they are being replaced.
    Doubted,
    /// They cannot be used; the old one is shown on.
    Failed,
}

/// Whether what the files hold was told of, or in how many looks in a row it was doubted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doubts {
    None,
    Looks(u32),
}

/// Where chain and key are.
#[derive(Clone, Debug)]
struct Files {
    chain: PathBuf,
    key: PathBuf,
}

/// How both files are, without reading them. `None`: there is none that can be seen.
type Stamps = [Option<Stamp>; 2];

/// Differs whenever a file was written, replaced, or given other rights. Behind a link it is that
/// of the file, so that a link to another file counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    place: (u64, u64),
    bytes: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Outcome {
    /// Its name among the metrics.
    const fn name(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Unchanged => "unchanged",
            Self::Doubted => "doubted",
            Self::Failed => "failed",
        }
    }
}

impl Renewal {
    /// Reads both files for the first time.
    ///
    /// # Errors
    /// [`CertificateError`] names the file at fault.
    pub fn open(chain: &Path, key: &Path) -> Result<Self, CertificateError> {
        let files = Files { chain: chain.into(), key: key.into() };
        let seen = files.stamps();
        let tls = Tls::new(certificate::load(chain, key)?)?;
        for outcome in [Outcome::Loaded, Outcome::Unchanged, Outcome::Doubted, Outcome::Failed] {
            count(outcome, 0);
        }
        Ok(Self { files, tls, seen, doubts: Doubts::None, reminded: None })
    }

    /// The server's side of TLS, which shows what this finds.
    pub fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// Reads the files if they changed, or were doubted. `None`: neither.
    pub fn look(&mut self) -> Option<Outcome> {
        let stamps = self.files.stamps();
        let looks = match self.doubts {
            Doubts::None if stamps == self.seen => return None,
            // The same again: nobody is writing.
            Doubts::Looks(_) if stamps == self.seen => limits::CERTIFICATE_DOUBTS_MAX,
            Doubts::None => 1,
            Doubts::Looks(looks) => looks.saturating_add(1),
        };
        Some(self.read(stamps, looks))
    }

    /// Reads the files in any case, which are said to be complete.
    pub fn reload(&mut self) -> Outcome {
        let stamps = self.files.stamps();
        self.read(stamps, limits::CERTIFICATE_DOUBTS_MAX)
    }

    /// Logs how the certificate stands, if there is something to be said that was not said within
    /// a day. Returns what was logged.
    pub fn remind(&mut self, clock: &dyn Clock) -> Option<Standing> {
        let certificate = self.tls.certificate();
        let (validity, now_ms) = (certificate.validity(), clock.unix_ms());
        let standing = validity.standing(now_ms);
        let now = clock.now();
        let known = self.reminded.is_some_and(|(last, at)| {
            standing <= last && now.since(at) < limits::CERTIFICATE_REMINDER
        });
        if standing == Standing::Good || known {
            return None;
        }
        self.reminded = Some((standing, now));
        let (path, until) = (self.files.chain.display(), validity.until());
        match standing {
            Standing::Good => {}
            Standing::Early => {
                let since = validity.since();
                tracing::warn!(%path, since, "the certificate is not good yet: is the clock right?");
            }
            Standing::Soon => tracing::warn!(%path, until, "the certificate ends soon: renew it"),
            Standing::Urgent => {
                tracing::error!(%path, until, "the certificate ends within 3 days: renew it");
            }
            Standing::Over => {
                let what = "the certificate has ended, and is served all the same: renew it";
                tracing::error!(%path, until, "{what}");
            }
        }
        Some(standing)
    }

    /// `stamps`: as the files were before. What is written from then on is the next look's.
    fn read(&mut self, stamps: Stamps, looks: u32) -> Outcome {
        self.seen = stamps;
        let read = self.files.read();
        self.doubts = match &read {
            Err(_) if looks < limits::CERTIFICATE_DOUBTS_MAX => Doubts::Looks(looks),
            _ => Doubts::None,
        };
        let outcome = match read {
            Ok(read) => self.show(read),
            Err(_) if self.doubts != Doubts::None => Outcome::Doubted,
            Err(error) => {
                let advice = error.advice();
                tracing::error!(%error, advice, "the old certificate is served on");
                Outcome::Failed
            }
        };
        count(outcome, 1);
        outcome
    }

    fn show(&mut self, read: Certificate) -> Outcome {
        let old = self.tls.certificate();
        let path = self.files.chain.display();
        if read.is_same(&old) {
            tracing::info!(%path, "the certificate is as it was");
            return Outcome::Unchanged;
        }
        let (pin, until) = (read.pin().to_owned(), read.validity().until());
        tracing::info!(%path, pin, until, "a new certificate is served");
        if pin != old.pin() {
            let old = old.pin();
            tracing::warn!(old, pin, "it has another key: whoever pins the old one stays out");
        }
        self.tls.show(read);
        self.reminded = None;
        Outcome::Loaded
    }
}

impl Files {
    fn stamps(&self) -> Stamps {
        [Stamp::of(&self.chain), Stamp::of(&self.key)]
    }

    fn read(&self) -> Result<Certificate, CertificateError> {
        // Opening a pipe would wait for its writer.
        if !is_file(&self.chain) {
            return Err(CertificateError::File { path: self.chain.clone(), reason: no_file() });
        }
        if !is_file(&self.key) {
            return Err(CertificateError::Key { path: self.key.clone(), reason: no_file() });
        }
        certificate::load(&self.chain, &self.key)
    }
}

/// Whatever cannot be looked at is left to whoever opens it, and says why.
fn is_file(path: &Path) -> bool {
    fs::metadata(path).map_or(true, |file| file.is_file())
}

fn no_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is no file, and cannot be read again")
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self {
            place: (file.dev(), file.ino()),
            bytes: file.len(),
            written: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

fn count(outcome: Outcome, times: u64) {
    counter!("damso_certificate_reloads_total", "outcome" => outcome.name()).increment(times);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, CertifiedKey, KeyPair};
    use tempfile::TempDir;

    use super::*;
    use crate::runtime::clock::ManualClock;

    const DAY: Duration = Duration::from_hours(24);

    /// A chain and its key, in a directory of their own.
    struct Place(TempDir);

    impl Place {
        /// With this pair in it.
        fn with(made: &CertifiedKey<KeyPair>) -> Self {
            let place = Self(TempDir::new().unwrap());
            place.write("chain", &made.cert.pem());
            place.write("key", &made.signing_key.serialize_pem());
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// Replaces a file as careful programs do, so that its stamp differs for certain.
        fn write(&self, name: &str, text: &str) {
            fs::write(self.path("aside"), text).unwrap();
            fs::rename(self.path("aside"), self.path(name)).unwrap();
        }

        fn open(&self) -> Renewal {
            Renewal::open(&self.path("chain"), &self.path("key")).unwrap()
        }
    }

    fn pair() -> CertifiedKey<KeyPair> {
        rcgen::generate_simple_self_signed(vec!["chat.example".to_owned()]).unwrap()
    }

    /// Whether this one is shown.
    fn shows(renewal: &Renewal, made: &CertifiedKey<KeyPair>) -> bool {
        renewal.tls().certificate().key().cert.first() == Some(made.cert.der())
    }

    #[test]
    fn what_did_not_change_is_not_read() {
        let one = pair();
        let place = Place::with(&one);
        let mut renewal = place.open();
        assert_eq!([renewal.look(), renewal.look()], [None, None]);
        assert_eq!(renewal.reload(), Outcome::Unchanged);
        place.write("chain", &one.cert.pem());
        assert_eq!([renewal.look(), renewal.look()], [Some(Outcome::Unchanged), None]);
    }

    #[test]
    fn a_look_between_two_writes_is_no_error_and_the_next_one_loads() {
        let (one, two) = (pair(), pair());
        let writes: [(&str, String); 2] =
            [("chain", two.cert.pem()), ("key", two.signing_key.serialize_pem())];
        for first in [0, 1] {
            let place = Place::with(&one);
            let mut renewal = place.open();
            let old = renewal.tls().pin();
            place.write(writes[first].0, &writes[first].1);
            assert_eq!(renewal.look(), Some(Outcome::Doubted));
            assert!(shows(&renewal, &one) && renewal.tls().pin() == old);
            place.write(writes[1 - first].0, &writes[1 - first].1);
            assert_eq!([renewal.look(), renewal.look()], [Some(Outcome::Loaded), None]);
            assert!(shows(&renewal, &two) && renewal.tls().pin() != old);
        }
    }

    #[test]
    fn what_stays_unusable_is_told_once_and_the_old_one_is_shown() {
        let (one, two) = (pair(), pair());
        let half = two.cert.pem()[..200].to_owned();
        let other = two.signing_key.serialize_pem();
        for (name, text) in [
            ("chain", Some(two.cert.pem())),
            ("chain", Some(half)),
            ("chain", Some(String::new())),
            ("chain", None),
            ("key", Some(other)),
            ("key", Some("no key".to_owned())),
            ("key", None),
        ] {
            let place = Place::with(&one);
            let mut renewal = place.open();
            match &text {
                Some(text) => place.write(name, text),
                None => fs::remove_file(place.path(name)).unwrap(),
            }
            let looks = [renewal.look(), renewal.look(), renewal.look(), renewal.look()];
            let expected = [Some(Outcome::Doubted), Some(Outcome::Failed), None, None];
            assert_eq!(looks, expected, "{name}: {text:?}");
            assert_eq!(renewal.reload(), Outcome::Failed, "asked again, told again");
            assert!(shows(&renewal, &one));
            // Mended: whole again.
            place.write("chain", &two.cert.pem());
            place.write("key", &two.signing_key.serialize_pem());
            assert_eq!(renewal.look(), Some(Outcome::Loaded));
            assert!(shows(&renewal, &two));
        }
    }

    #[test]
    fn whoever_says_that_the_files_are_complete_is_told_at_once() {
        let (one, two) = (pair(), pair());
        let place = Place::with(&one);
        let mut renewal = place.open();
        place.write("key", &two.signing_key.serialize_pem());
        assert_eq!(renewal.look(), Some(Outcome::Doubted));
        assert_eq!(renewal.reload(), Outcome::Failed);
        assert_eq!(renewal.look(), None);
    }

    #[test]
    fn files_that_never_come_to_rest_are_told_of_all_the_same() {
        let place = Place::with(&pair());
        let mut renewal = place.open();
        let mut outcomes = Vec::new();
        for number in 0..2 * limits::CERTIFICATE_DOUBTS_MAX {
            place.write("chain", &"x".repeat(number as usize));
            outcomes.extend(renewal.look());
        }
        let failed = outcomes.iter().filter(|outcome| **outcome == Outcome::Failed);
        assert_eq!(failed.count(), 2, "{outcomes:?}");
        assert_eq!(outcomes.len(), 12);
    }

    #[test]
    fn rights_that_were_mended_are_a_change() {
        use std::os::unix::fs::PermissionsExt as _;

        let place = Place::with(&pair());
        let before = Stamp::of(&place.path("key"));
        fs::set_permissions(place.path("key"), fs::Permissions::from_mode(0o400)).unwrap();
        assert_ne!(Stamp::of(&place.path("key")), before);
    }

    #[test]
    fn a_link_to_another_file_is_a_change_and_a_pipe_is_not_waited_for() {
        let (one, two) = (pair(), pair());
        let (place, other) = (Place::with(&one), Place::with(&two));
        let link = |name: &str, to: PathBuf| {
            drop(fs::remove_file(place.path(name)));
            std::os::unix::fs::symlink(to, place.path(name)).unwrap();
        };
        let mut renewal = place.open();
        link("chain", other.path("chain"));
        link("key", other.path("key"));
        assert_eq!(renewal.look(), Some(Outcome::Loaded));
        let pipe = place.path("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        link("key", pipe);
        assert_eq!(renewal.reload(), Outcome::Failed);
        assert!(shows(&renewal, &two));
    }

    #[test]
    fn what_ends_soon_is_said_once_a_day_and_sooner_if_it_gets_worse() {
        let lasting = |start: i64, days: i64| {
            let mut params = CertificateParams::new(vec!["chat.example".to_owned()]).unwrap();
            let epoch = rcgen::date_time_ymd(1970, 1, 1);
            let day = |days: i64| DAY * u32::try_from(days).unwrap();
            params.not_before = epoch + day(start);
            params.not_after = epoch + day(start + days);
            let signing_key = KeyPair::generate().unwrap();
            CertifiedKey { cert: params.self_signed(&signing_key).unwrap(), signing_key }
        };
        let clock = ManualClock::new(20_000 * 86_400_000);
        let place = Place::with(&lasting(20_000, 16));
        let mut renewal = place.open();
        let mut said = Vec::new();
        // An hour at a time, for 20 days.
        for hour in 0..20 * 24 {
            said.extend(renewal.remind(&clock).map(|standing| (hour / 24, standing)));
            clock.advance(Duration::from_hours(1));
        }
        let days = |of: Standing| {
            let of = said.iter().filter(|(_, standing)| *standing == of);
            of.map(|(day, _)| *day).collect::<Vec<_>>()
        };
        assert_eq!(days(Standing::Soon), (2..13).collect::<Vec<i32>>());
        assert_eq!(days(Standing::Urgent), [13, 14, 15]);
        assert_eq!(days(Standing::Over), [16, 17, 18, 19]);
        // Another one is another matter; a clock that is set to and fro is not.
        let next = lasting(20_030, 90);
        place.write("chain", &next.cert.pem());
        place.write("key", &next.signing_key.serialize_pem());
        assert_eq!(renewal.look(), Some(Outcome::Loaded));
        assert!(shows(&renewal, &next), "not good yet, and served");
        assert_eq!(renewal.remind(&clock), Some(Standing::Early));
        clock.set_unix_ms(20_040 * 86_400_000);
        assert_eq!(renewal.remind(&clock), None);
        clock.set_unix_ms(20_000 * 86_400_000);
        assert_eq!(renewal.remind(&clock), None);
    }
}
