//! Whether anybody still reads standard output: a stream that has nothing to say would not find out by writing.
//!
//! Nothing is written to find out.

/// Whether the other end of the pipe or the connection that standard output is has been closed.
#[cfg(target_os = "linux")]
pub(super) fn has_left() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdout = std::io::stdout();
    // That there is an error to be had is told unasked.
    let mut ends = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut ends, Some(&at_once)).is_ok_and(|count| count > 0)
        && ends[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// Elsewhere the next event finds out.
#[cfg(not(target_os = "linux"))]
pub(super) const fn has_left() -> bool {
    false
}
