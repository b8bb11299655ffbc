//! The time zone in which people read times. Machine formats and the sentences of findings have UTC, and say so.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The time zone of the reader: UTC unless the caller knows another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(&'static TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Zone::UTC
    }
}

impl Zone {
    /// UTC.
    pub const UTC: Zone = Zone(&TimeZone::UTC);

    /// Makes the zone of the reader; call it once, because the zone stays in memory.
    #[must_use]
    pub fn new(zone: TimeZone) -> Self {
        Zone(Box::leak(Box::new(zone)))
    }

    /// Returns the day: `2026-11-21`.
    pub(super) fn day(self, time: Timestamp) -> String {
        time.to_zoned(self.0.clone()).strftime("%Y-%m-%d").to_string()
    }

    /// Returns the day and the time with `format`, and the offset from UTC: `2026-11-21 12:00 UTC`, or `13:00 +01:00`.
    pub(super) fn time(self, time: Timestamp, format: &str) -> String {
        let zoned = time.to_zoned(self.0.clone());
        let offset =
            if zoned.offset().is_zero() { "UTC".to_owned() } else { zoned.strftime("%:z").to_string() };
        format!("{} {offset}", zoned.strftime(format))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_their_offset() {
        let berlin = Zone::new(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap());
        let winter: Timestamp = "2026-11-20T23:30:00Z".parse().unwrap();
        let summer: Timestamp = "2026-07-01T12:00:00Z".parse().unwrap();
        for (name, zone, time, shown, day) in [
            ("UTC", Zone::UTC, winter, "23:30 UTC", "2026-11-20"),
            ("local, winter", berlin, winter, "00:30 +01:00", "2026-11-21"),
            ("local, summer", berlin, summer, "14:00 +02:00", "2026-07-01"),
        ] {
            assert_eq!(
                (zone.time(time, "%H:%M"), zone.day(time)),
                (shown.to_owned(), day.to_owned()),
                "{name}"
            );
        }
    }
}
