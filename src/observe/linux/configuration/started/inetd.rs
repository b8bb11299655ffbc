//! `inetd.conf`: lines such as `8888 stream tcp nowait root /bin/nc nc 127.0.0.1 6379`.

use super::{Files, Ports, command_line, places, protocol_of};
use crate::model::SocketCommand;

/// Returns the files and directories that the arguments name; `None` if the arguments are not understood. The options
/// are those of openbsd-inetd, GNU inetutils and BusyBox.
pub(super) fn files(arguments: &[String]) -> Option<Vec<String>> {
    let mut paths = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix('-') {
            None => paths.push(argument.clone()),
            Some("-environment" | "-resolve" | "-debug") => {}
            Some(long) if long.starts_with("-rate=") || long.starts_with("-pidfile") => {}
            Some(letters) => match letters.trim_start_matches(['d', 'E', 'e', 'f', 'i', 'l']) {
                "" => {}
                "a" | "q" | "R" => drop(arguments.next()?),
                rest if rest.starts_with(['a', 'q', 'R', 'p']) => {}
                _ => return None,
            },
        }
    }
    if paths.is_empty() {
        paths = ["/etc/inetd.conf", "/etc/inetd.d"].map(str::to_owned).to_vec();
    }
    paths.iter().all(|path| path.starts_with('/')).then_some(paths)
}

/// Returns the commands of all files; `None` if a file cannot be read.
pub(super) fn read(files: &Files<'_>, paths: &[String]) -> Option<Vec<SocketCommand>> {
    let ports = files.ports();
    let mut commands = Vec::new();
    for path in paths {
        // Only some variants of inetd have the second of the two usual files.
        if paths.len() > 1 && !files.exists(path) {
            continue;
        }
        let inner = files.paths(path).unwrap_or_else(|| vec![path.clone()]);
        for path in inner {
            commands.extend(parse(&files.read(&path)?, &ports));
        }
    }
    Some(commands)
}

/// Parses the lines of a file. A line that is not understood is left out.
fn parse(text: &str, ports: &Ports) -> Vec<SocketCommand> {
    let mut found = Vec::new();
    let mut default_host = "";
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (service, protocol, program, arguments) = match &words[..] {
            // The host of the next lines that name none.
            [host] if host.ends_with(':') => {
                default_host = host.trim_end_matches(':');
                continue;
            }
            [service, _, protocol, _, _, program, arguments @ ..] => (service, protocol, program, arguments),
            _ => continue,
        };
        let (hosts, service) = service.rsplit_once(':').unwrap_or((default_host, service));
        let Some(protocol) = protocol_of(protocol) else { continue };
        let Some(port) = ports.port(service, protocol) else { continue };
        let cmdline = command_line(program, arguments, true);
        for on in hosts.split(',').filter_map(|host| places(host, port)).flatten() {
            found.push(SocketCommand { on, protocol, cmdline: cmdline.clone() });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_inetd() {
        let ports = Ports::parse("telnet 23/tcp\n");
        for (line, is) in [
            (
                "8888 stream tcp nowait root /bin/nc nc 127.0.0.1 6379",
                &["[::]:8888 /bin/nc 127.0.0.1 6379"][..],
            ),
            (
                "127.0.0.1:53 dgram udp wait nobody /usr/sbin/tcpd /usr/sbin/x -y",
                &["127.0.0.1:53 /usr/sbin/x -y"],
            ),
            ("10.0.0.1,10.0.0.2:1 stream tcp nowait root /x x", &["10.0.0.1:1 /x", "10.0.0.2:1 /x"]),
            (
                "10.0.0.1:\n1 stream tcp nowait root /x x\n*:\n2 stream tcp46 nowait root /x x",
                &["10.0.0.1:1 /x", "[::]:2 /x"],
            ),
            ("# 8888 stream tcp nowait root /bin/nc nc", &[]),
            ("telnet stream tcp nowait root /x x", &["[::]:23 /x"]),
            ("echo stream tcp nowait root internal", &[]),
            ("7 stream tcp nowait root internal", &["[::]:7 internal"]),
            ("rstatd/1-3 dgram rpc/udp wait root /x x", &[]),
            ("/run/x stream unix nowait root /x x", &[]),
            ("8888 stream", &[]),
        ] {
            let found: Vec<String> = parse(line, &ports)
                .iter()
                .map(|one| format!("{} {}", one.on, one.cmdline.join(" ")))
                .collect();
            assert_eq!(found, is, "{line}");
        }
    }
}
