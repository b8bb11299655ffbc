//! The steps by which a table becomes narrower, until it fits its terminal.

use super::service_cells::WIDEST_SERVICE;

/// A column, and the width to which it is cut in this step. The width 0 hides the column.
pub(super) type Step = (&'static str, u16);

/// The steps with the long form of the cells.
pub(super) const LONG_STEPS: [Step; 3] = [("service", WIDEST_SERVICE), ("unit", 20), ("process", 24)];

/// The steps with the short form of the cells.
pub(super) const SHORT_STEPS: [Step; 6] =
    [("service", WIDEST_SERVICE), ("unit", 20), ("address", 28), ("process", 20), ("user", 13), ("unit", 13)];

/// The steps without the column UNIT.
pub(super) const WITHOUT_UNIT_STEPS: [Step; 8] = [
    ("service", WIDEST_SERVICE),
    ("address", 28),
    ("flags", 19),
    ("process", 16),
    ("user", 12),
    ("service", 16),
    ("address", 22),
    ("peer", 22),
];

/// The last steps of a table with a column STATE.
pub(super) const STATE_STEPS: [Step; 30] = [
    ("process", 16),
    ("flags", 19),
    ("service", 12),
    ("connections", 0),
    ("service", 10),
    ("user", 8),
    ("address", 22),
    ("peer", 28),
    ("flags", 16),
    ("process", 10),
    ("netns", 8),
    ("netns", 0),
    ("exposure", WIDEST_REACH),
    ("flags", 14),
    ("service", 7),
    ("service", 0),
    ("exposure", 0),
    ("user", 0),
    ("address", 15),
    ("peer", 22),
    ("pid", 0),
    ("address", 13),
    ("process", 8),
    // From this step on, the table of connections fits 80 columns.
    ("peer", 15),
    ("peer", 0),
    ("address", 9),
    ("process", 0),
    ("address", 0),
    ("state", 0),
    ("protocol", 0),
];

/// The last steps of a table without a column STATE.
pub(super) const NARROW_STEPS: [Step; 33] = [
    ("process", 16),
    ("flags", 19),
    ("address", 22),
    ("peer", 22),
    ("service", 12),
    ("service", 10),
    ("user", 8),
    ("address", 15),
    ("service", 9),
    ("process", 12),
    ("process", 10),
    ("netns", 8),
    ("netns", 0),
    ("peer", 15),
    ("flags", 16),
    ("exposure", WIDEST_REACH),
    ("service", 8),
    ("process", 8),
    ("user", 6),
    ("flags", 14),
    ("address", 13),
    ("service", 7),
    ("connections", 0),
    ("pid", 0),
    // From this step on, the table of listeners fits 80 columns.
    ("user", 0),
    ("exposure", 0),
    ("peer", 0),
    ("address", 11),
    // From this step on, the table fits 60 columns. It still shows PROTO, ADDRESS, PORT, SERVICE, PROCESS and FLAGS.
    ("service", 0),
    ("address", 9),
    ("address", 0),
    ("process", 0),
    ("protocol", 0),
    // PORT and FLAGS are never hidden, because they fit a terminal of 20 columns.
];

/// The steps before `NARROW_STEPS` on the screen of `watch`. The last step hides the pid, because the card of each row
/// shows it.
pub(super) const SCREEN_STEPS: [Step; 8] = [
    ("process", 16),
    ("flags", 19),
    ("address", 22),
    ("service", 10),
    ("user", 8),
    ("address", 15),
    ("process", 12),
    ("pid", 0),
];

/// The width of the longest word in REACH, `filtered`.
const WIDEST_REACH: u16 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::columns;

    #[test]
    fn every_step_names_a_column() {
        let steps: [&[Step]; 6] =
            [&LONG_STEPS, &SHORT_STEPS, &WITHOUT_UNIT_STEPS, &SCREEN_STEPS, &NARROW_STEPS, &STATE_STEPS];
        for (name, _) in steps.concat() {
            assert!(columns::named(name).is_some(), "{name}");
        }
    }
}
