//! Searches the descriptors of every process, either with the iterators of the kernel or by a walk over `/proc`.

use rustix::fs::{CWD, fstatfs};
use rustix::io::Errno;

use super::files::numbers_in;
use super::owners::{self, Search, Walk, open, walk_of};
use super::task_iterator;
use crate::model::Pid;

/// `PROC_SUPER_MAGIC` (linux/magic.h).
const PROC: i64 = 0x9fa0;

/// Searches the descriptors of all processes. Returns an error if `/proc` itself cannot be read.
pub(super) fn walk(search: Search<'_>) -> Result<Walk, Errno> {
    let proc = open(CWD, c"/proc")?;
    if fstatfs(&proc)?.f_type != PROC {
        return Err(Errno::NOENT); // a directory with this name, but without a mount
    }
    let iterate = || search.bpf.then(|| task_iterator::walk(search)).flatten();
    // An audit (`strays`) always lists `/proc` too, and compares this list with the processes that the iterators
    // return.
    let has_many = !search.strays && task_iterator::has_many_tasks();
    if has_many && let Some(mut walk) = iterate() {
        walk.pids = walk.tasks.iter().flat_map(|tasks| &tasks.pids).copied().collect();
        walk.add_mounts();
        return Ok(walk);
    }
    let pids = numbers_in(&proc)?;
    let is_worthwhile = search.strays || (!has_many && task_iterator::is_worthwhile(&proc, &pids));
    let iterated = if is_worthwhile { iterate() } else { None };
    let mut walk = iterated.unwrap_or_default();
    // The iterators may lack processes that `/proc` shows, such as processes that have just started.
    let known = walk.tasks.as_ref().map_or(&[][..], |tasks| &tasks.pids);
    let rest: Vec<Pid> = pids.iter().copied().filter(|pid| known.binary_search(pid).is_err()).collect();
    walk.absorb(walk_of(&proc, &rest, search)?);
    walk.without_threads = rest;
    walk.pids = pids;
    walk.add_mounts();
    Ok(walk)
}

/// Finds only the network namespaces of the processes. This is enough if there is no socket to search for.
pub(super) fn namespaces_only(bpf: bool) -> Result<Walk, Errno> {
    let may_iterate = bpf && task_iterator::has_many_tasks();
    let mut walk = match may_iterate.then(task_iterator::processes).flatten() {
        Some(walk) => walk,
        None => owners::namespaces_only()?,
    };
    walk.add_mounts();
    Ok(walk)
}
