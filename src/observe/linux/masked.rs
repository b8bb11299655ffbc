//! Finds processes whose directory in `/proc` is covered by a mount. Some rootkits hide processes this way.

use crate::model::Pid;

/// Returns the processes that have a mount over their directory or over a part of it, in ascending order.
pub(super) fn processes_in(mounts: &str) -> Vec<Pid> {
    let pid = |line: &str| {
        let below = line.split(' ').nth(4)?.strip_prefix("/proc/")?;
        below.split('/').next()?.parse().ok()
    };
    let mut pids: Vec<Pid> = mounts.lines().filter_map(pid).collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_over_processes() {
        let mounts = "31 23 0:5 / /proc rw - proc proc rw\n\
            32 31 0:9 / /proc/sys/fs/binfmt_misc rw - autofs x rw\n\
            33 31 0:7 / /proc/4711 rw - tmpfs none rw\n\
            34 31 0:7 / /proc/12/fd rw - tmpfs none rw\n\
            35 31 0:5 /77 /proc/4711 rw - proc proc rw\nshort\n\
            36 23 0:8 / /srv/proc/5 rw - tmpfs none rw\n";
        assert_eq!(processes_in(mounts), [12, 4711]);
    }
}
