//! The laws of who may come in, kept by each engine.

use damso_proto::id::{Uid, UserNo};

use super::super::{Admission, Directory as _, Login, Options, Provision, Sqlite, User};
use super::world::{HOUR_MS, NOW_MS, every_engine, p, uid};
use crate::model::device::{DeviceId, ProofHash};
use crate::model::limits::{
    DEVICE_SEEN_GRAIN, DEVICE_UNSEEN_MAX, DEVICES_PER_USER_MAX, millis_long,
};
use crate::model::naming::CustomMap;

fn login(n: u64, device: &str, issued_ms: u64) -> Login {
    let device = DeviceId::parse(device).unwrap();
    Login { uid: uid(n), device, issued_ms, proof: None, fresh: hash(1) }
}

fn hash(n: u8) -> ProofHash {
    ProofHash([n; 32])
}

/// Somebody is let in, and the device told its proof.
fn admitted(n: u64) -> Admission {
    Admission::Admitted { user: user(p(n), uid(n)), is_told: true }
}

/// Somebody is let in with a device that is proven.
fn known(n: u64) -> Admission {
    Admission::Admitted { user: user(p(n), uid(n)), is_told: false }
}

/// A person of whom nothing is noted.
fn user(number: UserNo, uid: Uid) -> User {
    User { number, uid, custom: CustomMap::default() }
}

#[test]
fn logging_in_makes_a_person_only_where_that_is_wanted() {
    every_engine(|world| {
        let log_in =
            |provision| world.directory.admit(&login(77, "d", 0), provision, NOW_MS).unwrap();
        assert_eq!(log_in(Provision::Strict), Admission::Unknown);
        let admitted = Admission::Admitted { user: user(p(10), uid(77)), is_told: true };
        assert_eq!(log_in(Provision::Auto), admitted.clone());
        assert_eq!(log_in(Provision::Strict), admitted);
    });
}

#[test]
fn tokens_issued_before_a_revocation_count_no_more() {
    every_engine(|world| {
        let directory = &world.directory;
        let admit = |n, issued_ms| {
            let login = login(n, "d", issued_ms);
            directory.admit(&login, Provision::Auto, NOW_MS).unwrap()
        };
        let is_in = |n, issued_ms| admit(n, issued_ms) == admitted(n);
        assert!(is_in(1, 0), "a token need not say when it was issued");
        assert_eq!(directory.revoke(&uid(1), None, NOW_MS).unwrap(), Some(p(1)));
        for (issued_ms, good) in [(0, false), (NOW_MS - 1, false), (NOW_MS, true), (u64::MAX, true)]
        {
            assert_eq!(is_in(1, issued_ms), good, "{issued_ms}");
        }
        assert_eq!(admit(1, NOW_MS - 1), Admission::TokenRevoked);
        // A clock that went back does not revive them.
        directory.revoke(&uid(1), None, NOW_MS - HOUR_MS).unwrap();
        assert!(!is_in(1, NOW_MS - 1));
        assert!(is_in(2, NOW_MS - 1), "nobody else's");
        assert_eq!(directory.revoke(&uid(77), None, NOW_MS).unwrap(), None, "and makes nobody");
        assert_eq!(directory.users_by_uid(&[uid(77)]).unwrap(), []);
    });
}

#[test]
fn a_revoked_device_stays_out_and_others_come_in() {
    every_engine(|world| {
        let directory = &world.directory;
        let admit = |device: &str| {
            directory.admit(&login(1, device, NOW_MS), Provision::Auto, NOW_MS).unwrap()
        };
        assert_eq!(admit("phone"), admitted(1));
        for device in ["phone", "phone", "never seen"] {
            let device = DeviceId::parse(device).unwrap();
            assert_eq!(directory.revoke(&uid(1), Some(&device), NOW_MS).unwrap(), Some(p(1)));
            assert_eq!(admit(device.as_str()), Admission::DeviceRevoked);
        }
        assert_eq!(admit("tablet"), admitted(1));
        // However many come later: it is not forgotten by being one too many.
        for n in 0..3 * DEVICES_PER_USER_MAX {
            assert_eq!(admit(&format!("d{n}")), admitted(1));
        }
        assert_eq!(admit("phone"), Admission::DeviceRevoked);
        let other = directory.admit(&login(2, "phone", 0), Provision::Auto, NOW_MS).unwrap();
        assert_eq!(other, admitted(2));
    });
}

#[test]
fn who_is_in_may_stay_until_they_are_revoked() {
    every_engine(|world| {
        let directory = &world.directory;
        let stays = |n, device: &str, issued_ms| {
            let device = DeviceId::parse(device).unwrap();
            directory.may_stay(&uid(n), &device, issued_ms).unwrap()
        };
        assert_eq!(stays(1, "forgotten", 0), Some(p(1)));
        assert_eq!(stays(77, "phone", 0), None, "nobody is made");
        directory.revoke(&uid(1), None, NOW_MS).unwrap();
        let phone = DeviceId::parse("phone").unwrap();
        directory.revoke(&uid(1), Some(&phone), NOW_MS).unwrap();
        assert_eq!(stays(1, "tablet", NOW_MS - 1), None);
        assert_eq!(stays(1, "tablet", NOW_MS), Some(p(1)));
        assert_eq!(stays(1, "phone", NOW_MS), None);
        assert_eq!(stays(2, "phone", 0), Some(p(2)));
    });
}

#[test]
fn revocations_are_counted_once_they_stand() {
    every_engine(|world| {
        let directory = &world.directory;
        let before = directory.revocations();
        directory.admit(&login(1, "d", 0), Provision::Auto, NOW_MS).unwrap();
        assert_eq!(directory.revocations(), before);
        directory.revoke(&uid(1), None, NOW_MS).unwrap();
        assert!(directory.revocations() > before);
    });
}

#[test]
fn a_proof_counts_once_it_was_presented() {
    every_engine(|world| {
        let admit = |proof: Option<u8>, fresh: u8| {
            let (proof, fresh) = (proof.map(hash), hash(fresh));
            let login = Login { proof, fresh, ..login(1, "phone", 0) };
            world.directory.admit(&login, Provision::Auto, NOW_MS).unwrap()
        };
        // Nothing was stored: it is told again, by the same server or by the next one.
        for (proof, fresh) in [(None, 1), (None, 1), (None, 2), (Some(9), 2), (Some(1), 2)] {
            assert_eq!(admit(proof, fresh), admitted(1), "{proof:?}, {fresh}");
        }
        // It was, whichever server told it.
        assert_eq!(admit(Some(2), 3), known(1));
        assert_eq!(admit(Some(2), 4), known(1));
        for proof in [None, Some(1), Some(3), Some(4)] {
            assert_eq!(admit(proof, 4), Admission::Unproven, "{proof:?}");
        }
        assert_eq!(admit(Some(2), 4), known(1));
        let other = world.directory.admit(&login(2, "phone", 0), Provision::Auto, NOW_MS).unwrap();
        assert_eq!(other, admitted(2), "a device is one person's");
        let phone = DeviceId::parse("phone").unwrap();
        world.directory.revoke(&uid(1), Some(&phone), NOW_MS).unwrap();
        assert_eq!(admit(Some(2), 4), Admission::DeviceRevoked);
    });
}

#[test]
fn one_device_too_many_takes_the_place_of_one_that_can_be_spared() {
    every_engine(|world| {
        let grain_ms = millis_long(DEVICE_SEEN_GRAIN);
        let admit = |device: &str, proof: Option<u8>, now_ms| {
            let login = Login { proof: proof.map(hash), ..login(1, device, 0) };
            world.directory.admit(&login, Provision::Auto, now_ms).unwrap()
        };
        let max = DEVICES_PER_USER_MAX;
        for n in 0..max {
            admit(&format!("d{n}"), None, NOW_MS + n as u64);
        }
        for n in 1..max {
            assert_eq!(admit(&format!("d{n}"), Some(1), NOW_MS + n as u64), known(1));
        }
        // d0 was never proven; then the new one is not.
        for n in 0..5 {
            assert_eq!(admit(&format!("new{n}"), None, NOW_MS), admitted(1));
        }
        assert_eq!(admit("new4", Some(1), NOW_MS), known(1));
        assert_eq!(admit("one more", None, NOW_MS), Admission::TooManyDevices);
        assert_eq!(admit("d1", None, NOW_MS), Admission::Unproven, "none of them is forgotten");
        // All but d1 are seen again, though not so often that it is noted each time.
        let later_ms = NOW_MS + millis_long(DEVICE_UNSEEN_MAX) + 100;
        for n in 2..max {
            assert_eq!(admit(&format!("d{n}"), Some(1), later_ms - grain_ms), known(1));
        }
        assert_eq!(admit("new4", Some(1), later_ms - grain_ms), known(1));
        assert_eq!(admit("one more", None, later_ms), admitted(1));
        assert_eq!(admit("d2", None, later_ms), Admission::Unproven);
        assert_eq!(admit("d1", Some(1), later_ms), admitted(1), "forgotten: told anew");
    });
}

#[test]
fn ten_thousand_that_come_back_write_nothing() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("directory.sqlite");
    let random = std::sync::Arc::new(crate::runtime::random::SeededRandom::new(1));
    let directory = Sqlite::open(&path, Options::default(), random).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    // Changes whenever another connection commits.
    let version =
        || -> i64 { other.pragma_query_value(None, "data_version", |row| row.get(0)).unwrap() };
    let (told, proven) = (login(1, "told", 0), login(1, "proven", 0));
    let proven_now = Login { proof: Some(hash(1)), ..proven.clone() };
    for login in [&told, &proven, &proven_now] {
        let before = version();
        directory.admit(login, Provision::Auto, NOW_MS).unwrap();
        assert_ne!(version(), before, "{login:?}");
    }
    let before = version();
    let end_ms = NOW_MS + millis_long(DEVICE_SEEN_GRAIN) - 1;
    for n in 0..10_000 {
        let now_ms = NOW_MS + n * (end_ms - NOW_MS) / 10_000;
        let login = if n % 2 == 0 { &told } else { &proven_now };
        directory.admit(login, Provision::Auto, now_ms).unwrap();
    }
    assert_eq!(version(), before);
    directory.admit(&told, Provision::Auto, end_ms + 1).unwrap();
    assert_ne!(version(), before, "once a week it is noted");
}
