//! Finds out whether two threads share one descriptor table (`kcmp(2)`).
//!
//! `/proc` does not show this. Comparing the content of the tables would need one system call for each descriptor.

use nix::libc;
use rustix::io::Errno;

use crate::model::Pid;

/// `KCMP_FILES` of linux/kcmp.h.
const FILES: libc::c_int = 2;

/// Returns whether two threads share their descriptor table. Returns an error if a thread has ended, if portolan may
/// not inspect it, or if the kernel has no `kcmp(2)`.
#[expect(unsafe_code, reason = "no crate wraps kcmp(2)")]
pub(super) fn is_shared(one: Pid, other: Pid) -> Result<bool, Errno> {
    // SAFETY: kcmp(2) only compares numbers in the kernel. It takes no pointer and changes nothing.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, FILES, 0, 0) };
    match order {
        0 => Ok(true),
        1..=3 => Ok(false),
        _ => Err(std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread() -> Pid {
        u32::try_from(rustix::thread::gettid().as_raw_nonzero().get()).unwrap()
    }

    #[test]
    fn threads_share_their_table_until_one_has_its_own() {
        let me = thread();
        let compare = move |is_separate: bool| {
            std::thread::spawn(move || {
                if is_separate {
                    nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).unwrap();
                }
                is_shared(me, thread())
            })
            .join()
            .unwrap()
        };
        // Some sandboxes refuse the call.
        if is_shared(me, me) == Ok(true) {
            assert_eq!((compare(false), compare(true)), (Ok(true), Ok(false)));
            assert_eq!(is_shared(me, u32::MAX >> 1), Err(Errno::SRCH));
        }
    }
}
