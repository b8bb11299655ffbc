//! Relays: programs that pass connections to another program or another address, which their arguments name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::interpreter_syntax::{Property, properties_of};
use super::{Endpoint, Protocol, named, unmapped};

/// The destinations to which a relay passes the connections on one of its addresses, according to its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RelayRoute {
    /// The address and the port of the relay. The unspecified address stands for every address.
    pub on: SocketAddr,
    /// The protocol on both sides of the relay.
    pub protocol: Protocol,
    /// The known destinations.
    pub to: Vec<SocketAddr>,
    /// Whether every destination is known.
    pub is_complete: bool,
    /// The restriction of the clients; `None` if every client is admitted, or if this is not known.
    pub restriction: Option<RelayRestriction>,
}

named! {
    /// What a relay demands of every client.
    pub enum RestrictedBy {
        /// An address from a list.
        Addresses = "addresses",
        /// A password, a key or a certificate.
        Credentials = "credentials",
    }
}

/// A condition that every client of a relay must meet. The relay refuses all other clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RelayRestriction {
    /// What the relay demands of the clients.
    pub by: RestrictedBy,
    /// The configuration file with the restriction; `None` for the command line.
    pub file: Option<String>,
}

/// The program that systemd or inetd starts for the connections of a socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SocketCommand {
    /// The address and the port of the socket. The unspecified address stands for every address.
    pub on: SocketAddr,
    /// The protocol of the socket.
    pub protocol: Protocol,
    /// The command line; empty if it is not known.
    pub cmdline: Vec<String>,
}

impl SocketCommand {
    /// Returns whether the program serves the connections of a listener.
    #[must_use]
    pub fn is_for(&self, local: &Endpoint) -> bool {
        is_for(self.on, self.protocol, local)
    }
}

fn is_for(on: SocketAddr, protocol: Protocol, local: &Endpoint) -> bool {
    let address = on.ip();
    protocol == local.protocol
        && on.port() == local.port
        && (address.is_unspecified()
            || local.address.is_unspecified()
            || unmapped(address) == unmapped(local.address))
}

impl RelayRoute {
    /// Returns whether the route is for the connections of a listener.
    #[must_use]
    pub fn is_for(&self, local: &Endpoint) -> bool {
        is_for(self.on, self.protocol, local)
    }
}

/// Returns the addresses of a host, in the order in which a program tries them. No name is resolved except `localhost`.
/// The unspecified address and an empty text mean this machine, as for `connect(2)`.
pub(crate) fn addresses(host: &str) -> Option<Vec<IpAddr>> {
    let (four, six) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.to_ascii_lowercase().as_str() {
        "" | "localhost" => return Some(vec![four, six]),
        "ip6-localhost" => return Some(vec![six]),
        _ => {}
    }
    let address: IpAddr = bare.parse().ok()?;
    Some(vec![match address {
        IpAddr::V4(address) if address.is_unspecified() => four,
        IpAddr::V6(address) if address.is_unspecified() => six,
        address => address,
    }])
}

pub(super) fn is_relay(program: &str) -> bool {
    properties_of(program).is_some_and(|known| known.has(Property::Argument, "relay"))
}

/// Returns the words with a slash in the arguments of a relay, which may be paths of programs. An argument is split
/// into words, because the path can follow a keyword (`EXEC:/srv/x`) or be part of shell code (`--sh-exec "cd /;
/// /srv/x"`).
pub(crate) fn possible_programs<'c>(program: &str, cmdline: &'c [String]) -> Vec<&'c str> {
    if !is_relay(program) {
        return Vec::new();
    }
    let arguments = cmdline.iter().skip(1);
    let words = arguments.flat_map(|argument| {
        argument.split([' ', ',', ':', ';', '|', '&', '=', '(', ')', '"', '\'', '`', '\n', '\t'])
    });
    words.filter(|word| word.contains('/')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_a_relay_starts() {
        for (program, line, words) in [
            ("flock", "flock /tmp/l ./server -d", &["/tmp/l", "./server"][..]),
            ("socat", "socat TCP-LISTEN:1,fork EXEC:/srv/x,pty", &["/srv/x"]),
            ("ncat", "ncat -l 1 --sh-exec cd /; /srv/x", &["/", "/srv/x"]),
            ("tcpserver", "tcpserver 0 1 server", &[]),
            ("nginx", "nginx -c /srv/x", &[]),
        ] {
            let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(possible_programs(program, &line), words, "{line:?}");
        }
    }
}
