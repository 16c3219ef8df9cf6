//! The laws of who may come in, kept by each engine.

use super::super::{Admission, Directory as _, Login, Provision, User};
use super::world::{HOUR_MS, NOW_MS, every_engine, p, uid};
use crate::model::device::DeviceId;
use crate::model::limits::DEVICES_PER_USER_MAX;
use crate::model::naming::CustomMap;

fn login(n: u64, device: &str, issued_ms: u64) -> Login {
    let device = DeviceId::parse(device).unwrap();
    Login { uid: uid(n), device, issued_ms }
}

fn admitted(n: u64) -> Admission {
    Admission::Admitted(User { number: p(n), uid: uid(n), custom: CustomMap::default() })
}

#[test]
fn logging_in_makes_a_person_only_where_that_is_wanted() {
    every_engine(|world| {
        let log_in =
            |provision| world.directory.admit(&login(77, "d", 0), provision, NOW_MS).unwrap();
        assert_eq!(log_in(Provision::Strict), Admission::Unknown);
        let person = User { number: p(10), uid: uid(77), custom: CustomMap::default() };
        let admitted = Admission::Admitted(person);
        assert_eq!(log_in(Provision::Auto), admitted);
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
