//! Reads the links of descriptors that the iterator over tasks found.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, fstat, openat, readlinkat_raw};
use rustix::io::Errno;
use rustix::path::DecInt;

use super::owners::{DIRECTORY, Search, ThreadDescriptor, Walk, bracketed, walk_of};
use crate::model::Pid;

/// A descriptor whose link must be read. The inode is 0 if the descriptor is not certainly a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FoundDescriptor {
    pub pid: Pid,
    pub number: u32,
    pub inode: u64,
}

/// Reads the links of these descriptors, which are sorted by process. If a link has changed, all descriptors of the
/// process are read.
pub(super) fn walk_of_found(
    proc: &OwnedFd,
    found: &[FoundDescriptor],
    search: Search<'_>,
) -> Result<Walk, Errno> {
    let device = fstat(proc)?.st_dev;
    let mut walk = Walk::default();
    let mut changed = Vec::new();
    for of_process in found.chunk_by(|one, other| one.pid == other.pid) {
        let Some(&FoundDescriptor { pid, .. }) = of_process.first() else { continue };
        match links_of_found(proc, device, pid, of_process, search, &mut walk) {
            Ok(true) => {}
            Ok(false) => changed.push(pid),
            Err(errno) => walk.outcome(proc, pid, Err(errno)),
        }
    }
    if !changed.is_empty() {
        walk.absorb(walk_of(proc, &changed, search)?);
        walk.descriptors.dedup();
    }
    Ok(walk)
}

/// Reads the links of these descriptors of a process. Returns false if a link has changed.
fn links_of_found(
    proc: &OwnedFd,
    device: u64,
    pid: Pid,
    found: &[FoundDescriptor],
    search: Search<'_>,
    walk: &mut Walk,
) -> Result<bool, Errno> {
    let directory = openat(proc, format!("{pid}/fd"), DIRECTORY, Mode::empty())?;
    if fstat(&directory)?.st_dev != device {
        walk.masked.push(pid);
        return Ok(true);
    }
    let mut buffer = [MaybeUninit::uninit(); 64];
    for &FoundDescriptor { number, inode, .. } in found {
        match readlinkat_raw(&directory, DecInt::new(number), &mut buffer) {
            Ok((link, _)) if inode == 0 || bracketed(link, b"socket:[") == Some(inode) => {
                walk.add(link, ThreadDescriptor { pid, thread: pid, number }, search);
            }
            Err(Errno::NAMETOOLONG) if inode == 0 => {} // a file, which the walk does not search for
            Ok(_) | Err(Errno::NOENT | Errno::NAMETOOLONG) => return Ok(false),
            Err(errno) => return Err(errno),
        }
    }
    Ok(true)
}
