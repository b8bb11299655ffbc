//! Deleted files that a process still has open.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, RawDir, openat, readlinkat};

/// Returns whether a process has a deleted file open. Only files that were at `path` or below it count. Also returns
/// true if the descriptors of the process cannot be read.
pub(super) fn has_deleted_file_open(process: &OwnedFd, path: &[u8]) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(descriptors) = openat(process, "fd", flags, Mode::empty()) else { return true };
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&descriptors, &mut buffer);
    let is_deleted = |name: &CStr| {
        let target = readlinkat(&descriptors, name, Vec::new()).map(CString::into_bytes).unwrap_or_default();
        let there = target.strip_suffix(b" (deleted)").and_then(|target| target.strip_prefix(path));
        there.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    while let Some(Ok(entry)) = entries.next() {
        if is_deleted(entry.file_name()) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use rustix::fs::CWD;

    use super::super::tree::PATH_ONLY;
    use super::*;

    #[test]
    fn a_jar_below_a_deleted_directory() {
        let directory = tempfile::tempdir().unwrap();
        let jar = directory.path().join("lib/a.jar");
        fs::create_dir(jar.parent().unwrap()).unwrap();
        fs::write(&jar, "").unwrap();
        let input = fs::File::open(&jar).unwrap();
        let mut process = Command::new("sleep").arg("60").stdin(input).spawn().unwrap();
        fs::remove_dir_all(jar.parent().unwrap()).unwrap();
        let opened = openat(CWD, format!("/proc/{}", process.id()), PATH_ONLY, Mode::empty()).unwrap();
        let lib = jar.parent().unwrap().to_str().unwrap();
        assert!(has_deleted_file_open(&opened, lib.as_bytes()));
        for path in [&lib[..lib.len() - 1], "/nowhere/lib"] {
            assert!(!has_deleted_file_open(&opened, path.as_bytes()), "{path}");
        }
        process.kill().unwrap();
        process.wait().unwrap();
    }
}
