//! Reads the destination of a relay from its command line (`data/relays.tsv`).

use std::net::IpAddr;

use super::command_line::CommandLine;
use super::name_index::{Column, NameIndex, count};
use super::program_rows::Programs;
use crate::model::relays::addresses;
use crate::model::{Protocol, RelayRestriction, RestrictedBy};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelayDestination {
    /// The addresses, in the order in which the relay tries them.
    pub addresses: Vec<IpAddr>,
    pub port: u16,
    pub protocol: Protocol,
    /// The restriction of the relay's clients.
    pub restriction: Option<RelayRestriction>,
}

const RELAYS: &str = include_str!("data/relays.tsv");
static NAMES: NameIndex<{ count(RELAYS, COLUMN) }> = NameIndex::new(RELAYS, COLUMN);
const COLUMN: Column = Column::Programs(0);

/// The protocol of a row whose command lines do not show the destination.
const UNKNOWN: &str = "unknown";
/// The expression for `{to}` in the table: a host and a port. An IPv6 address is in brackets.
const TO: &str = r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:,/\[\]'\x22]*):(?P<port>\d{1,5})";

fn rows(command: &CommandLine<'_>) -> Vec<[&'static str; 5]> {
    let programs = Programs { text: RELAYS, names: &NAMES };
    let rows = programs.naming(command).into_iter();
    rows.filter_map(|named| named.place.line(RELAYS).split('\t').collect::<Vec<_>>().try_into().ok())
        .collect()
}

pub(crate) fn is_relay(command: &CommandLine<'_>) -> bool {
    !rows(command).is_empty()
}

/// Returns the destination of the connections that a relay accepts on `port`. The first row that matches decides.
/// `None` if the command line names no destination, or if the host is neither an address nor `localhost`.
pub(crate) fn destination(command: &CommandLine<'_>, port: u16) -> Option<RelayDestination> {
    let mut known = rows(command).into_iter().filter(|[_, protocol, ..]| *protocol != UNKNOWN);
    known.find_map(|[_, protocol, arguments, by_address, by_credentials]| {
        let expression = arguments.replace("{to}", TO).replace("{port}", &port.to_string());
        let (host, port) = command.host_and_port(&expression)?;
        let restrictions =
            [(by_credentials, RestrictedBy::Credentials), (by_address, RestrictedBy::Addresses)];
        let by =
            restrictions.iter().find(|(expression, _)| !expression.is_empty() && command.matches(expression));
        Some(RelayDestination {
            addresses: addresses(host)?,
            port,
            protocol: if protocol == "udp" { Protocol::Udp } else { Protocol::Tcp },
            restriction: by.map(|(_, by)| RelayRestriction { by: *by, file: None }),
        })
    })
}

/// Returns whether a relay accepts connections on `port`, but its command line does not show their destination. The
/// destination can be a Unix socket or a service of this machine.
pub(crate) fn has_unknown_destination(command: &CommandLine<'_>, port: u16) -> bool {
    let mut unknown = rows(command).into_iter().filter(|[_, protocol, ..]| *protocol == UNKNOWN);
    unknown.any(|[_, _, arguments, ..]| command.matches(arguments)) && destination(command, port).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::command_line::compile;

    /// Examples: the program, its command line, the port of its listener, and the destination.
    const EXAMPLES: &[(&str, &str, u16, Option<&str>)] = &[
        (
            "systemd-socket-proxyd",
            "/lib/systemd/systemd-socket-proxyd 127.0.0.1:6379",
            8888,
            Some("127.0.0.1:6379"),
        ),
        (
            "systemd-socket-proxyd",
            "systemd-socket-proxyd --exit-idle-time 5min [::1]:6379",
            1,
            Some("[::1]:6379"),
        ),
        ("systemd-socket-proxyd", "systemd-socket-proxyd /run/redis/redis.sock", 1, Some(UNKNOWN)),
        ("systemd-socket-proxyd", "systemd-socket-proxyd db.example:6379", 1, Some(UNKNOWN)),
        (
            "systemd-socket-activate",
            "systemd-socket-activate -l 8888 /lib/systemd/systemd-socket-proxyd 127.0.0.1:1",
            8888,
            Some("127.0.0.1:1"),
        ),
        ("systemd-socket-activate", "systemd-socket-activate -l 127.0.0.1:8888 /srv/server", 8888, None),
        (
            "socat",
            "socat TCP-LISTEN:8888,fork,reuseaddr TCP:127.0.0.1:6379,nodelay",
            8888,
            Some("127.0.0.1:6379"),
        ),
        ("socat", "socat -d tcp4-l:8888 tcp4-connect:localhost:6379", 8888, Some("127.0.0.1:6379")),
        ("socat", "socat TCP6:[::1]:6379 TCP-LISTEN:8888", 8888, Some("[::1]:6379")),
        ("socat", "socat TCP-LISTEN:8888,fork OPENSSL:10.0.0.5:443,verify=0", 8888, Some("10.0.0.5:443")),
        (
            "socat",
            "socat TCP-LISTEN:8888,range=10.0.0.0/8 TCP:127.0.0.1:6379",
            8888,
            Some("127.0.0.1:6379 addresses"),
        ),
        ("socat", "socat TCP-LISTEN:8888,range=0.0.0.0/0 TCP:127.0.0.1:1", 8888, Some("127.0.0.1:1")),
        ("socat", "socat TCP-LISTEN:8888,tcpwrap TCP:127.0.0.1:1", 8888, Some("127.0.0.1:1")),
        (
            "socat",
            "socat OPENSSL-LISTEN:8888,cert=a,cafile=b,fork TCP:127.0.0.1:1",
            8888,
            Some("127.0.0.1:1 credentials"),
        ),
        ("socat", "socat OPENSSL-LISTEN:8888,cafile=b,verify=0 TCP:127.0.0.1:1", 8888, Some("127.0.0.1:1")),
        // The certificate of the server is checked.
        ("socat", "socat TCP-LISTEN:8888 OPENSSL:127.0.0.1:1,cafile=b", 8888, Some("127.0.0.1:1")),
        (
            "socat",
            "socat UDP-LISTEN:53,range=10.0.0.1/32 UDP:127.0.0.1:1",
            53,
            Some("127.0.0.1:1 udp addresses"),
        ),
        ("socat", "socat UDP-LISTEN:53,fork UDP:127.0.0.1:5353", 53, Some("127.0.0.1:5353 udp")),
        ("socat", "socat TCP-LISTEN:8888 UNIX-CONNECT:/run/redis.sock", 8888, Some(UNKNOWN)),
        ("socat", "socat TCP-LISTEN:8888,fork STDIO", 8888, None),
        ("rinetd", "/usr/sbin/rinetd -f", 8888, Some(UNKNOWN)),
        ("stunnel4", "/usr/bin/stunnel4 /etc/stunnel/redis.conf", 8888, Some(UNKNOWN)),
        ("socat", "socat TCP-LISTEN:8888,fork TCP:127.0.0.1:99999", 8888, Some(UNKNOWN)),
        ("socat", "socat TCP-LISTEN:8888,fork EXEC:nc 127.0.0.1 6379", 8888, Some("127.0.0.1:6379")),
        ("ncat", "ncat -lk 8888 -c nc 127.0.0.1 6379", 8888, Some("127.0.0.1:6379")),
        (
            "ncat",
            "ncat -lk 8888 --allow 10.0.0.5 --sh-exec ncat 127.0.0.1 6379",
            8888,
            Some("127.0.0.1:6379 addresses"),
        ),
        ("ncat", "ncat -lk 8888 --allow 0.0.0.0/0 -c nc 127.0.0.1 6379", 8888, Some("127.0.0.1:6379")),
        ("ncat", "ncat -lk 8888 --deny 10.0.0.5 -c nc 127.0.0.1 6379", 8888, Some("127.0.0.1:6379")),
        ("nc", "nc -l 127.0.0.1 6379", 6379, None),
        ("tcpserver", "tcpserver 0 8888 /bin/nc -q 1 127.0.0.1 6379", 8888, Some("127.0.0.1:6379")),
        ("redir", "redir :8889 127.0.0.1:6379", 8889, Some("127.0.0.1:6379")),
        ("redir", "redir -n 0.0.0.0:8889 localhost:6379", 8889, Some("127.0.0.1:6379")),
        ("redir", "redir --lport=8889 --caddr=10.0.0.5 --cport=6379", 8889, Some("10.0.0.5:6379")),
        ("redir", "redir --cport 6379 --lport 8889 --caddr 10.0.0.5", 8889, Some("10.0.0.5:6379")),
        ("redir", "redir --lport=8889 --cport=6379", 8889, Some("127.0.0.1:6379")),
        ("simpleproxy", "simpleproxy -d -L 8889 -R 127.0.0.1:6379", 8889, Some("127.0.0.1:6379")),
        ("balance", "balance 8889 127.0.0.1:6379", 8889, Some("127.0.0.1:6379")),
        ("6tunnel", "6tunnel -4 8889 127.0.0.1 6379", 8889, Some("127.0.0.1:6379")),
        ("realm", "realm -l 0.0.0.0:8889 -r 127.0.0.1:6379", 8889, Some("127.0.0.1:6379")),
        ("gost", "gost -L=tcp://:8889/127.0.0.1:6379 -L=:1080", 8889, Some("127.0.0.1:6379")),
        ("gost", "gost -L=tcp://:8889/127.0.0.1:6379 -L=:1080", 1080, None),
        ("websocat", "websocat -E -b tcp-l:0.0.0.0:8889 tcp:127.0.0.1:6379", 8889, Some("127.0.0.1:6379")),
        (
            "python3.11",
            "python3 /usr/bin/websockify --web=/usr/share/novnc 6080 localhost:5901",
            6080,
            Some("127.0.0.1:5901"),
        ),
        (
            "websockify",
            "websockify --ssl-only --verify-client 6080 localhost:5901",
            6080,
            Some("127.0.0.1:5901 credentials"),
        ),
        // Clients without TLS are accepted.
        ("websockify", "websockify --verify-client 6080 localhost:5901", 6080, Some("127.0.0.1:5901")),
        (
            "websockify",
            "websockify --auth-plugin ExpectOrigin 6080 localhost:5901",
            6080,
            Some("127.0.0.1:5901"),
        ),
        (
            "mitmdump",
            "mitmdump -m reverse:http://127.0.0.1:2375 --proxyauth a:b -p 8888",
            8888,
            Some("127.0.0.1:2375 credentials"),
        ),
        ("mitmdump", "mitmdump -m reverse:http://127.0.0.1:2375 --proxyauth any", 1, Some("127.0.0.1:2375")),
        ("mitmdump", "mitmdump -m reverse:tcp://127.0.0.1:2375 --proxyauth a:b", 1, Some("127.0.0.1:2375")),
        (
            "caddy",
            "caddy reverse-proxy --from :8888 --to http://127.0.0.1:2375",
            8888,
            Some("127.0.0.1:2375"),
        ),
        ("mitmdump", "mitmdump --mode reverse:http://127.0.0.1:2375 -p 8888", 8888, Some("127.0.0.1:2375")),
        ("ssh", "ssh -fNgL 8888:127.0.0.1:6379 root@localhost", 8888, Some("127.0.0.1:6379")),
        ("ssh", "ssh -N -L *:8888:[::1]:6379 -L 9:10.0.0.5:22 127.0.0.1", 9, Some("10.0.0.5:22")),
        ("ssh", "ssh localhost -N -L 0.0.0.0:8888:localhost:6379", 8888, Some("127.0.0.1:6379")),
        // The destination is on the other machine, although its address is a loopback address.
        ("ssh", "ssh -N -L 8888:127.0.0.1:6379 db.example", 8888, None),
    ];

    #[test]
    fn the_destinations_of_relays() {
        let mut used = Vec::new();
        for (program, line, port, expected) in EXAMPLES {
            let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let command = CommandLine::new(program, &arguments);
            assert!(is_relay(&command), "{line}");
            used.extend(rows(&command).iter().map(|row| row[2]));
            let found = destination(&command, *port).map(|to| {
                let place = std::net::SocketAddr::new(to.addresses[0], to.port);
                let udp = if to.protocol == Protocol::Udp { " udp" } else { "" };
                let restricted = to.restriction.map(|one| format!(" {}", one.by.name())).unwrap_or_default();
                format!("{place}{udp}{restricted}")
            });
            let found =
                found.or_else(|| has_unknown_destination(&command, *port).then(|| UNKNOWN.to_owned()));
            assert_eq!(found.as_deref(), *expected, "{line}");
        }
        for line in RELAYS.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split('\t').collect();
            assert_eq!(fields.len(), 5, "{line}");
            assert!(["tcp", "udp", UNKNOWN].contains(&fields[1]) && used.contains(&fields[2]), "{line}");
            let expression = fields[2].replace("{to}", TO).replace("{port}", "1");
            let expressions = [expression.as_str(), fields[3], fields[4]];
            assert!(expressions.iter().all(|one| compile(one).is_some()), "{line}");
        }
        let other = ["nginx".to_owned()];
        assert!(!is_relay(&CommandLine::new("nginx", &other)));
    }
}
