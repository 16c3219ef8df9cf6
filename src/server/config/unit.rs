//! Durations, sizes and rates as people write them.
//!
//! ```text
//! "250ms" "30s" "5m" "2h" "7d"    "512B" "64KiB" "4MiB" "1GiB"    "20/s burst 60"
//! ```
//!
//! A whole number and a unit, always: a bare number could be anything.

use std::time::Duration;

use crate::model::rate::Rate;

/// Units of time, in milliseconds.
const TIMES: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
/// Units of size, in bytes.
const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// What a duration looks like.
pub(super) const TIME_FORM: &str = "a whole number and ms, s, m, h or d, like \"30s\" or \"5m\"";
/// What a size looks like.
pub(super) const SIZE_FORM: &str = "a whole number and B, KiB, MiB or GiB, like \"64KiB\"";
/// What a rate looks like.
pub(super) const RATE_FORM: &str =
    "so many a second, and how many at once after a rest, like \"20/s burst 60\"";

/// A duration. `None`: it is none, or longer than half a billion years.
pub(super) fn time(text: &str) -> Option<Duration> {
    scaled(text, &TIMES).map(Duration::from_millis)
}

/// A size in bytes. `None`: it is none, or more than this machine can address.
pub(super) fn size(text: &str) -> Option<usize> {
    usize::try_from(scaled(text, &SIZES)?).ok()
}

/// A rate. `None`: it is none, or a number is beyond 32 bits.
pub(super) fn rate(text: &str) -> Option<Rate> {
    let (per_second, burst) = text.split_once("/s")?;
    let burst = burst.trim_start_matches(',').trim_start().strip_prefix("burst")?;
    Some(Rate { per_second: whole(per_second)?, burst: whole(burst)? })
}

/// A whole number; `_` may stand between digits, as in TOML.
pub(super) fn whole<N: std::str::FromStr>(text: &str) -> Option<N> {
    let text = text.trim();
    let digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let apart = !text.starts_with('_') && !text.ends_with('_') && !text.contains("__");
    if digits && apart { text.replace('_', "").parse().ok() } else { None }
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '_')?;
    let (number, unit) = text.split_at(unit_at);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    whole::<u64>(number)?.checked_mul(*scale)
}

/// A duration as [`time`] reads it, in the largest unit from seconds to hours that is exact.
pub(super) fn show_time(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0 => "0s".to_owned(),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

/// A size as [`size`] reads it, in the largest unit that is exact.
pub(super) fn show_size(bytes: usize) -> String {
    let exact = |scale: u64| bytes > 0 && (bytes as u64).is_multiple_of(scale);
    let (unit, scale) =
        SIZES.into_iter().rev().find(|(_, scale)| exact(*scale)).unwrap_or(("B", 1));
    format!("{}{unit}", bytes as u64 / scale)
}

/// A rate as [`rate`] reads it.
pub(super) fn show_rate(rate: Rate) -> String {
    format!("{}/s burst {}", rate.per_second, rate.burst)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_and_a_unit() {
        let cases = [
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            (" 5 m ", Some(300_000)),
            ("2h", Some(7_200_000)),
            ("1_0d", Some(864_000_000)),
            ("0s", Some(0)),
            ("30", None),
            ("s", None),
            ("", None),
            ("-1s", None),
            ("1.5s", None),
            ("30 sec", None),
            ("30S", None),
            ("1m30s", None),
            ("_1s", None),
            ("1__0s", None),
            ("18446744073709551615d", None),
            ("99999999999999999999s", None),
        ];
        for (text, ms) in cases {
            assert_eq!(time(text), ms.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn a_size_is_a_whole_number_and_a_binary_unit() {
        let cases = [
            ("512B", Some(512)),
            ("64KiB", Some(65_536)),
            ("4 MiB", Some(4 << 20)),
            ("1GiB", Some(1 << 30)),
            ("64", None),
            ("64KB", None),
            ("64kib", None),
            ("64k", None),
            ("1.5MiB", None),
            ("18446744073709551615KiB", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(size(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn a_rate_says_how_fast_and_how_many_at_once() {
        let twenty = Some(Rate { per_second: 20, burst: 60 });
        for text in ["20/s burst 60", " 20 /s, burst 60 ", "2_0/s burst 6_0"] {
            assert_eq!(rate(text), twenty, "{text:?}");
        }
        for text in ["20", "20/s", "20/m burst 60", "/s burst 60", "20/s burst", "a/s burst b"] {
            assert_eq!(rate(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(number: u32, burst: u32) {
            let ms = Duration::from_millis(number.into());
            prop_assert_eq!(time(&show_time(ms)), Some(ms));
            let hours = Duration::from_secs(u64::from(number) * 3_600);
            prop_assert_eq!(time(&show_time(hours)), Some(hours));
            prop_assert_eq!(size(&show_size(number as usize)), Some(number as usize));
            prop_assert_eq!(size(&show_size((number as usize) << 10)), Some((number as usize) << 10));
            let both = Rate { per_second: number, burst };
            prop_assert_eq!(rate(&show_rate(both)), Some(both));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = (time(&text), size(&text), rate(&text));
        }
    }
}
