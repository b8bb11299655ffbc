//! Reads the configuration files of reachable servers, to find out whether they admit clients without a password: Redis
//! and its variants, mongod, nats-server, Kafka, dockerd, the Docker registry, Squid and Tinyproxy.
//!
//! A file is opened in the root directory of the process. If it cannot be read, or does not decide who may connect, the
//! process has no setting, and the finding says that the password was not checked.
//!
//! A user who can write the file can add a restriction after the server has read it, and the server would only look
//! safe. Therefore a setting that refuses clients by address counts only if root alone can write every file of the
//! configuration.

mod access_rules;
mod addresses;
mod dockerd;
mod environment;
mod include;
mod parse;

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, openat};

use super::origin::Origins;
use super::packages::root::Root;
use super::{process, script};
use crate::model::{
    AccessSetting, AdmittedClients, Configuration, OriginKind, Pid, Process, ReplaceableBy, Script,
};

/// The maximum size of a file in bytes. The commented example of Redis has 110 KiB.
const LONGEST: usize = 1024 * 1024;
/// The time limit for all files together: a file on a dead network mount never answers.
const LIMIT: Duration = Duration::from_secs(5);

type Parser = fn(&[u8]) -> Vec<AccessSetting>;

/// The possible paths of a configuration file, which is read only if exactly one of them exists.
struct ConfigurationFiles {
    paths: Vec<String>,
    parser: Parser,
    /// The settings on the command line, as lines of the file. The server reads them after the file.
    options: String,
}

/// A process whose configuration file or environment variables must be read.
struct Reading {
    pid: Pid,
    files: Option<ConfigurationFiles>,
    variables: &'static [&'static str],
    /// The program and its command line, if environment variables can add code to this program.
    program: Option<(String, Vec<String>)>,
}

/// The configuration of a process, its debugger options, and the code that its environment variables name.
type Known = (Option<Configuration>, Vec<String>, Vec<Script>);

/// Reads the configuration files and environment variables of the reachable processes, and adds the results to the
/// processes.
pub(super) fn look_up(processes: &mut [Process], reachable: &BTreeSet<Pid>) {
    let wanted = processes.iter().filter(|process| reachable.contains(&process.pid)).map(|process| Reading {
        pid: process.pid,
        files: wanted(process),
        variables: environment::variables(process),
        program: environment::is_read(process)
            .then(|| (environment::program(process).to_owned(), process.cmdline.clone())),
    });
    let wanted: Vec<_> = wanted.filter(|one| one.files.is_some() || one.program.is_some()).collect();
    if wanted.is_empty() {
        return;
    }
    let (sender, receiver) = channel();
    // A thread that waits for a file that never answers is not stopped. It ends with portolan.
    let read_all = move || {
        let mut origins = Origins::default();
        for one in wanted {
            let Ok(process) = process::open(one.pid) else { continue };
            let configuration = one.files.and_then(|files| read(&process, &files, &mut origins));
            let (mut options, mut code) = (Vec::new(), Vec::new());
            if let Some((program, cmdline)) = one.program {
                let environment = environment::read(&process);
                options = environment::options(&environment, one.variables);
                let paths = environment::code_paths(&environment, &program, &cmdline);
                code = script::named_by_environment(&process, &paths, &mut origins);
            }
            let _ = sender.send((one.pid, (configuration, options, code)));
        }
    };
    if std::thread::Builder::new().spawn(read_all).is_err() {
        return;
    }
    let end = Instant::now() + LIMIT;
    let mut found: HashMap<Pid, Known> = HashMap::new();
    while let Ok((pid, known)) = receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
        found.insert(pid, known);
    }
    for process in processes {
        let (configuration, options, code) = found.remove(&process.pid).unwrap_or_default();
        (process.configuration, process.debugger_options) = (configuration, options);
        let by = ReplaceableBy::of(process);
        // Code that belongs to the user of the process is left out: this user can change the running code in many other
        // ways.
        let is_own = |script: &Script| {
            let origin = script.origin.as_ref().filter(|origin| origin.kind == OriginKind::User);
            origin.is_some_and(|origin| origin.uid.is_some() && origin.uid == process.uid)
        };
        let of_others = code.into_iter().filter(|script| !is_own(script));
        let worst = of_others.max_by_key(ReplaceableBy::of_script);
        let worst = worst.filter(|script| ReplaceableBy::of_script(script) > by);
        process.code.splice(0..0, worst);
    }
}

/// Returns the files to read for a process; `None` if its program has none, or if their path is not known.
fn wanted(process: &Process) -> Option<ConfigurationFiles> {
    let program = process.exe.as_ref()?.path.rsplit('/').next()?;
    let arguments = process.cmdline.get(1..).unwrap_or_default();
    let mut options = String::new();
    let (paths, parser): (Vec<String>, Parser) = match program {
        "redis-server" | "valkey-server" | "keydb-server" | "redis-check-rdb" | "valkey-check-rdb" => {
            let named = arguments.first().filter(|path| path.contains('/') || path.ends_with(".conf"));
            let paths = match named {
                Some(path) => {
                    options = parse::redis_options(arguments.get(1..).unwrap_or_default())?;
                    vec![path.clone()]
                }
                // Redis overwrites its command line with a title. If the title has no path, the path follows from the
                // unit.
                None => paths_of_unit(&process::unit(process.pid)?),
            };
            (paths, parse::redis)
        }
        "mongod" | "mongos" => (vec![option(arguments, &["--config", "-f"])?], parse::mongod),
        "nats-server" | "gnatsd" => (vec![option(arguments, &["-c", "--config", "-config"])?], parse::nats),
        "docker-registry" | "registry" => {
            let serve = arguments.iter().position(|argument| argument == "serve")?;
            (vec![arguments.get(serve + 1).filter(|path| !path.starts_with('-'))?.clone()], parse::registry)
        }
        "java" => (vec![kafka_properties(arguments)?], parse::kafka),
        "dockerd" => {
            // Without root, dockerd reads another file, in the user's home directory.
            let usual = || (process.uid == Some(0)).then(|| "/etc/docker/daemon.json".to_owned());
            (vec![option(arguments, &["--config-file"]).or_else(usual)?], dockerd::dockerd)
        }
        "squid" => {
            let path = short_option(arguments, 'f', "CDFNRSVXYhirsvz");
            (vec![path.unwrap_or_else(|| "/etc/squid/squid.conf".to_owned())], access_rules::squid)
        }
        "tinyproxy" => {
            let paths = match short_option(arguments, 'c', "dhlv") {
                Some(path) => vec![path],
                None => ["/etc/tinyproxy/tinyproxy.conf", "/etc/tinyproxy.conf"].map(str::to_owned).to_vec(),
            };
            (paths, access_rules::tinyproxy)
        }
        _ => return None,
    };
    Some(ConfigurationFiles { paths, parser, options })
}

/// Returns the value of `--config PATH` or `--config=PATH`.
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

/// Returns the value of an option with one letter, which may follow `flags`: `-f PATH`, `-fPATH` or `-dNf PATH`.
fn short_option(arguments: &[String], letter: char, flags: &str) -> Option<String> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let Some(letters) = argument.strip_prefix('-') else { continue };
        match letters.trim_start_matches(|c| flags.contains(c)).strip_prefix(letter) {
            Some("") => return arguments.next().cloned(),
            Some(path) => return Some(path.to_owned()),
            None => {}
        }
    }
    None
}

/// Returns the properties file of a Kafka broker; `None` if other arguments override settings of the file.
fn kafka_properties(arguments: &[String]) -> Option<String> {
    const CLASSES: [&str; 2] = ["kafka.Kafka", "io.confluent.support.metrics.SupportedKafka"];
    let class = arguments.iter().position(|argument| CLASSES.contains(&argument.as_str()))?;
    match arguments.get(class + 1..)? {
        [path] if !path.starts_with('-') => Some(path.clone()),
        _ => None,
    }
}

/// Returns the paths at which distributions install the configuration file of a unit.
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

fn read(process: &OwnedFd, wanted: &ConfigurationFiles, origins: &mut Origins) -> Option<Configuration> {
    let directory = |name: &str| -> Option<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(process, name, flags, Mode::empty()).ok()
    };
    let mut read = Vec::new();
    for path in &wanted.paths {
        let (start, below) = match path.strip_prefix('/') {
            Some(below) => ("root", below),
            None => ("cwd", path.as_str()),
        };
        // The file is opened below the working directory, where `..` cannot lead out of this directory, so a relative
        // path with `..` would name another file.
        if start == "cwd" && below.split('/').any(|part| part == "..") {
            return None;
        }
        let bytes = Root::new(directory(start)?, false).read(below, LONGEST).ok()?;
        read.extend(bytes.map(|bytes| (path, bytes)));
    }
    let [(path, bytes)] = &read[..] else { return None };
    let root = Root::new(directory("root")?, false);
    let include::Expanded { bytes, included } = include::expand(&root, bytes);
    let settings = (wanted.parser)(&bytes);
    // If options on the command line change a setting of the file, it is not known which clients the server admits.
    if !wanted.options.is_empty()
        && (wanted.parser)(&[&bytes, wanted.options.as_bytes()].concat()) != settings
    {
        return None;
    }
    let refuses =
        |one: &AccessSetting| matches!(one.clients, AdmittedClients::Local | AdmittedClients::Listed);
    if settings.iter().any(refuses) {
        let tree = origins.tree(process)?;
        let mut is_roots = |path: &String| {
            let origin = script::file(process, &tree, path, origins).and_then(|file| file.origin);
            origin.is_some_and(|origin| origin.kind == OriginKind::System)
        };
        if !std::iter::once(*path).chain(&included).all(&mut is_roots) {
            return None;
        }
    }
    (!settings.is_empty()).then(|| Configuration { path: (*path).clone(), settings })
}

/// Parses the bytes as every kind of file, for a fuzzer. Returns the number of results.
#[must_use]
pub fn parse(bytes: &[u8]) -> usize {
    [
        parse::redis as Parser,
        parse::mongod,
        parse::nats,
        parse::kafka,
        parse::registry,
        dockerd::dockerd,
        access_rules::squid,
        access_rules::tinyproxy,
    ]
    .into_iter()
    .map(|parser| parser(bytes).len())
    .chain([environment::options(bytes, &["NODE_OPTIONS"]).len()])
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

    /// Returns a process as the only owner of a reachable socket.
    fn owner(pid: Pid) -> BTreeSet<Pid> {
        BTreeSet::from([pid])
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
            (
                "/usr/sbin/squid",
                &["(squid-1)", "--kid", "squid-1", "--foreground", "-sYC"],
                Some("/etc/squid/squid.conf"),
            ),
            ("/usr/sbin/squid", &["squid", "-sNf", "/srv/s.conf"], Some("/srv/s.conf")),
            ("/usr/sbin/squid", &["squid", "-f/srv/s.conf"], Some("/srv/s.conf")),
            ("/usr/bin/tinyproxy", &["tinyproxy", "-dc", "/srv/t.conf"], Some("/srv/t.conf")),
            (
                "/usr/bin/docker-registry",
                &["docker-registry", "serve", "/etc/docker/registry/config.yml"],
                Some("/etc/docker/registry/config.yml"),
            ),
            ("/usr/bin/dockerd", &["dockerd", "--config-file=/srv/d.json"], Some("/srv/d.json")),
            ("/usr/bin/dockerd", &["dockerd", "-H", "fd://"], None),
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
            look_up(&mut processes, &BTreeSet::new());
            assert_eq!(processes[0].configuration, None, "no other machine can reach it");
            look_up(&mut processes, &owner(std::process::id()));
            let found = processes[0].configuration.as_ref().map(|found| found.settings[0].setting.as_str());
            assert_eq!(found, setting, "{name}");
        }
    }

    /// Redis reads the options on the command line after the file.
    #[test]
    fn options_after_the_file_of_redis() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("redis.conf").to_str().unwrap().to_owned();
        fs::write(&path, "bind 0.0.0.0\nrequirepass secret").unwrap();
        for (options, setting) in [
            (&[][..], Some("requirepass")),
            (&["--daemonize", "no", "--supervised", "systemd"], Some("requirepass")),
            (&["--requirepass", ""], None),
            (&["--requirepass \"\""], None),
            (&["--protected-mode", "no"], Some("requirepass")),
            (&["--requirepass", "", "--protected-mode", "no"], None),
            (&["--requirepass", "", "--requirepass", "x\nrequirepass"], Some("requirepass")),
            (&["--user", "bob", "on", "nopass", "~*", "+@all"], None),
            (&["--user", "bob on nopass ~* +@all"], None),
            (&["--include", "/srv/other.conf"], None),
            (&["-"], None),
            (&["--daemonize", "no", "-"], None),
        ] {
            let line: Vec<&str> =
                ["redis-server", &path].into_iter().chain(options.iter().copied()).collect();
            let mut processes = [running("/usr/bin/redis-server", &line)];
            look_up(&mut processes, &owner(std::process::id()));
            let found = processes[0].configuration.as_ref().map(|found| found.settings[0].setting.as_str());
            assert_eq!(found, setting, "{options:?}");
        }
    }

    #[test]
    fn included_files_are_read_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        fs::create_dir(at("d")).unwrap();
        for (name, text) in [
            ("d/1.conf", format!("b\ninclude {}\n", at("more"))),
            ("d/2.conf", "d\n".to_owned()),
            ("d/3.txt", "not included\n".to_owned()),
            ("more", "c\n".to_owned()),
            ("loop", format!("include {}\n", at("loop"))),
        ] {
            fs::write(at(name), text).unwrap();
        }
        let root = Root::new(fs::File::open("/").unwrap().into(), false);
        let expand = |text: &str| {
            let bytes = include::expand(&root, text.as_bytes()).bytes;
            let text = String::from_utf8(bytes).unwrap();
            text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            expand(&format!("a\n include {}/d/*.conf # x\ne", directory.path().display())),
            ["a", "b", "c", "d", "e"]
        );
        for unreadable in
            ["include relative", "include /none/*.conf", "include /*/x", "include", "include /etc/../none"]
        {
            assert_eq!(expand(unreadable), [unreadable], "stays, and the file does not decide");
        }
        assert_eq!(
            expand(&format!("include {}", at("loop"))),
            [format!("include {}", at("loop"))],
            "it ends"
        );
    }

    #[test]
    fn the_environment_of_a_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node");
        // A separate process copies the program. If this process copied it, a child of another test could inherit the
        // open file, and the copy could not be run.
        assert!(std::process::Command::new("cp").arg("/bin/sleep").arg(&path).status().unwrap().success());
        let mut command = std::process::Command::new(&path);
        let mut child = command.arg("60").env("NODE_OPTIONS", "--inspect=0.0.0.0:9").spawn().unwrap();
        // The child exists shortly before its environment can be read.
        while fs::read(format!("/proc/{}/environ", child.id())).unwrap().is_empty() {
            std::thread::yield_now();
        }
        let process = running(path.to_str().unwrap(), &["node", "60"]);
        let mut processes = [Process { pid: child.id(), ..process }];
        look_up(&mut processes, &owner(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(processes[0].debugger_options, ["--inspect=0.0.0.0:9"]);
    }

    /// In a directory that any user can write to, another file may have been at this path when the server started.
    #[test]
    fn only_the_file_of_root_refuses_clients() {
        let directory = tempfile::tempdir().unwrap();
        let of_root = tempfile::tempdir_in("/var/lib").ok();
        let mut cases =
            vec![(&directory, "deny", None), (&directory, "allow", Some(AdmittedClients::Anyone))];
        cases.extend(of_root.as_ref().map(|directory| (directory, "deny", Some(AdmittedClients::Local))));
        for (directory, rule, clients) in cases {
            let path = directory.path().join("squid.conf");
            fs::write(&path, format!("http_access {rule} all\n")).unwrap();
            let mut processes = [running("/usr/sbin/squid", &["squid", "-f", path.to_str().unwrap()])];
            look_up(&mut processes, &owner(std::process::id()));
            let found = processes[0].configuration.as_ref().map(|found| found.settings[0].clients);
            assert_eq!(found, clients, "{rule}");
        }
    }
}
