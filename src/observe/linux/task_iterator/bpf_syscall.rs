//! The calls of `bpf(2)` that make an iterator.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::libc;
use rustix::io::Errno;

/// Commands (`enum bpf_cmd` of linux/bpf.h).
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const ITER_CREATE: libc::c_int = 33;
/// `BPF_PROG_TYPE_TRACING`.
const TRACING: u32 = 26;
/// `BPF_TRACE_ITER`.
const TRACE_ITER: u32 = 28;

/// The fields of `union bpf_attr` that the commands use, up to the last one.
struct Attributes([u8; 112]);

impl Attributes {
    fn new() -> Self {
        Attributes([0; 112])
    }

    fn with<const N: usize>(mut self, at: usize, value: [u8; N]) -> Self {
        if let Some(field) = self.0.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *field = value;
        }
        self
    }
}

/// Returns an iterator that runs the program for every object of the kernel function with this ID. Reading the
/// iterator runs the program. After the iterator is closed, nothing remains in the kernel.
pub(super) fn iterator(program: &[u64], function: u32) -> Result<OwnedFd, Errno> {
    // The license must be compatible with the GPL, because the programs call functions of the kernel that require
    // this.
    let license = c"Dual MIT/GPL";
    let length = u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?;
    let load = Attributes::new()
        .with(0, TRACING.to_ne_bytes())
        .with(4, length.to_ne_bytes())
        .with(8, address(program.as_ptr().cast()))
        .with(16, address(license.as_ptr().cast()))
        .with(48, *b"portolan")
        .with(68, TRACE_ITER.to_ne_bytes())
        .with(108, function.to_ne_bytes());
    let program = call(PROG_LOAD, &load)?;
    let descriptor = |fd: &OwnedFd| fd.as_fd().as_raw_fd().to_ne_bytes();
    let attach = Attributes::new().with(0, descriptor(&program)).with(8, TRACE_ITER.to_ne_bytes());
    let link = call(LINK_CREATE, &attach)?;
    call(ITER_CREATE, &Attributes::new().with(0, descriptor(&link)))
}

/// Returns an address in the form that the kernel expects: 64 bits on every machine.
fn address(pointer: *const u8) -> [u8; 8] {
    u64::try_from(pointer.addr()).unwrap_or_default().to_ne_bytes()
}

#[expect(unsafe_code, reason = "the crates that wrap bpf(2) contain a loader, which is not needed here")]
fn call(command: libc::c_int, Attributes(attributes): &Attributes) -> Result<OwnedFd, Errno> {
    // SAFETY: the kernel reads the attributes, whose length is given, and writes nothing to them for these commands. The
    // addresses among them are those of a program, whose length is given too, and of a text that ends in NUL; the caller
    // keeps both alive.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), attributes.len()) };
    let fd = libc::c_int::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(|| {
        std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
    })?;
    // SAFETY: each of these commands returns a new descriptor, which nothing else owns. The kernel sets close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
