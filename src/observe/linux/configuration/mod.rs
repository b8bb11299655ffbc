//! The configuration files of servers that are dangerous without a password: Redis and its kin, mongod, nats-server and
//! Kafka. Only an audit reads them.
//!
//! The path comes from the command line of the process, or from the unit that the server's package installs. The file
//! is opened in the process's own root directory, without following links out of it, if it is a regular file of bounded
//! size. A file that cannot be read, or does not decide, leaves the process without a setting: then the finding says
//! that the password was not checked.

mod parse;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, openat};

use super::packages::root::Root;
use super::process;
use crate::model::{AccessSetting, Configuration, Pid, Process};

/// Configuration files are read up to this many bytes. The commented example of Redis has 110 KiB.
const LONGEST: usize = 1024 * 1024;
/// How long all files together may take. A file on a dead network mount never answers.
const LIMIT: Duration = Duration::from_secs(5);

/// Parses a configuration file.
type Parser = fn(&[u8]) -> Vec<AccessSetting>;

/// A file to read: the paths at which it can be, of which exactly one must exist.
struct ConfigurationFiles {
    pid: Pid,
    paths: Vec<String>,
    parser: Parser,
}

/// Reads the configuration files that the processes name, and adds what they say.
pub(super) fn look_up(processes: &mut [Process]) {
    let wanted: Vec<ConfigurationFiles> = processes.iter().filter_map(wanted).collect();
    if wanted.is_empty() {
        return;
    }
    let (sender, receiver) = channel();
    // A thread that waits for a file is left behind; it ends with this process.
    let read_all = move || {
        for one in wanted {
            if let Some(configuration) = read(&one) {
                let _ = sender.send((one.pid, configuration));
            }
        }
    };
    if std::thread::Builder::new().spawn(read_all).is_err() {
        return;
    }
    let end = Instant::now() + LIMIT;
    let mut found = HashMap::new();
    while let Ok((pid, configuration)) = receiver.recv_timeout(end.saturating_duration_since(Instant::now()))
    {
        found.insert(pid, configuration);
    }
    for process in processes {
        process.configuration = found.remove(&process.pid);
    }
}

/// Returns what to read for a process; `None` if its program has no such file, or nothing says where it is.
fn wanted(process: &Process) -> Option<ConfigurationFiles> {
    let program = process.exe.as_ref()?.path.rsplit('/').next()?;
    let arguments = process.cmdline.get(1..).unwrap_or_default();
    let (paths, parser): (Vec<String>, Parser) = match program {
        "redis-server" | "valkey-server" | "keydb-server" | "redis-check-rdb" | "valkey-check-rdb" => {
            let named = arguments.first().filter(|path| path.contains('/') || path.ends_with(".conf"));
            let paths = match named {
                Some(path) => vec![path.clone()],
                // The server replaces its command line with a title that lacks the path.
                None => paths_of_unit(&process::unit(process.pid)?),
            };
            (paths, parse::redis)
        }
        "mongod" | "mongos" => (vec![option(arguments, &["--config", "-f"])?], parse::mongod),
        "nats-server" | "gnatsd" => (vec![option(arguments, &["-c", "--config", "-config"])?], parse::nats),
        "java" => (vec![kafka_properties(arguments)?], parse::kafka),
        _ => return None,
    };
    Some(ConfigurationFiles { pid: process.pid, paths, parser })
}

/// Returns the value of an option, as `--config PATH` or `--config=PATH`.
fn option(arguments: &[String], names: &[&str]) -> Option<String> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if names.contains(&argument.as_str()) {
            return arguments.next().cloned();
        }
        if let Some((_, path)) = argument.split_once('=').filter(|(name, _)| names.contains(name)) {
            return Some(path.to_owned());
        }
    }
    None
}

/// Returns the properties file of a Kafka broker; `None` if further arguments override it.
fn kafka_properties(arguments: &[String]) -> Option<String> {
    const CLASSES: [&str; 2] = ["kafka.Kafka", "io.confluent.support.metrics.SupportedKafka"];
    let class = arguments.iter().position(|argument| CLASSES.contains(&argument.as_str()))?;
    match arguments.get(class + 1..)? {
        [path] if !path.starts_with('-') => Some(path.clone()),
        _ => None,
    }
}

/// Returns the paths at which distributions install the configuration of a unit.
fn paths_of_unit(unit: &str) -> Vec<String> {
    let paths = match unit {
        "redis-server.service" => vec!["/etc/redis/redis.conf"],
        "redis.service" => vec!["/etc/redis/redis.conf", "/etc/redis.conf"],
        "valkey-server.service" | "valkey.service" => vec!["/etc/valkey/valkey.conf"],
        "keydb-server.service" | "keydb.service" => vec!["/etc/keydb/keydb.conf"],
        _ => {
            let instance = |prefix: &str| unit.strip_prefix(prefix)?.strip_suffix(".service");
            let is_plain =
                |name: &&str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            return [("redis-server@", "/etc/redis/redis-"), ("redis@", "/etc/redis/")]
                .into_iter()
                .filter_map(|(prefix, path)| {
                    Some(format!("{path}{}.conf", instance(prefix).filter(is_plain)?))
                })
                .collect();
        }
    };
    paths.into_iter().map(str::to_owned).collect()
}

fn read(wanted: &ConfigurationFiles) -> Option<Configuration> {
    let process = process::open(wanted.pid).ok()?;
    let directory = |name: &str| -> Option<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&process, name, flags, Mode::empty()).ok()
    };
    let mut read = Vec::new();
    for path in &wanted.paths {
        let (start, below) = match path.strip_prefix('/') {
            Some(below) => ("root", below),
            None => ("cwd", path.as_str()),
        };
        // Below the working directory, `..` would end at that directory and lead to another file.
        if start == "cwd" && below.split('/').any(|part| part == "..") {
            return None;
        }
        let bytes = Root::new(directory(start)?, false).read(below, LONGEST).ok()?;
        read.extend(bytes.map(|bytes| (path, bytes)));
    }
    let [(path, bytes)] = &read[..] else { return None };
    let settings = (wanted.parser)(bytes);
    (!settings.is_empty()).then(|| Configuration { path: (*path).clone(), settings })
}

/// Parses the same bytes as every kind of file, for a fuzzer; returns how many settings were found.
#[must_use]
pub fn parse(bytes: &[u8]) -> usize {
    [parse::redis as Parser, parse::mongod, parse::nats, parse::kafka]
        .into_iter()
        .map(|parser| parser(bytes).len())
        .sum()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::{Exe, ExeState};

    fn running(exe: &str, arguments: &[&str]) -> Process {
        Process {
            exe: Some(Exe { path: exe.to_owned(), state: ExeState::Present, open_directories: None }),
            cmdline: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            ..Process::unknown(std::process::id())
        }
    }

    #[test]
    fn paths_on_the_command_line() {
        for (exe, arguments, path) in [
            ("/usr/bin/redis-server", &["redis-server", "/etc/r.conf"][..], Some("/etc/r.conf")),
            ("/usr/bin/mongod", &["mongod", "--config", "/etc/mongod.conf"], Some("/etc/mongod.conf")),
            ("/usr/bin/mongod", &["mongod", "--config=/etc/mongod.conf"], Some("/etc/mongod.conf")),
            ("/usr/bin/mongod", &["mongod", "--port", "1"], None),
            ("/usr/bin/nats-server", &["nats-server", "-c", "n.conf"], Some("n.conf")),
            (
                "/opt/bin/java",
                &["java", "-Xmx1G", "kafka.Kafka", "config/s.properties"],
                Some("config/s.properties"),
            ),
            ("/opt/bin/java", &["java", "kafka.Kafka", "s.properties", "--override", "listeners=x"], None),
            ("/opt/bin/java", &["java", "-jar", "x.jar"], None),
            ("/usr/sbin/nginx", &["nginx", "-c", "/etc/nginx.conf"], None),
        ] {
            let found = wanted(&running(exe, arguments)).map(|wanted| wanted.paths);
            assert_eq!(found, path.map(|path| vec![path.to_owned()]), "{arguments:?}");
        }
    }

    #[test]
    fn paths_of_packages() {
        for (unit, paths) in [
            ("redis-server.service", &["/etc/redis/redis.conf"][..]),
            ("redis-server@cache.service", &["/etc/redis/redis-cache.conf"]),
            ("redis@6380.service", &["/etc/redis/6380.conf"]),
            ("redis-server@../../home/u/x.service", &[]),
            ("user@1000.service/redis.service", &[]),
            ("docker-1.scope", &[]),
        ] {
            assert_eq!(paths_of_unit(unit), paths, "{unit}");
        }
    }

    #[test]
    fn files_are_bounded_and_regular() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        fs::write(at("small.conf"), "requirepass x\n").unwrap();
        fs::write(at("large.conf"), vec![b'#'; LONGEST + 1]).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe.conf"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        for (name, setting) in [
            ("small.conf", Some("requirepass")),
            ("large.conf", None),
            ("pipe.conf", None),
            ("none.conf", None),
        ] {
            let mut processes = [running("/usr/bin/redis-server", &["redis-server", &at(name)])];
            look_up(&mut processes);
            let found = processes[0].configuration.as_ref().map(|found| found.settings[0].setting.as_str());
            assert_eq!(found, setting, "{name}");
        }
    }
}
