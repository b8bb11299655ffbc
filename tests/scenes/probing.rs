//! Clients and servers for scenes about firewalls: a client tries many connections at once, each from an address of its
//! own, and a server accepts TCP and answers UDP.

use std::error::Error;
use std::fs;
use std::io::BufRead;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use nix::sched::CloneFlags;
use rustix::net::sockopt::{Timeout, set_ipv6_v6only, set_socket_reuseaddr, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};

type Done = Result<(), Box<dyn Error>>;

/// Enters the network namespace of a process; `-` is the helper's own.
fn enter(namespace: &str) -> Done {
    if namespace != "-" {
        nix::sched::setns(fs::File::open(format!("/proc/{namespace}/ns/net"))?, CloneFlags::CLONE_NEWNET)?;
    }
    Ok(())
}

fn socket(protocol: &str, address: SocketAddr) -> Result<OwnedFd, rustix::io::Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = if protocol != "udp" { SocketType::STREAM } else { SocketType::DGRAM };
    let socket = rustix::net::socket(family, kind, None)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, protocol != "dual")?;
    }
    set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// Listens at places such as `tcp,[::]:80` (`dual`: TCP for both families), until the standard input ends.
pub fn serve(namespace: &str, places: &[&str]) -> Done {
    enter(namespace)?;
    for place in places {
        let (protocol, address) = place.split_once(',').ok_or("no protocol")?;
        let socket = socket(protocol, address.parse()?)?;
        let is_tcp = protocol != "udp";
        if is_tcp {
            rustix::net::listen(&socket, 128)?;
        }
        std::thread::spawn(move || {
            loop {
                if is_tcp {
                    drop(rustix::net::accept(&socket));
                    continue;
                }
                let mut buffer = [0; 16];
                if let Ok((_, length, Some(from))) =
                    rustix::net::recvfrom(&socket, buffer.as_mut_slice(), RecvFlags::empty())
                {
                    let _ = rustix::net::sendto(&socket, &buffer[..length], SendFlags::empty(), &from);
                }
            }
        });
    }
    println!("ready");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// Reads lines of a time limit in milliseconds and of attempts such as `udp,10.0.0.2,10.0.0.1:53`; prints for each line
/// which attempts got an answer.
pub fn probe(namespace: &str) -> Done {
    enter(namespace)?;
    println!("ready");
    // Each attempt has a port of its own: the kernel remembers connections.
    let port = Arc::new(AtomicU16::new(10_000));
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split(' ').map(str::to_owned);
        let limit = Duration::from_millis(words.next().ok_or("no limit")?.parse()?);
        let attempts: Vec<_> = words
            .map(|word| {
                let port = Arc::clone(&port);
                std::thread::spawn(move || {
                    let next = |port: u16| Some(if port < 60_000 { port + 1 } else { 10_000 });
                    let own = port.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or(0);
                    is_answered(&word, own, limit).unwrap_or(false)
                })
            })
            .collect();
        let answers: String = attempts
            .into_iter()
            .map(|attempt| if attempt.join().unwrap_or(false) { '1' } else { '0' })
            .collect();
        println!("{answers}");
    }
    Ok(())
}

fn is_answered(attempt: &str, own_port: u16, limit: Duration) -> Result<bool, Box<dyn Error>> {
    let parts: Vec<&str> = attempt.split(',').collect();
    let [protocol, from, to] = parts[..] else { return Err("no attempt".into()) };
    let socket = socket(protocol, SocketAddr::new(from.parse()?, own_port))?;
    set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(limit))?;
    let to: SocketAddr = to.parse()?;
    rustix::net::connect(&socket, &to)?;
    if protocol == "tcp" {
        return Ok(true);
    }
    rustix::net::send(&socket, b"ping", SendFlags::empty())?;
    let mut buffer = [0; 16];
    let (_, length) = rustix::net::recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
    Ok(length == 4)
}
