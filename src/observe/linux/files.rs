//! Reads small files of `/proc` with as few calls as possible. The size of a file is not requested, because `/proc`
//! reports no sizes.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::{Errno, read, retry_on_intr};
use rustix::path::Arg;

/// Reads a file that the kernel writes in one piece. Returns at most `most` bytes, and reads `step` bytes at first. For
/// a file in `/proc/sys`, `step` must be enough for the whole setting, because a second read returns nothing.
pub(super) fn slurp(path: impl Arg, step: usize, most: usize) -> Result<Vec<u8>, Errno> {
    slurp_at(CWD, path, step, most)
}

pub(super) fn slurp_at(at: impl AsFd, path: impl Arg, step: usize, most: usize) -> Result<Vec<u8>, Errno> {
    let file = openat(at, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::with_capacity(step);
    loop {
        let free = bytes.capacity() - bytes.len();
        let length = retry_on_intr(|| read(&file, spare_capacity(&mut bytes)))?;
        if length < free || bytes.len() >= most {
            bytes.truncate(most);
            return Ok(bytes);
        }
        bytes.reserve(bytes.capacity());
    }
}

/// The buffer size of each read. The kernel returns at most one page at once, unless a record is longer.
const PAGE: usize = 4 * 1024;

/// Reads a file that the kernel writes record by record, such as a table of mounts. A short read does not indicate the
/// end of this file. Returns `FBIG` if the file has more than `most` bytes.
pub(super) fn read_records(path: impl Arg, most: usize) -> Result<String, Errno> {
    let file = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::with_capacity(16 * 1024);
    while bytes.len() <= most {
        bytes.reserve(PAGE);
        if retry_on_intr(|| read(&file, spare_capacity(&mut bytes)))? == 0 {
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    Err(Errno::FBIG)
}

/// The maximum size of a table of mounts in bytes, enough for 100,000 mounts.
const LONGEST_MOUNTS: usize = 32 * 1024 * 1024;

/// Reads the mounts in the mount namespace of the calling thread (`proc_pid_mountinfo(5)`).
pub(super) fn mounts() -> Result<String, Errno> {
    read_records("/proc/thread-self/mountinfo", LONGEST_MOUNTS)
}

/// Reads the mounts in the mount namespace of a process. `process` is its open directory in `/proc`.
pub(super) fn mounts_of(process: &OwnedFd) -> Result<String, Errno> {
    read_records(format!("/proc/self/fd/{}/mountinfo", process.as_raw_fd()), LONGEST_MOUNTS)
}

/// Returns the numbers among the names in a directory.
pub(super) fn numbers_in(directory: &OwnedFd) -> Result<Vec<u32>, Errno> {
    let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut numbers = Vec::new();
    while let Some(entry) = entries.next() {
        numbers.extend(entry?.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(numbers)
}

pub(super) fn numbers(path: impl Arg) -> Result<Vec<u32>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    numbers_in(&openat(CWD, path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_or_up_to_a_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text: Vec<u8> = (0..10_000).map(|at| b"0123456789"[at % 10]).collect();
        std::fs::write(file.path(), &text).unwrap();
        for step in [1, 16, 9_999, 10_000, 10_001, 65_536] {
            assert_eq!(slurp(file.path(), step, usize::MAX).unwrap(), text, "{step}");
            assert_eq!(slurp(file.path(), step, 70).unwrap(), text[..70], "{step}");
        }
        assert_eq!(slurp("/no/such/file", 16, 16), Err(Errno::NOENT));
        assert_eq!(read_records(file.path(), 10_000).as_deref(), Ok(&*String::from_utf8(text).unwrap()));
        assert_eq!(read_records(file.path(), 9_999), Err(Errno::FBIG));
    }
}
