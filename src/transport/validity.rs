//! From when to when a certificate is good, and how it stands with that.

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509CertificateParser;
use x509_parser::error::X509Error;
use x509_parser::nom::{self, Parser as _};
use x509_parser::time::ASN1Time;

use crate::model::limits;

/// From when to when a certificate is good, seconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validity {
    /// Clients refuse it before.
    pub not_before: i64,
    /// Clients refuse it after.
    pub not_after: i64,
}

/// How a certificate stands, from good to bad. It is served in any case: a clock may be wrong, and
/// whoever pins the key looks at no date.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Standing {
    /// Nothing to be said.
    Good,
    /// Its time has not come.
    Early,
    /// Less than [`limits::CERTIFICATE_SOON`] is left.
    Soon,
    /// Less than [`limits::CERTIFICATE_URGENT`] is left.
    Urgent,
    /// Its time is over.
    Over,
}

impl Validity {
    /// Reads it. What else is in the certificate is rustls' to judge.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, nom::Err<X509Error>> {
        let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
        let (_, certificate) = parser.parse(certificate)?;
        let times = certificate.validity();
        let (not_before, not_after) = (times.not_before.timestamp(), times.not_after.timestamp());
        Ok(Self { not_before, not_after })
    }

    /// How it stands at a time of day, milliseconds since 1970.
    pub fn standing(&self, now_ms: u64) -> Standing {
        let now = i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX);
        let left = self.not_after.saturating_sub(now);
        let within = |limit: std::time::Duration| {
            u64::try_from(left).is_ok_and(|left| left < limit.as_secs())
        };
        if left < 0 {
            Standing::Over
        } else if now < self.not_before {
            Standing::Early
        } else if within(limits::CERTIFICATE_URGENT) {
            Standing::Urgent
        } else if within(limits::CERTIFICATE_SOON) {
            Standing::Soon
        } else {
            Standing::Good
        }
    }

    /// The first day, for people.
    pub fn since(&self) -> String {
        date(self.not_before)
    }

    /// The last day, for people.
    pub fn until(&self) -> String {
        date(self.not_after)
    }
}

fn date(seconds: i64) -> String {
    ASN1Time::from_timestamp(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600;

    #[test]
    fn the_dates_of_a_certificate_are_read() {
        let mut params = rcgen::CertificateParams::new(vec!["chat.example".into()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2126, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        let validity = Validity::of(made.der()).unwrap();
        assert_eq!(validity, Validity { not_before: 1_767_225_600, not_after: 4_922_899_200 });
        assert!(validity.since().contains("2026") && validity.until().contains("2126"));
        assert!(Validity::of(&CertificateDer::from(&made.der()[..40])).is_err());
    }

    #[test]
    fn it_stands_worse_the_less_is_left() {
        let validity = Validity { not_before: 100 * DAY, not_after: 200 * DAY };
        for (now, standing) in [
            (0, Standing::Early),
            (100 * DAY - 1, Standing::Early),
            (100 * DAY, Standing::Good),
            (186 * DAY, Standing::Good),
            (186 * DAY + 1, Standing::Soon),
            (197 * DAY, Standing::Soon),
            (197 * DAY + 1, Standing::Urgent),
            (200 * DAY, Standing::Urgent),
            (200 * DAY + 1, Standing::Over),
        ] {
            assert_eq!(validity.standing(now.unsigned_abs() * 1_000), standing, "{now}");
        }
        assert_eq!(validity.standing(u64::MAX), Standing::Over);
        let backwards = Validity { not_before: 200 * DAY, not_after: 100 * DAY };
        assert_eq!(backwards.standing(150 * DAY.unsigned_abs() * 1_000), Standing::Over);
    }
}
