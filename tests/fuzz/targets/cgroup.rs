//! Any text as the path of a control group: no panic, and no name is longer than the path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan::observe::linux::fuzzed;

fuzz_target!(|path: &str| {
    for name in fuzzed::cgroup(path).into_iter().flatten() {
        // A byte that systemd escaped may become U+FFFD, which has three bytes; two names are joined by a slash.
        assert!(!name.is_empty() && name.len() <= 2 * path.len() + 1, "{name}");
    }
});
