//! Reads the configuration files of relays (rinetd, stunnel, HAProxy), to find out to which services they pass the
//! connections of each port.
//!
//! The routes of a relay are known only if the whole file is understood and was not changed after the start.

mod haproxy;
mod rinetd;
mod stunnel;

pub(super) use haproxy::haproxy;
pub(super) use rinetd::rinetd;
pub(super) use stunnel::stunnel;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use super::super::packages::root::Root;
use super::super::process;
use super::changes::{Change, change_since};
use super::mounts::Mounts;
use super::{LONGEST, directory, locate};
use crate::model::relays::addresses;
use crate::model::{Process, Protocol, RelayRoute};

/// The maximum number of routes. A file with more is not understood.
const MOST_ROUTES: usize = 4096;

type Parser = fn(&str) -> Option<Vec<RelayRoute>>;

pub(super) struct RouteFile {
    path: String,
    parser: Parser,
}

/// Returns the configuration file of a relay. `None` if the process is not a relay, or if the path is not known.
pub(super) fn wanted(process: &Process) -> Option<RouteFile> {
    let program = process.exe.as_ref()?.path.rsplit('/').next()?;
    let arguments = process.cmdline.get(1..)?;
    let (path, parser): (String, Parser) = match program {
        "rinetd" => {
            let path = locate::short_option(arguments, 'c', "fhv");
            let path = path.or_else(|| locate::option(arguments, &["--conf-file"]));
            (path.unwrap_or_else(|| "/etc/rinetd.conf".to_owned()), rinetd)
        }
        "stunnel" | "stunnel4" | "stunnel5" => match arguments {
            [] => ("/etc/stunnel/stunnel.conf".to_owned(), stunnel),
            [path] if !path.starts_with('-') => (path.clone(), stunnel),
            _ => return None,
        },
        "haproxy" => {
            // A second `-f`, or a file after `--`, adds routes. `-C` changes the working directory.
            let files = arguments.iter().filter(|one| *one == "-f").count();
            let is_only = files == 1 && !arguments.iter().any(|one| one == "--" || one == "-C");
            (locate::option(arguments, &["-f"]).filter(|_| is_only)?, haproxy)
        }
        _ => return None,
    };
    path.starts_with('/').then_some(RouteFile { path, parser })
}

/// Returns the routes of a relay; `None` if they are not known.
pub(super) fn read(process: &OwnedFd, file: &RouteFile, mounts: Option<&Mounts>) -> Option<Vec<RelayRoute>> {
    let root = Root::new(directory(process, "root")?, false);
    let below = file.path.strip_prefix('/')?;
    let bytes = root.read(below, LONGEST).ok()??;
    let is_unchanged = change_since(&root, below, process::running_since(process)?) == Change::Before;
    let is_covered = mounts.is_some_and(|mounts| mounts.cover(root.directory(), below));
    let mut routes = (file.parser)(std::str::from_utf8(&bytes).ok()?)?;
    let restrictions = routes.iter_mut().filter_map(|route| route.restriction.as_mut());
    restrictions.for_each(|restriction| restriction.file = Some(file.path.clone()));
    (is_unchanged && !is_covered && routes.len() <= MOST_ROUTES).then_some(routes)
}

/// Returns a route without destinations. `host` and `port` are the listening address of the relay. If `host` is empty
/// or `*`, the relay listens on every address.
fn route(host: &str, port: u16, protocol: Protocol) -> Option<RelayRoute> {
    let address = match host.trim_start_matches('[').trim_end_matches(']') {
        "" | "*" => Ipv6Addr::UNSPECIFIED.into(),
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        host => host.parse::<IpAddr>().ok()?,
    };
    let on = SocketAddr::new(address, port);
    Some(RelayRoute { on, protocol, to: Vec::new(), is_complete: true, restriction: None })
}

/// Adds a destination to a route. Host names other than `localhost` are not resolved: their destinations stay unknown.
fn add(route: &mut RelayRoute, host: &str, port: u16) {
    match addresses(host) {
        Some(addresses) => {
            route.to.extend(addresses.into_iter().map(|address| SocketAddr::new(address, port)));
        }
        None => route.is_complete = false,
    }
}

/// Splits `[host:]port`. An IPv6 address may be without brackets (stunnel).
fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    Some((host, port.parse().ok()?))
}

/// Returns the routes as text, for tests: `0.0.0.0:80>127.0.0.1:6379`. An unknown destination is `?`. A restriction by
/// addresses is `~`, one by credentials is `~~`.
#[cfg(test)]
fn text(routes: Option<Vec<RelayRoute>>) -> Option<String> {
    use crate::model::RestrictedBy;

    let one = |route: &RelayRoute| {
        let to: Vec<String> = route.to.iter().map(ToString::to_string).collect();
        let udp = if route.protocol == Protocol::Udp { "/udp" } else { "" };
        let rest = ["?", ""][usize::from(route.is_complete)];
        let limits = match route.restriction.as_ref().map(|restriction| restriction.by) {
            None => "",
            Some(RestrictedBy::Addresses) => "~",
            Some(RestrictedBy::Credentials) => "~~",
        };
        format!("{}{udp}>{}{rest}{limits}", route.on, to.join(","))
    };
    Some(routes?.iter().map(one).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Exe, ExeState};

    #[test]
    fn paths_on_the_command_line() {
        for (line, path) in [
            ("rinetd", Some("/etc/rinetd.conf")),
            ("rinetd -f -c /srv/r.conf", Some("/srv/r.conf")),
            ("stunnel4", Some("/etc/stunnel/stunnel.conf")),
            ("stunnel4 /etc/stunnel/a.conf", Some("/etc/stunnel/a.conf")),
            ("stunnel4 -fd 3", None),
            ("haproxy -Ws -f /etc/haproxy/haproxy.cfg -p /run/p", Some("/etc/haproxy/haproxy.cfg")),
            ("haproxy -f /a -f /b", None),
            ("haproxy -f /a -- /b", None),
            ("haproxy -f a", None),
            ("nginx -c /a", None),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let path_of_program = format!("/usr/sbin/{}", words[0]);
            let process = Process {
                exe: Some(Exe { path: path_of_program, state: ExeState::Present, open_directories: None }),
                cmdline: words,
                ..Process::unknown(7)
            };
            assert_eq!(wanted(&process).map(|file| file.path).as_deref(), path, "{line}");
        }
    }
}
