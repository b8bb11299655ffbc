//! Helpers that hide sockets: in io_urings, and in calls on closed descriptors. See `helpers.rs`.

use std::error::Error;
use std::fs;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use rustix::net::AddressFamily;

use crate::helpers::{Done, ready, wait};
use crate::lab::sleep;

/// Keeps a socket in a thread with its own descriptors, or there in an io_uring only, while another process holds the
/// socket too. Prints the pid of that process.
pub fn own_table_and_decoy(address: &str, in_a_ring: bool) -> Done {
    let address = address.to_owned();
    let thread = std::thread::spawn(move || -> Result<(), String> {
        unshare(CloneFlags::CLONE_FILES).map_err(|errno| errno.to_string())?;
        let socket = TcpListener::bind(address).map_err(|error| error.to_string())?;
        let shared = socket.try_clone().map_err(|error| error.to_string())?;
        let mut command = Command::new(sleep());
        command.arg("600").stdin(OwnedFd::from(shared)).stdout(Stdio::null()).stderr(Stdio::null());
        let mut decoy = command.spawn().map_err(|error| error.to_string())?;
        let ring = io_uring::IoUring::new(2).map_err(|error| error.to_string())?;
        let mut socket = Some(socket);
        if in_a_ring && let Some(socket) = socket.take() {
            ring.submitter().register_files(&[socket.as_raw_fd()]).map_err(|error| error.to_string())?;
        }
        ready(&decoy.id().to_string()).map_err(|error| error.to_string())?;
        wait();
        let _ = decoy.kill();
        let _ = decoy.wait();
        drop(socket);
        Ok(())
    });
    thread.join().map_err(|_| "the thread panicked")?.map_err(Into::into)
}

/// Keeps a socket as a fixed file of an io_uring, without a descriptor.
pub fn ring(address: &str) -> Done {
    let socket = OwnedFd::from(TcpListener::bind(address)?);
    let _ring = keep_in_a_ring(&[socket])?;
    ready("")?;
    wait();
    Ok(())
}

/// Keeps descriptors as fixed files of an io_uring only.
pub fn keep_in_a_ring(descriptors: &[OwnedFd]) -> Result<io_uring::IoUring, Box<dyn Error>> {
    let ring = io_uring::IoUring::new(2)?;
    let numbers: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    ring.submitter().register_files(&numbers)?;
    Ok(ring)
}

/// Keeps ordinary sockets in an io_uring only: a connection to an address, a stream, a datagram socket, and a netlink
/// socket.
pub fn ordinary_ring(address: &str) -> Done {
    let connection = std::net::TcpStream::connect(address)?;
    let (near, far) = std::os::unix::net::UnixStream::pair()?;
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let netlink = rustix::net::socket(AddressFamily::NETLINK, rustix::net::SocketType::RAW, None)?;
    // Tables have no netlink socket that is not bound.
    rustix::net::bind(&netlink, &rustix::net::netlink::SocketAddrNetlink::new(0, 0))?;
    let sockets = [connection.into(), near.into(), datagrams.into(), netlink];
    let _ring = keep_in_a_ring(&sockets)?;
    drop(sockets);
    ready("")?;
    wait();
    drop(far);
    Ok(())
}

/// Keeps a socket in an io_uring without a descriptor, and with or without its mapping, while another process has a
/// descriptor of the socket.
#[allow(unsafe_code)]
pub fn registered_ring(address: &str, stays_mapped: bool) -> Done {
    let ring = io_uring::IoUring::new(2)?;
    let socket = TcpListener::bind(address)?;
    ring.submitter().register_files(&[socket.as_raw_fd()])?;
    let mut decoy = Command::new(sleep());
    let socket = Stdio::from(OwnedFd::from(socket));
    let mut decoy = decoy.arg("600").stdin(socket).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    // `struct io_uring_rsrc_update` of linux/io_uring.h: any free index, and the descriptor.
    let descriptor = ring.as_raw_fd();
    let mut update = [u64::from(u32::MAX), u64::try_from(descriptor)?];
    const IORING_REGISTER_RING_FDS: u32 = 20;
    // SAFETY: the kernel reads and writes only the two words of `update`. The memory of `ring` stays mapped, and nothing
    // uses its descriptor after it is closed.
    let registered = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            descriptor,
            IORING_REGISTER_RING_FDS,
            update.as_mut_ptr(),
            1,
        )
    };
    if registered != 1 {
        return Err(std::io::Error::last_os_error().into());
    }
    if stays_mapped {
        std::mem::forget(ring);
        // SAFETY: `ring`, the owner of the descriptor, was forgotten.
        unsafe { libc::close(descriptor) };
    } else {
        drop(ring);
    }
    ready(&decoy.id().to_string())?;
    wait();
    decoy.kill()?;
    decoy.wait()?;
    Ok(())
}

/// Waits for a client in a thread, and closes the descriptor of the listener meanwhile, while another process has a
/// descriptor of it.
#[allow(unsafe_code)]
pub fn blocked_accept(address: &str) -> Done {
    let socket = TcpListener::bind(address)?;
    let descriptor = socket.as_raw_fd();
    let mut decoy = Command::new(sleep());
    let copy = OwnedFd::from(socket.try_clone()?);
    let mut decoy =
        decoy.arg("600").stdin(Stdio::from(copy)).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    std::thread::spawn(move || {
        let _ = socket.accept();
        std::mem::forget(socket);
    });
    let call = format!("{} {descriptor:#x} ", libc::SYS_accept4);
    let waits = || {
        let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let texts = tasks.filter_map(|task| fs::read_to_string(task.path().join("syscall")).ok());
        texts.into_iter().any(|text| text.starts_with(&call))
    };
    for _ in 0..5_000 {
        if waits() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // SAFETY: the thread never uses its descriptor again; the kernel keeps the socket until the call ends.
    unsafe { libc::close(descriptor) };
    ready(&decoy.id().to_string())?;
    wait();
    decoy.kill()?;
    decoy.wait()?;
    Ok(())
}
