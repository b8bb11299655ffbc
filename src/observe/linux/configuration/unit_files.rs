//! Reads the command line of a service from its systemd unit. Some servers, such as Redis, overwrite their command line
//! with a title that does not show the path of the configuration file.
//!
//! See systemd.unit(5) for the directories and systemd.service(5) for `ExecStart=`. If a line is not understood, the
//! command line is unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::super::packages::root::Root;
use super::lines;
use crate::model::{Protocol, unmapped};

/// The directories of units, from the highest priority to the lowest.
const DIRECTORIES: [&str; 11] = [
    "etc/systemd/system.control",
    "run/systemd/system.control",
    "run/systemd/transient",
    "run/systemd/generator.early",
    "etc/systemd/system",
    "run/systemd/system",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "run/systemd/generator.late",
];
/// The maximum size of a unit in bytes; real units have a few KiB.
const LONGEST: usize = 256 * 1024;
/// The maximum number of drop-ins; real units have a few.
const MOST_DROP_INS: usize = 256;

/// The section, the key and the value of a line.
type Line = (String, String, String);

/// The command line of a service, and the files and directories from which it was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServiceCommand {
    pub(super) arguments: Vec<String>,
    pub(super) files: Vec<String>,
}

/// The unit files of a manager.
pub(super) struct Units<'r> {
    root: &'r Root,
    /// The directories, from the highest priority to the lowest.
    directories: Vec<String>,
}

impl<'r> Units<'r> {
    pub(super) fn of_system(root: &'r Root) -> Self {
        Units { root, directories: DIRECTORIES.map(str::to_owned).to_vec() }
    }

    /// Returns the units of a user, by the environment of the user's manager.
    pub(super) fn of_user(root: &'r Root, environment: &[u8]) -> Self {
        let variable = |name: &str| {
            let mut values = environment.split(|byte| *byte == 0).filter_map(|one| {
                let value = std::str::from_utf8(one).ok()?.strip_prefix(name)?.strip_prefix("=/")?;
                Some(value.trim_end_matches('/').to_owned())
            });
            values.next()
        };
        let home = |below: &str| variable("HOME").map(|home| format!("{home}/{below}"));
        let config = variable("XDG_CONFIG_HOME").or_else(|| home(".config"));
        let data = variable("XDG_DATA_HOME").or_else(|| home(".local/share"));
        let run = variable("XDG_RUNTIME_DIR");
        let below =
            |base: &Option<String>, name: &str| base.as_ref().map(|base| format!("{base}/systemd/{name}"));
        let directories = [
            below(&config, "user.control"),
            below(&run, "user.control"),
            below(&run, "transient"),
            below(&run, "generator.early"),
            below(&config, "user"),
            Some("etc/systemd/user".to_owned()),
            below(&run, "user"),
            Some("run/systemd/user".to_owned()),
            below(&run, "generator"),
            below(&data, "user"),
            Some("usr/local/lib/systemd/user".to_owned()),
            Some("usr/lib/systemd/user".to_owned()),
            below(&run, "generator.late"),
        ];
        Units { root, directories: directories.into_iter().flatten().collect() }
    }

    pub(super) fn command(&self, unit: &str) -> Option<ServiceCommand> {
        let (line, files) = self.command_text(unit)?;
        if line.contains(['%', '$', '"', '\'', '\\', ';']) {
            return None;
        }
        Some(ServiceCommand { arguments: line.split_whitespace().map(str::to_owned).collect(), files })
    }

    /// Returns the only socket unit that listens at an address; `None` if there is no such unit or more than one.
    pub(super) fn socket_at(&self, on: SocketAddr, protocol: Protocol) -> Option<String> {
        let mut names = BTreeSet::new();
        for directory in &self.directories {
            if self.root.stat_link(directory).is_some() {
                let all = self.root.names(directory).ok()?;
                names.extend(all.into_iter().filter_map(|name| name.into_string().ok()));
            }
        }
        let mut units = names.into_iter().filter(|name| {
            let lines = name.ends_with(".socket").then(|| self.unit_lines(name, "socket")).flatten();
            lines.is_some_and(|(lines, _)| listens(&lines, on, protocol))
        });
        units.next().filter(|_| units.next().is_none())
    }

    /// Returns the words of the command line that systemd starts for the sockets of the unit `socket`; `None` if there is no
    /// command line. Quotes and variables are not replaced, so the arguments may differ.
    pub(super) fn command_of_socket(&self, socket: &str) -> Option<Vec<String>> {
        let name = socket.strip_suffix(".socket")?;
        let (lines, _) = self.unit_lines(socket, "socket").unwrap_or_default();
        let last = |key| values(&lines, "Socket", key).last();
        let accepts = last("Accept").is_some_and(|value| ["yes", "true", "on", "1"].contains(&value));
        let service = match last("Service") {
            Some(service) => service.to_owned(),
            None if accepts => format!("{}@.service", name.trim_end_matches('@')),
            None => format!("{name}.service"),
        };
        let (line, _) = self.command_text(&service)?;
        Some(line.split_whitespace().map(str::to_owned).collect())
    }

    /// Returns the text of the only `ExecStart=` of a service, and the files that decide it.
    fn command_text(&self, unit: &str) -> Option<(String, Vec<String>)> {
        let (lines, files) = self.unit_lines(unit, "service")?;
        let name = unit.strip_suffix(".service")?;
        let (prefix, instance) = name.split_once('@').unwrap_or((name, ""));
        // An empty value removes the values before it.
        let mut commands: Vec<&str> = Vec::new();
        for value in values(&lines, "Service", "ExecStart") {
            if value.is_empty() { commands.clear() } else { commands.push(value) }
        }
        let [line] = commands[..] else { return None };
        let line = line.trim_start_matches(['@', '-', ':', '+', '!', '|']);
        Some((line.replace("%i", instance).replace("%p", prefix).replace("%n", unit), files))
    }

    /// Returns the lines of a unit and of its drop-ins, and their files; `None` if they are not known.
    fn unit_lines(&self, unit: &str, kind: &str) -> Option<(Vec<Line>, Vec<String>)> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@:".contains(&byte);
        let name = unit.strip_suffix(kind)?.strip_suffix('.').filter(|name| name.bytes().all(is_plain))?;
        let (prefix, _) = name.split_once('@').unwrap_or((name, ""));
        let template = (prefix != name).then(|| format!("{prefix}@.{kind}"));
        let names = || [Some(unit.to_owned()), template.clone()].into_iter().flatten();
        let mut paths = names()
            .flat_map(|name| self.directories.iter().map(move |directory| format!("{directory}/{name}")));
        // A link to /dev/null also counts as a unit, because it masks the unit.
        let path = paths.find(|path| self.root.stat_link(path).is_some())?;
        let text = read(self.root, &path).ok()??;
        let mut files = vec![format!("/{path}")];
        let mut lines = Vec::new();
        add_lines(&text, &mut lines)?;
        let aliases: Vec<String> =
            values(&lines, "Install", "Alias").flat_map(str::split_whitespace).map(str::to_owned).collect();
        let drop_ins = names().chain(aliases).chain([kind.to_owned()]).chain(dashes(prefix, kind));
        // A drop-in replaces the drop-ins with the same name in directories of lower priority.
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        for unit in drop_ins {
            for directory in &self.directories {
                let directory = format!("{directory}/{unit}.d");
                // A directory that does not exist has no drop-ins. If a directory cannot be read, its drop-ins are unknown.
                if self.root.stat_link(&directory).is_none() {
                    continue;
                }
                let names = self.root.names(&directory).ok()?;
                files.push(format!("/{directory}"));
                for name in names.into_iter().filter_map(|name| name.into_string().ok()) {
                    if name.ends_with(".conf") {
                        found.entry(name.clone()).or_insert_with(|| format!("{directory}/{name}"));
                    }
                }
                if found.len() > MOST_DROP_INS {
                    return None;
                }
            }
        }
        for path in found.into_values() {
            // A link to /dev/null switches the drop-in off.
            match self.root.link(&path).as_deref() {
                Some("/dev/null") => continue,
                _ => add_lines(&read(self.root, &path).ok()??, &mut lines)?,
            }
            files.push(format!("/{path}"));
        }
        Some((lines, files))
    }
}

/// Returns whether a socket unit listens at an address.
fn listens(lines: &[Line], on: SocketAddr, protocol: Protocol) -> bool {
    let key = if protocol.is_datagram() { "ListenDatagram" } else { "ListenStream" };
    // An empty value removes the values before it.
    let all: Vec<&str> = values(lines, "Socket", key).collect();
    let own = all.rsplit(|value| value.is_empty()).next().unwrap_or_default();
    own.iter().any(|value| match value.parse::<SocketAddr>() {
        Ok(place) => {
            let is_any = place.ip().is_unspecified() || on.ip().is_unspecified();
            place.port() == on.port() && (is_any || unmapped(place.ip()) == unmapped(on.ip()))
        }
        Err(_) => value.parse() == Ok(on.port()),
    })
}

fn read(root: &Root, path: &str) -> Result<Option<String>, String> {
    let bytes = root.read(path, LONGEST)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Returns the units that have the beginning of this name up to a dash: `a-.service` for `a-b.service`. Their drop-ins
/// also apply to this unit.
fn dashes(prefix: &str, kind: &str) -> Vec<String> {
    let ends = prefix.match_indices('-').map(|(at, _)| at + 1).filter(|end| *end < prefix.len());
    ends.filter_map(|end| Some(format!("{}.{kind}", prefix.get(..end)?))).collect()
}

/// Adds the lines of a unit, as section, key and value. Returns `None` if the lines are not known.
fn add_lines(text: &str, lines: &mut Vec<Line>) -> Option<()> {
    let mut section = String::new();
    for line in lines::unit(text)? {
        let line = line.trim_matches([' ', '\t']);
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, value)) = line.split_once('=') {
            lines.push((section.clone(), key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    Some(())
}

fn values<'l>(lines: &'l [Line], section: &'l str, key: &'l str) -> impl Iterator<Item = &'l str> {
    lines.iter().filter(move |line| line.0 == section && line.1 == key).map(|line| line.2.as_str())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    const UNIT: &str = "[Unit]\nDescription=x\n[Service]\nType=notify\nExecStart=/usr/bin/redis-server /etc/redis/redis.conf \\\n --daemonize no\n[Install]\nAlias=redis.service\n";

    fn in_tree(files: &[(&str, &str)], unit: &str) -> Option<String> {
        let (_directory, root) = tree(files);
        Units::of_system(&root).command(unit).map(|command| command.arguments.join(" "))
    }

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match text.strip_prefix("-> ") {
                Some(target) => symlink(target, path).unwrap(),
                None => fs::write(path, text).unwrap(),
            }
        }
        let root = Root::new(fs::File::open(directory.path()).unwrap().into(), false);
        (directory, root)
    }

    #[test]
    fn the_command_line_of_a_socket() {
        const PROXY: &str =
            "[Service]\nExecStart=/lib/systemd/systemd-socket-proxyd $OPTIONS 127.0.0.1:6379\n";
        let proxy = Some("/lib/systemd/systemd-socket-proxyd $OPTIONS 127.0.0.1:6379");
        for (name, files, unit, is) in [
            ("its service", vec![("etc/systemd/system/a.service", PROXY)], "a.socket", proxy),
            ("no service", vec![("etc/systemd/system/b.service", PROXY)], "a.socket", None),
            (
                "another service",
                vec![
                    ("etc/systemd/system/b.service", PROXY),
                    ("etc/systemd/system/a.socket", "[Socket]\nListenStream=1\nService=b.service\n"),
                ],
                "a.socket",
                proxy,
            ),
            (
                "one service for each connection",
                vec![
                    ("etc/systemd/system/a@.service", "[Service]\nExecStart=-/bin/nc 10.0.0.1 22\n"),
                    ("etc/systemd/system/a.socket", "[Socket]\nListenStream=1\nAccept=yes\n"),
                ],
                "a.socket",
                Some("/bin/nc 10.0.0.1 22"),
            ),
            ("an instance", vec![("etc/systemd/system/a@.service", PROXY)], "a@1.socket", proxy),
        ] {
            let (_directory, root) = tree(&files);
            let found = Units::of_system(&root).command_of_socket(unit).map(|words| words.join(" "));
            assert_eq!(found.as_deref(), is, "{name}");
        }
    }

    #[test]
    fn the_unit_of_a_socket() {
        let socket = |lines: &str| format!("[Socket]\n{lines}\n");
        let (port, both) =
            (socket("ListenStream=8888"), socket("ListenStream=1\nListenStream=10.0.0.1:8888"));
        let (emptied, datagram) = (socket("ListenStream=8888\nListenStream="), socket("ListenDatagram=8888"));
        for (name, files, is) in [
            ("a port", vec![("etc/systemd/system/a.socket", &*port)], Some("a.socket")),
            ("an address", vec![("lib/systemd/system/b.socket", &*both)], Some("b.socket")),
            ("no port", vec![("lib/systemd/system/b.socket", &*emptied)], None),
            ("another protocol", vec![("lib/systemd/system/b.socket", &*datagram)], None),
            (
                "two units",
                vec![("etc/systemd/system/a.socket", &*port), ("lib/systemd/system/b.socket", &*both)],
                None,
            ),
            ("no directory", vec![], None),
        ] {
            let (_directory, root) = tree(&files);
            let found = Units::of_system(&root).socket_at("0.0.0.0:8888".parse().unwrap(), Protocol::Tcp);
            assert_eq!(found.as_deref(), is, "{name}");
        }
        let files = [
            ("home/ann/.config/systemd/user/a.socket", &*port),
            ("home/ann/.config/systemd/user/a.service", "[Service]\nExecStart=/bin/x\n"),
        ];
        let (_directory, root) = tree(&files);
        let units = Units::of_user(&root, b"PATH=/bin\0HOME=/home/ann\0XDG_RUNTIME_DIR=/run/user/1000\0");
        let unit = units.socket_at("0.0.0.0:8888".parse().unwrap(), Protocol::Tcp).unwrap();
        assert_eq!(units.command_of_socket(&unit), Some(vec!["/bin/x".to_owned()]));
    }

    #[test]
    fn the_last_command_line_counts() {
        let packaged = ("usr/lib/systemd/system/redis-server.service", UNIT);
        let shop = "[Service]\nExecStart=\nExecStart=/usr/bin/redis-server /etc/redis/shop.conf\n";
        let of_package = Some("/usr/bin/redis-server /etc/redis/redis.conf --daemonize no");
        let of_shop = Some("/usr/bin/redis-server /etc/redis/shop.conf");
        for (name, files, is) in [
            ("of the package", vec![], of_package),
            ("a drop-in", vec![("etc/systemd/system/redis-server.service.d/x.conf", shop)], of_shop),
            ("a drop-in of the alias", vec![("etc/systemd/system/redis.service.d/x.conf", shop)], of_shop),
            ("a drop-in of the prefix", vec![("run/systemd/system/redis-.service.d/x.conf", shop)], of_shop),
            ("another name", vec![("etc/systemd/system/redis-server.service.d/x.txt", shop)], of_package),
            ("another unit", vec![("etc/systemd/system/redis-x.service.d/x.conf", shop)], of_package),
            (
                "a hidden drop-in",
                vec![
                    ("usr/lib/systemd/system/redis-server.service.d/x.conf", shop),
                    ("etc/systemd/system/redis-server.service.d/x.conf", "-> /dev/null"),
                ],
                of_package,
            ),
            ("the administrator's unit", vec![("etc/systemd/system/redis-server.service", shop)], of_shop),
            (
                "comments with a backslash",
                vec![(
                    "etc/systemd/system/redis-server.service",
                    "[Service]\nExecStart=/usr/bin/redis-server /good\n# emptied \\\nExecStart=\n; new \\\nExecStart=/usr/bin/redis-server \\\n# here \\\n /etc/redis/shop.conf\n",
                )],
                of_shop,
            ),
            ("a masked unit", vec![("etc/systemd/system/redis-server.service", "-> /dev/null")], None),
            (
                "a second command",
                vec![("etc/systemd/system/redis-server.service.d/x.conf", "[Service]\nExecStart=/bin/x\n")],
                None,
            ),
            (
                "a variable",
                vec![(
                    "etc/systemd/system/redis-server.service.d/x.conf",
                    "[Service]\nExecStart=\nExecStart=/bin/x $A\n",
                )],
                None,
            ),
            ("a broken link", vec![("etc/systemd/system/redis-server.service.d/x.conf", "-> /none")], None),
        ] {
            let files: Vec<_> = files.into_iter().chain([packaged]).collect();
            assert_eq!(in_tree(&files, "redis-server.service").as_deref(), is, "{name}");
        }
    }

    #[test]
    fn instances_of_a_template() {
        let files = [(
            "lib/systemd/system/redis-server@.service",
            "[Service]\nExecStart=-/usr/bin/redis-server /etc/redis/redis-%i.conf\n",
        )];
        let found = |unit| in_tree(&files, unit);
        assert_eq!(
            found("redis-server@a.service").as_deref(),
            Some("/usr/bin/redis-server /etc/redis/redis-a.conf")
        );
        for unit in [
            "redis-server.service",
            "redis-server@../x.service",
            "user@1000.service/redis.service",
            "x.scope",
        ] {
            assert_eq!(found(unit), None, "{unit}");
        }
    }
}
