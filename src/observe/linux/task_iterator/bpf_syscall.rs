//! Makes an iterator with calls of `bpf(2)`, and maps the kernel's description of types into memory.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::libc;
use rustix::io::{Errno, read, retry_on_intr};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::super::bytes::number;

/// `enum bpf_cmd` of linux/bpf.h.
const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const PROG_QUERY: libc::c_int = 16;
const LINK_CREATE: libc::c_int = 28;
const ITER_CREATE: libc::c_int = 33;
/// `BPF_PROG_TYPE_TRACING`.
const TRACING: u32 = 26;
/// `BPF_TRACE_ITER`.
const TRACE_ITER: u32 = 28;
/// `BPF_MAP_TYPE_ARRAY`.
const ARRAY: u32 = 2;
const BUFFER: usize = 32 * 1024;
/// The maximum number of reads that fail with `EAGAIN`.
const ATTEMPTS: usize = 1_000;

/// The first fields of `union bpf_attr`, up to the last one that a command uses.
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

/// Returns an iterator over the objects of this kernel function. Reading the iterator runs the program for each object.
/// After the iterator is closed, nothing remains in the kernel.
pub(super) fn iterator(program: &[u64], function: u32) -> Result<OwnedFd, Errno> {
    iterator_over(program, function, &[])
}

/// Like `iterator`, but only for one thread (Linux 6.1).
pub(super) fn iterator_of_thread(program: &[u64], function: u32, thread: u32) -> Result<OwnedFd, Errno> {
    iterator_over(program, function, &thread.to_ne_bytes())
}

/// Returns an iterator over the objects that `selection` selects (`union bpf_iter_link_info`). Without a selection,
/// returns an iterator over all objects.
fn iterator_over(program: &[u64], function: u32, selection: &[u8]) -> Result<OwnedFd, Errno> {
    // The programs call functions that the kernel permits only under a license compatible with the GPL.
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
    let program = open(PROG_LOAD, &load)?;
    let descriptor = |fd: &OwnedFd| fd.as_fd().as_raw_fd().to_ne_bytes();
    let mut attach = Attributes::new().with(0, descriptor(&program)).with(8, TRACE_ITER.to_ne_bytes());
    if !selection.is_empty() {
        let length = u32::try_from(selection.len()).map_err(|_| Errno::TOOBIG)?;
        attach = attach.with(16, address(selection.as_ptr())).with(24, length.to_ne_bytes());
    }
    let link = open(LINK_CREATE, &attach)?;
    open(ITER_CREATE, &Attributes::new().with(0, descriptor(&link)))
}

/// Reads all records of an iterator.
pub(super) fn records<const N: usize>(
    iterator: &OwnedFd,
    mut visit: impl FnMut(&[u8; N]),
) -> Result<(), Errno> {
    let mut buffer = vec![0; BUFFER];
    let mut attempts = 0;
    loop {
        match retry_on_intr(|| read(iterator, &mut *buffer)) {
            Ok(0) => return Ok(()),
            // The kernel returns only whole records.
            Ok(length) => buffer.get(..length).unwrap_or_default().as_chunks().0.iter().for_each(&mut visit),
            // The kernel has visited many objects without writing a record. The read must be repeated.
            Err(Errno::AGAIN) if attempts < ATTEMPTS => attempts += 1,
            Err(errno) => return Err(errno),
        }
    }
}

/// Returns the 4 bytes of a record at the position `at` as a number.
pub(super) fn field4(record: &[u8], at: usize) -> u32 {
    record.get(at..).and_then(<[u8]>::first_chunk).copied().map_or(0, u32::from_ne_bytes)
}

/// Returns the 8 bytes of a record at the position `at` as a number.
pub(super) fn field8(record: &[u8], at: usize) -> u64 {
    record.get(at..).and_then(<[u8]>::first_chunk).copied().map_or(0, u64::from_ne_bytes)
}

/// Returns an array in the kernel. Its only value has these bytes, which a program can read.
pub(super) fn array(bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let length = u32::try_from(bytes.len()).map_err(|_| Errno::TOOBIG)?;
    let create = Attributes::new()
        .with(0, ARRAY.to_ne_bytes())
        .with(4, 4_u32.to_ne_bytes()) // the length of a key
        .with(8, length.to_ne_bytes())
        .with(12, 1_u32.to_ne_bytes()); // the number of values
    let array = open(MAP_CREATE, &create)?;
    let key = [0; 4];
    let update = Attributes::new()
        .with(0, array.as_fd().as_raw_fd().to_ne_bytes())
        .with(8, address(key.as_ptr()))
        .with(16, address(bytes.as_ptr()));
    call(MAP_UPDATE_ELEM, &update)?;
    Ok(array)
}

/// Returns the number of programs that are attached to a network namespace with this attach type. Needs
/// `CAP_NET_ADMIN`.
#[expect(unsafe_code, reason = "the crates that wrap bpf(2) contain a loader, which is not needed here")]
pub(in super::super) fn attached_programs(netns: &File, attach_type: u32) -> Result<u32, Errno> {
    let query = Attributes::new().with(0, netns.as_raw_fd().to_ne_bytes()).with(4, attach_type.to_ne_bytes());
    let Attributes(mut query) = query;
    // SAFETY: the kernel reads and writes the attributes, whose length is given. They contain no address.
    let result = unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, query.as_mut_ptr(), query.len()) };
    if result < 0 {
        let error = std::io::Error::last_os_error();
        return Err(error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error));
    }
    Ok(number(&query, 24).unwrap_or_default())
}

/// Returns an address as 64 bits. The kernel expects this length on every machine.
fn address(pointer: *const u8) -> [u8; 8] {
    u64::try_from(pointer.addr()).unwrap_or_default().to_ne_bytes()
}

fn open(command: libc::c_int, attributes: &Attributes) -> Result<OwnedFd, Errno> {
    let fd = call(command, attributes)?;
    #[expect(unsafe_code, reason = "no safe function takes a descriptor that bpf(2) returned")]
    // SAFETY: each of these commands returns a new descriptor, which nothing else owns. The kernel sets close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[expect(unsafe_code, reason = "the crates that wrap bpf(2) contain a loader, which is not needed here")]
fn call(command: libc::c_int, Attributes(attributes): &Attributes) -> Result<libc::c_int, Errno> {
    // SAFETY: the kernel reads the attributes, whose length is given, and for these commands writes nothing to them.
    // They contain addresses, and the caller keeps the data behind all of them alive:
    // - a program, a value and a selection, whose lengths are given too
    // - a key, which has the length of the keys of the array
    // - a text that ends in NUL
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), attributes.len()) };
    libc::c_int::try_from(result).ok().filter(|result| *result >= 0).ok_or_else(|| {
        std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
    })
}

pub(super) struct Mapped {
    start: ptr::NonNull<u8>,
    length: usize,
}

impl Mapped {
    /// Maps the first `length` bytes of a file of sysfs. The description of types can be mapped since Linux 6.16.
    #[expect(
        unsafe_code,
        reason = "otherwise the file is read in parts of 4 KiB, with one call for each part"
    )]
    pub(super) fn new(file: &File, length: usize) -> Result<Self, Errno> {
        // SAFETY: the address is chosen by the kernel. The kernel never changes the description of its types while it
        // runs. It maps all bytes at once, so reading them cannot fail.
        let start = unsafe { mmap(ptr::null_mut(), length, ProtFlags::READ, MapFlags::PRIVATE, file, 0)? };
        let start = ptr::NonNull::new(start.cast()).ok_or(Errno::FAULT)?;
        Ok(Mapped { start, length })
    }

    #[expect(unsafe_code, reason = "see `new`")]
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the bytes are mapped until `self` is dropped.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Mapped {
    #[expect(unsafe_code, reason = "see `new`")]
    fn drop(&mut self) {
        // SAFETY: no slice that `bytes` returned is still alive.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}
