//! The time zone for times that people read. Machine formats and the sentences of findings use UTC and say so.

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The time zone of the reader, or UTC if it is not known. The look-up reads many directories, and most listings show
/// no time. So the zone is looked up only when a time is shown.
#[derive(Clone, Copy, Debug)]
pub struct Zone(&'static LazyLock<TimeZone>);

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Zone {}

static UTC: LazyLock<TimeZone> = LazyLock::new(|| TimeZone::UTC);

impl Default for Zone {
    fn default() -> Self {
        Zone::UTC
    }
}

impl Zone {
    pub const UTC: Zone = Zone(&UTC);

    /// Returns the zone of the reader, which is looked up when it is first used.
    pub const fn new(zone: &'static LazyLock<TimeZone>) -> Self {
        Zone(zone)
    }

    /// Returns the day: `2026-11-21`.
    pub(super) fn day(self, time: Timestamp) -> String {
        time.to_zoned(TimeZone::clone(self.0)).strftime("%Y-%m-%d").to_string()
    }

    /// Returns the time in this `format` with its offset from UTC: `2026-11-21 12:00 UTC`, or `13:00 +01:00`.
    pub(super) fn time(self, time: Timestamp, format: &str) -> String {
        let zoned = time.to_zoned(TimeZone::clone(self.0));
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
        static BERLIN: LazyLock<TimeZone> =
            LazyLock::new(|| TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap());
        let berlin = Zone::new(&BERLIN);
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
