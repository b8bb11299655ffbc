//! `xinetd.conf`: blocks such as `service telnet { server = /usr/sbin/in.telnetd }`.

use std::collections::BTreeMap;

use super::{Files, MOST_FILES, Ports, Started, command_line, places, protocol_of};
use crate::model::relays::addresses;
use crate::model::{Protocol, RelayRestriction, RelayRoute, RestrictedBy, SocketCommand};

/// The maximum depth of included files.
const DEEPEST: usize = 4;

/// A `service`, or the `defaults`.
#[derive(Clone, Default)]
struct Block {
    service: String,
    /// The file with the block.
    path: String,
    attributes: BTreeMap<String, Vec<String>>,
}

/// Returns the programs and the destinations of all services; `None` if a file cannot be read or is not understood.
pub(super) fn xinetd(files: &Files<'_>, path: &str) -> Option<Started> {
    let (mut blocks, mut read) = (Vec::new(), 0);
    read_file(files, path, 0, &mut read, &mut blocks)?;
    let ports = files.ports();
    Some(judge(&blocks, &ports))
}

fn read_file(
    files: &Files<'_>,
    path: &str,
    depth: usize,
    read: &mut usize,
    blocks: &mut Vec<Block>,
) -> Option<()> {
    *read += 1;
    if *read > MOST_FILES || depth > DEEPEST {
        return None;
    }
    for include in parse(&files.read(path)?, path, blocks)? {
        match include {
            Include::File(path) => read_file(files, &path, depth + 1, read, blocks)?,
            Include::Directory(directory) => {
                for path in files.paths(&directory)? {
                    // xinetd skips the copies of editors and package managers.
                    let name = path.rsplit('/').next().unwrap_or_default();
                    if !name.contains('.') && !name.ends_with('~') {
                        read_file(files, &path, depth + 1, read, blocks)?;
                    }
                }
            }
        }
    }
    Some(())
}

enum Include {
    File(String),
    Directory(String),
}

/// Adds the blocks of a file. Returns the included files and directories; `None` if a line is not understood.
fn parse(text: &str, path: &str, blocks: &mut Vec<Block>) -> Option<Vec<Include>> {
    let (mut includes, mut is_inside) = (Vec::new(), false);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["include", path] if !is_inside => includes.push(Include::File(path.to_owned())),
            ["includedir", path] if !is_inside => includes.push(Include::Directory(path.to_owned())),
            ["defaults"] | ["service", _] if !is_inside => {
                let service = words.get(1).copied().unwrap_or_default().to_owned();
                blocks.push(Block { service, path: path.to_owned(), ..Block::default() });
            }
            ["{"] if !is_inside => is_inside = true,
            ["}"] if is_inside => is_inside = false,
            [key, operator @ ("=" | "+=" | "-="), ref values @ ..] if is_inside => {
                let attributes = &mut blocks.last_mut()?.attributes;
                let values = values.iter().map(|&value| value.to_owned());
                // A list that is added to the defaults has its own key.
                let key = if operator == "=" { key.to_owned() } else { format!("{key} {operator}") };
                attributes.entry(key).or_default().extend(values);
            }
            _ => return None,
        }
    }
    (!is_inside).then_some(includes)
}

fn judge(blocks: &[Block], ports: &Ports) -> Started {
    let mut started = Started::default();
    let defaults = blocks.iter().filter(|block| block.service.is_empty());
    let lists: Vec<&String> =
        defaults.filter_map(|block| block.attributes.get("only_from")).flatten().collect();
    for block in blocks.iter().filter(|block| !block.service.is_empty()) {
        add(&mut started, block, &lists, ports);
    }
    started
}

/// Adds the program or the destination of a service; nothing if the service is off or not understood.
fn add(started: &mut Started, block: &Block, default_clients: &[&String], ports: &Ports) -> Option<()> {
    let values = |key: &str| block.attributes.get(key).map(Vec::as_slice).unwrap_or_default();
    let value = |key: &str| values(key).first().map(String::as_str);
    if value("disable") == Some("yes") {
        return None;
    }
    let protocol = match (value("protocol"), value("socket_type")) {
        (Some(protocol), _) => protocol_of(protocol)?,
        (None, Some("dgram")) => Protocol::Udp,
        (None, _) => Protocol::Tcp,
    };
    let port = ports.port(value("port").unwrap_or(&block.service), protocol)?;
    let host = value("bind").or_else(|| value("interface")).unwrap_or_default();
    for on in places(host, port)? {
        if let [host, port] = values("redirect") {
            let to = addresses(host);
            let port = ports.port(port, protocol)?;
            let restriction = restricts(block, default_clients)
                .then(|| RelayRestriction { by: RestrictedBy::Addresses, file: Some(block.path.clone()) });
            started.routes.push(RelayRoute {
                on,
                protocol,
                is_complete: to.is_some(),
                to: to.into_iter().flatten().map(|address| (address, port).into()).collect(),
                restriction,
            });
            continue;
        }
        let is_internal = values("type").iter().any(|one| one.eq_ignore_ascii_case("INTERNAL"));
        let cmdline = match value("server") {
            Some(server) => {
                let has_name = values("flags").iter().any(|flag| flag.eq_ignore_ascii_case("NAMEINARGS"));
                let arguments: Vec<&str> = values("server_args").iter().map(String::as_str).collect();
                command_line(server, &arguments, has_name)
            }
            None if is_internal => vec!["internal".to_owned()],
            None => return None,
        };
        started.commands.push(SocketCommand { on, protocol, cmdline });
    }
    Some(())
}

/// Returns whether a service admits only listed clients (`only_from`). `no_access` refuses only some.
fn restricts(block: &Block, default_clients: &[&String]) -> bool {
    let own = block.attributes.get("only_from");
    let added = block.attributes.get("only_from +=").into_iter().flatten();
    let clients: Vec<&String> = match own {
        Some(own) => own.iter().collect(),
        None => default_clients.iter().copied().chain(added).collect(),
    };
    let is_everyone = |client: &&String| {
        let (address, bits) = client.split_once('/').unwrap_or((client, "32"));
        ["0.0.0.0", "0", "::"].contains(&address) || bits.parse::<u8>().is_ok_and(|bits| bits < 4)
    };
    !clients.is_empty() && !clients.iter().any(is_everyone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<String> {
        let mut blocks = Vec::new();
        parse(text, "/etc/xinetd.conf", &mut blocks)?;
        let Started { commands, routes } = judge(&blocks, &Ports::parse("telnet 23/tcp\n"));
        let commands = commands.iter().map(|one| format!("{} {}", one.on, one.cmdline.join(" ")));
        let routes = routes.iter().map(|one| {
            let rest = if one.restriction.is_some() { "~" } else { "" };
            format!("{}>{:?}{rest}", one.on, one.to)
        });
        Some(commands.chain(routes).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn services_of_xinetd() {
        let block = |name: &str, lines: &str| format!("service {name}\n{{\n{lines}\n}}\n");
        let relay = |more: &str| block("a", &format!("port = 1\nredirect = 127.0.0.1 6379\n{more}"));
        let to = "[::]:1>[127.0.0.1:6379]";
        for (text, is) in [
            (
                block("telnet", "# x\nsocket_type = stream\nserver = /x\nserver_args = -y z"),
                Some("[::]:23 /x -y z"),
            ),
            (block("telnet", "disable = yes\nserver = /x"), Some("")),
            (block("x", "port = 1\nprotocol = udp\nbind = 10.0.0.1\nserver = /x"), Some("10.0.0.1:1 /x")),
            (
                block("x", "port = 1\nflags = NAMEINARGS\nserver = /usr/sbin/tcpd\nserver_args = /bin/nc a"),
                Some("[::]:1 /bin/nc a"),
            ),
            (block("x", "port = 1\nflags = NAMEINARGS\nserver = /x\nserver_args = y z"), Some("[::]:1 /x z")),
            (block("echo", "port = 7\ntype = INTERNAL"), Some("[::]:7 internal")),
            (relay(""), Some(to)),
            (relay("only_from = 10.0.0.0/8"), Some("[::]:1>[127.0.0.1:6379]~")),
            (relay("only_from = 10.0.0.1 0.0.0.0"), Some(to)),
            (relay("only_from = 0.0.0.0/0"), Some(to)),
            (relay("no_access = 10.0.0.1"), Some(to)),
            (
                format!("defaults\n{{\nonly_from = 10.0.0.1\n}}\n{}", relay("")),
                Some("[::]:1>[127.0.0.1:6379]~"),
            ),
            (format!("defaults\n{{\nonly_from = 10.0.0.1\n}}\n{}", relay("only_from += 0.0.0.0")), Some(to)),
            (block("x", "word"), None),
            ("service a\n{\n".to_owned(), None),
        ] {
            assert_eq!(found(&text).as_deref(), is, "{text}");
        }
    }
}
