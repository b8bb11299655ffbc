//! The times at which the kernel last changed two inodes: the inode of a program, and the inode of the list that dpkg
//! writes after it has installed the programs of a package. If the program's inode has not changed since then, the
//! program is the installed file, and its checksum need not be calculated.
//!
//! No program can set this time, except by setting the machine's clock. Files from archives and disk images are an
//! exception: they have the time of the unpacking, or a time that a tool chose. Such times are not used.

use rustix::fs::Stat;

/// Seconds and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChangeTime(i64, i64);

/// The maximum time in seconds between the writing of a list and the renaming of the file. dpkg does both in one
/// step.
const ONE_STEP: i64 = 10;

impl ChangeTime {
    pub(super) fn of(stat: &Stat) -> Self {
        ChangeTime(stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or_default())
    }

    /// Returns the time at which a file was written, if it was written on this machine. A file from an archive was
    /// modified long before its inode changed, and in a disk image both times are often whole seconds.
    pub(super) fn of_new_file(stat: &Stat) -> Option<Self> {
        let modified = ChangeTime(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or_default());
        let changed = Self::of(stat);
        let is_one_step =
            (modified..=ChangeTime(modified.0.saturating_add(ONE_STEP), modified.1)).contains(&changed);
        (is_one_step && modified.1 != 0).then_some(modified)
    }

    /// Returns whether an inode with this change time is unchanged since a package was installed. Equal times count
    /// as changed, because several changes in one tick of the kernel's clock get the same time.
    pub(super) fn is_before(self, installed: Option<Self>) -> bool {
        self.1 != 0 && installed.is_some_and(|installed| self < installed)
    }
}
