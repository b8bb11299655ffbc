//! Proves from change times of inodes that a program is still the file that dpkg installed. If so, its checksum need
//! not be calculated.
//!
//! dpkg installs all files of a package in one run, and then writes their list. If the inode of a program last changed
//! in this run, the program has not changed since.
//!
//! A change time cannot be set back, except by setting the clock of the machine. But root could replace the program and
//! then touch the list, and both times would agree. Therefore a few other files of the package are compared too, and
//! most of them must have changed in the same run.
//!
//! The times prove nothing for two kinds of files. Files from an archive have the time at which they were unpacked.
//! Files of a disk image have times that a tool chose.

use rustix::fs::Stat;

use super::root::{MountedStat, Root};

/// Seconds and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChangeTime(i64, i64);

/// The maximum duration of a run in seconds, from the first to the last renamed file of a package. Debian's packages
/// took less than 5 seconds in a test.
const ONE_STEP: i64 = 120;
/// The number of compared files of a package, and the minimum number that must have changed in the run. Not all must
/// agree, because installation scripts later change the owner or the mode of some files.
const COMPARED: usize = 8;
const ENOUGH: usize = 3;

impl ChangeTime {
    pub(super) fn of(stat: &Stat) -> Self {
        ChangeTime(stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or_default())
    }

    /// Returns the time at which a file was written. `None` in two cases, because the time then proves nothing:
    /// - the content is much older than the inode, as in a file from an archive
    /// - the time is a whole second, as often in a disk image
    fn of_new_file(stat: &Stat) -> Option<Self> {
        let modified = ChangeTime(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or_default());
        let changed = Self::of(stat);
        let is_one_step =
            (modified..=ChangeTime(modified.0.saturating_add(10), modified.1)).contains(&changed);
        (is_one_step && modified.1 != 0).then_some(modified)
    }

    /// Returns whether this time is before `end`, by at most the duration of a run. Returns false if the times are
    /// equal, because the order of the changes is then not known.
    fn is_in_the_step_before(self, end: Self) -> bool {
        self.1 != 0 && (ChangeTime(end.0.saturating_sub(ONE_STEP), end.1)..end).contains(&self)
    }
}

/// A run in which dpkg installed a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Installation {
    /// The time at which dpkg wrote the list of files.
    end: ChangeTime,
    /// The mount of the package's other files.
    mount: u64,
}

impl Installation {
    /// Returns the run in which a package was installed. `list`, `sums` and `others` are the paths of its list of
    /// files, its checksums, and some of its files. Returns `None` if the times of these files do not prove a common
    /// run.
    ///
    /// In another root directory, such as that of a container, a file system may report false times, so nothing is
    /// proved there.
    pub(super) fn of(root: &Root, list: &str, sums: &str, others: &[&[u8]]) -> Option<Self> {
        let end = ChangeTime::of_new_file(&root.stat(list.as_bytes())?.stat)?;
        let sums = ChangeTime::of(&root.stat(sums.as_bytes())?.stat);
        let others: Vec<(u64, ChangeTime)> = others
            .iter()
            .filter_map(|path| root.stat(path))
            .take(COMPARED)
            .map(|file| (file.mount, ChangeTime::of(&file.stat)))
            .collect();
        Self::by_times(end, sums, &others)
    }

    /// Returns the run of dpkg if both conditions are met:
    /// - the checksums changed at about the time at which dpkg wrote the list of files (`end`)
    /// - most of the `others` changed shortly before `end`, on one mount
    fn by_times(end: ChangeTime, sums: ChangeTime, others: &[(u64, ChangeTime)]) -> Option<Self> {
        let (mount, _) = *others.first()?;
        let agreeing =
            others.iter().filter(|(at, time)| *at == mount && time.is_in_the_step_before(end)).count();
        // dpkg writes the checksums just before or just after the list. A quarter of the other files may have changed
        // later.
        (sums.0.abs_diff(end.0) <= ONE_STEP.unsigned_abs()
            && agreeing >= ENOUGH
            && agreeing * 4 >= others.len() * 3)
            .then_some(Installation { end, mount })
    }

    /// Returns whether a file was installed in this run. The mount is also compared, because a mount over the path can
    /// show another file of the same age.
    pub(super) fn has_installed(self, file: &MountedStat) -> bool {
        file.mount == self.mount && ChangeTime::of(&file.stat).is_in_the_step_before(self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// dpkg installed the files at 1,000 s. Files that were changed at 9,000 s prove nothing. Times that were set to
    /// the present to hide a change prove nothing either.
    #[test]
    fn times_prove_an_installation_only_if_they_agree() {
        const THEN: i64 = 1_000;
        const NOW: i64 = 9_000;
        let time = |seconds, nanoseconds| ChangeTime(seconds, nanoseconds);
        for (name, program, list, sums, others, is_proven) in [
            ("as installed", time(THEN, 3), THEN, THEN, [THEN; 8], true),
            ("a minute earlier", time(THEN - 60, 3), THEN, THEN, [THEN - 60; 8], true),
            (
                "two files have another owner now",
                time(THEN, 3),
                THEN,
                THEN,
                [NOW, THEN, THEN, THEN, NOW, THEN, THEN, THEN],
                true,
            ),
            ("a modified program", time(NOW, 3), THEN, THEN, [THEN; 8], false),
            ("and the list is as new", time(NOW, 3), NOW, THEN, [THEN; 8], false),
            ("and the checksums too", time(NOW, 3), NOW, NOW, [THEN; 8], false),
            (
                "and half of the files",
                time(NOW, 3),
                NOW,
                NOW,
                [NOW, THEN, NOW, THEN, NOW, THEN, NOW, THEN],
                false,
            ),
            ("the list is as new", time(THEN, 3), NOW, THEN, [THEN; 8], false),
            ("the same tick", time(THEN, 5), THEN, THEN, [THEN; 8], false),
            ("a disk image", time(THEN, 0), THEN, THEN, [THEN; 8], false),
        ] {
            let others: Vec<(u64, ChangeTime)> =
                others.iter().map(|seconds| (7, time(*seconds, 4))).collect();
            let step = Installation::by_times(time(list, 5), time(sums, 9), &others);
            let proven = |mount| {
                step.is_some_and(|step| step.mount == mount && program.is_in_the_step_before(step.end))
            };
            assert_eq!(proven(7), is_proven, "{name}");
            assert!(!proven(8), "{name}, on another mount");
        }
        let others = [(7, time(THEN, 1)), (7, time(THEN, 1))];
        assert_eq!(Installation::by_times(time(THEN, 5), time(THEN, 5), &others), None, "too few files");
        let others = [(7, time(THEN, 1)), (8, time(THEN, 1)), (8, time(THEN, 1)), (8, time(THEN, 1))];
        assert_eq!(Installation::by_times(time(THEN, 5), time(THEN, 5), &others), None, "several mounts");
    }
}
