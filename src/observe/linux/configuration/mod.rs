//! Reads the configuration files of reachable servers, to find out whether they admit clients without a password. The
//! supported servers are Redis and its variants, mongod, nats-server, Kafka, dockerd, the Docker registry, kubelet,
//! sshd, Squid and Tinyproxy.
//!
//! A file is opened in the root directory of the process. If it cannot be read, or does not decide who may connect, the
//! process has no setting. The finding then says that the password was not checked.
//!
//! A user who can write the file can add a restriction after the server has read the file. The server would then only
//! look safe. Therefore a setting that refuses clients by address counts only if root alone can write every file of the
//! configuration.
//!
//! A file that was changed after the process started, or that is mounted over another file, may differ from the file
//! that the server has read. Then the process has no setting, and the finding names the changed file. This is also the
//! case if the server has reloaded the changed file, because a reload is not visible.

mod access_rules;
mod addresses;
mod changes;
mod dockerd;
mod environment;
mod include;
mod kafka;
mod kubelet;
mod lines;
mod locate;
mod mounts;
mod nats;
mod parse;
mod redis;
mod sshd;
mod unit_files;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, openat};

use self::changes::Change;
use self::locate::ConfigurationFiles;
use self::mounts::Mounts;
use super::origin::Origins;
use super::packages::root::Root;
use super::{process, script};
use crate::model::{
    AccessSetting, AdmittedClients, Configuration, OriginKind, Pid, Process, ReplaceableBy, Script,
};

/// The maximum size of a file in bytes. The commented example of Redis has 110 KiB.
const LONGEST: usize = 1024 * 1024;
/// The time limit for all files together. Without a limit, a file on an unreachable network mount would block the scan.
const LIMIT: Duration = Duration::from_secs(5);

type Parser = fn(&[u8]) -> Vec<AccessSetting>;

/// A process whose configuration file or environment variables must be read.
struct Reading {
    pid: Pid,
    files: Option<ConfigurationFiles>,
    /// The sockets of the process that other machines can reach.
    sockets: Vec<SocketAddr>,
    /// Whether the process is in a container. The container manager usually mounts the configuration file before the
    /// process starts.
    is_in_container: bool,
    variables: &'static [&'static str],
    /// The program and its command line, if environment variables can add code to this program.
    program: Option<(String, Vec<String>)>,
}

/// The configuration of a process, its debugger options, and the code that its environment variables name.
type Known = (Option<Configuration>, Vec<String>, Vec<Script>);

/// Reads the configuration files and environment variables of the reachable processes, and adds the results.
pub(super) fn look_up(processes: &mut [Process], reachable: &BTreeMap<Pid, Vec<SocketAddr>>) {
    let wanted =
        processes.iter().filter(|process| reachable.contains_key(&process.pid)).map(|process| Reading {
            pid: process.pid,
            files: locate::wanted(process),
            sockets: reachable.get(&process.pid).cloned().unwrap_or_default(),
            is_in_container: process.container.is_some(),
            variables: environment::variables(process),
            program: environment::is_read(process)
                .then(|| (environment::program(process).to_owned(), process.cmdline.clone())),
        });
    let wanted: Vec<_> = wanted.filter(|one| one.files.is_some() || one.program.is_some()).collect();
    if wanted.is_empty() {
        return;
    }
    let (sender, receiver) = channel();
    // Reading a file may never end. The reading thread is then left running until portolan ends.
    let read_all = move || {
        let mut origins = Origins::default();
        for one in wanted {
            let Ok(process) = process::open(one.pid) else { continue };
            let mounts = if one.is_in_container { None } else { Mounts::of(&process) };
            let is_known = one.is_in_container || mounts.is_some();
            let files = one.files.filter(|_| is_known);
            let configuration =
                files.and_then(|files| read(&process, files, &one.sockets, mounts.as_ref(), &mut origins));
            let (mut options, mut code) = (Vec::new(), Vec::new());
            if let Some((program, cmdline)) = one.program {
                let environment = environment::read(&process);
                options = environment::options(&environment, one.variables);
                options.extend(environment::opening_options(&environment, &program, &cmdline));
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
        // Code that belongs to the user of the process is left out, because this user can also change the running code
        // in other ways.
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

fn read(
    process: &OwnedFd,
    mut wanted: ConfigurationFiles,
    sockets: &[SocketAddr],
    mounts: Option<&Mounts>,
    origins: &mut Origins,
) -> Option<Configuration> {
    // An environment variable can replace a setting of the file.
    if !wanted.overriding.is_empty() && environment::has_any(process, wanted.overriding) {
        return None;
    }
    let directory = |name: &str| -> Option<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(process, name, flags, Mode::empty()).ok()
    };
    let root = Root::new(directory("root")?, false);
    let mut unit_files = Vec::new();
    if let Some(unit) = &wanted.unit {
        let command = unit_files::command(&root, unit)?;
        let (path, options) = locate::file_of_service(&command.arguments)?;
        (wanted.paths, wanted.options, unit_files) = (vec![path], options, command.files);
    }
    let mut read = Vec::new();
    for path in &wanted.paths {
        let (start, below) = match path.strip_prefix('/') {
            Some(below) => ("root", below),
            None => ("cwd", path.as_str()),
        };
        // The file is opened below the working directory, and `..` cannot lead out of it. So a relative path with `..`
        // would lead to another file.
        if start == "cwd" && below.split('/').any(|part| part == "..") {
            return None;
        }
        let root = Root::new(directory(start)?, false);
        let bytes = root.read(below, LONGEST).ok()?;
        read.extend(bytes.map(|bytes| (path, root, below, bytes)));
    }
    let [(path, start, below, bytes)] = &read[..] else { return None };
    let include::Expanded { bytes, included, directories } = match wanted.includes {
        Some(syntax) => include::expand(&root, bytes, syntax)?,
        None => include::Expanded { bytes: bytes.clone(), included: Vec::new(), directories: Vec::new() },
    };
    let mut settings = (wanted.parser)(&bytes);
    let with_options = [&bytes, wanted.options.as_bytes()].concat();
    // If options on the command line change a setting of the file, it is not known which clients the server admits.
    if !wanted.options.is_empty() && (wanted.parser)(&with_options) != settings {
        return None;
    }
    if settings.is_empty() {
        return None;
    }
    if wanted.needs_empty_account {
        let account = sshd::account_without_password(&root)?;
        settings.iter_mut().for_each(|one| one.setting += &format!("; {account} has no password"));
    }
    let running_since = process::running_since(process)?;
    let others = included.iter().chain(&directories).chain(&unit_files).map(|path| (&root, &**path, path));
    let files: Vec<_> = std::iter::once((start, *below, *path)).chain(others).collect();
    let changes =
        files.iter().map(|(root, below, path)| (changes::change_since(root, below, running_since), path));
    let changes: Vec<_> = changes.collect();
    if let Some((_, changed)) = changes.iter().find(|(change, _)| *change == Change::After) {
        let changed = Some(changed.to_string());
        return Some(Configuration { path: (*path).clone(), settings: Vec::new(), changed });
    }
    let is_covered =
        |mounts: &Mounts| files.iter().any(|(root, below, _)| mounts.cover(root.directory(), below));
    if changes.iter().any(|(change, _)| *change == Change::Unknown) || mounts.is_some_and(is_covered) {
        // The server may have read another file, so settings that refuse clients do not count.
        settings.retain(|one| one.clients == AdmittedClients::Anyone);
        if settings.is_empty() {
            return None;
        }
    }
    if !(wanted.agrees)(&with_options, sockets) {
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
    Some(Configuration { path: (*path).clone(), settings, changed: None })
}

/// For a fuzzer: parses the same bytes as each kind of configuration file. Returns the number of results.
#[must_use]
pub fn parse(bytes: &[u8]) -> usize {
    [
        redis::redis as Parser,
        parse::mongod,
        nats::nats,
        kafka::kafka,
        parse::registry,
        kubelet::kubelet,
        sshd::sshd,
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

    /// A process that is younger than the files of a test.
    struct Young(std::process::Child);

    impl Young {
        fn new() -> Self {
            // A file that was changed less than one clock tick before the process started may seem younger than the
            // process.
            std::thread::sleep(Duration::from_millis(50));
            Young(std::process::Command::new("sleep").arg("60").spawn().unwrap())
        }

        /// Returns the settings that portolan reads for this process if its program file and command line are `exe` and
        /// `arguments`.
        fn configuration(&self, exe: &str, arguments: &[&str]) -> Option<Configuration> {
            let mut processes = [self.running(exe, arguments)];
            look_up(&mut processes, &BTreeMap::from([(self.0.id(), Vec::new())]));
            let [process] = processes;
            process.configuration
        }

        fn running(&self, exe: &str, arguments: &[&str]) -> Process {
            Process {
                exe: Some(Exe { path: exe.to_owned(), state: ExeState::Present, open_directories: None }),
                cmdline: arguments.iter().map(|&argument| argument.to_owned()).collect(),
                ..Process::unknown(self.0.id())
            }
        }
    }

    impl Drop for Young {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    fn first_setting(configuration: Option<&Configuration>) -> Option<&str> {
        Some(configuration?.settings.first()?.setting.as_str())
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
        let server = Young::new();
        for (name, setting) in [
            ("small.conf", Some("requirepass")),
            ("large.conf", None),
            ("pipe.conf", None),
            ("none.conf", None),
        ] {
            let line = ["redis-server", &at(name)];
            let mut processes = [server.running("/usr/bin/redis-server", &line)];
            look_up(&mut processes, &BTreeMap::new());
            assert_eq!(processes[0].configuration, None, "no other machine can reach it");
            let found = server.configuration("/usr/bin/redis-server", &line);
            assert_eq!(first_setting(found.as_ref()), setting, "{name}");
        }
    }

    /// Redis reads the options on the command line after the file.
    #[test]
    fn options_after_the_file_of_redis() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("redis.conf").to_str().unwrap().to_owned();
        fs::write(&path, "bind 0.0.0.0\nrequirepass secret").unwrap();
        let server = Young::new();
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
            let found = server.configuration("/usr/bin/redis-server", &line);
            assert_eq!(first_setting(found.as_ref()), setting, "{options:?}");
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
            let bytes = include::expand(&root, text.as_bytes(), include::SQUID).unwrap().bytes;
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

    /// The names of settings may be quoted, because Redis splits a line of the file like a command line.
    #[test]
    fn quoted_lines_of_redis() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        fs::write(at("open"), "protected-mode no").unwrap();
        for (text, setting) in [
            ("\"protected-mode\" no".to_owned(), Some("protected-mode no")),
            (format!("\"include\" {}", at("open")), Some("protected-mode no")),
            (format!("INCLUDE '{}'", at("open")), Some("protected-mode no")),
            ("\"protected-mode no".to_owned(), None),
            ("# x \\\nprotected-mode no".to_owned(), Some("protected-mode no")),
        ] {
            fs::write(at("redis.conf"), text.as_bytes()).unwrap();
            let server = Young::new();
            let found = server.configuration("/usr/bin/redis-server", &["redis-server", &at("redis.conf")]);
            assert_eq!(first_setting(found.as_ref()), setting, "{text}");
        }
    }

    #[test]
    fn a_file_that_is_younger_than_the_process_does_not_decide() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        fs::create_dir(at("d")).unwrap();
        for (name, text) in [
            ("redis.conf", "requirepass x\n".to_owned()),
            ("including.conf", format!("include {}\n", at("redis.conf"))),
            ("pattern.conf", format!("include {}/*.conf\nrequirepass x\n", at("d"))),
        ] {
            fs::write(at(name), text).unwrap();
        }
        let server = Young::new();
        let found = |name| server.configuration("/usr/bin/redis-server", &["redis-server", &at(name)]);
        for name in ["redis.conf", "including.conf", "pattern.conf"] {
            let found = found(name).unwrap();
            assert_eq!(first_setting(Some(&found)), Some("requirepass"), "{name}");
            assert_eq!(found.changed, None, "{name}");
        }
        let later = std::time::SystemTime::now() + Duration::from_secs(60);
        for (name, changed) in
            [("pattern.conf", "d"), ("including.conf", "redis.conf"), ("redis.conf", "redis.conf")]
        {
            let times = fs::FileTimes::new().set_modified(later);
            fs::File::open(at(changed)).unwrap().set_times(times).unwrap();
            let found = found(name).unwrap();
            assert_eq!((&found.settings[..], found.changed), (&[][..], Some(at(changed))), "{name}");
        }
    }

    #[test]
    fn the_environment_of_a_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node");
        // A separate process copies the program. If this process copied it, a child of another test could inherit the
        // open file, and the copy could not be run.
        assert!(std::process::Command::new("cp").arg("/bin/sleep").arg(&path).status().unwrap().success());
        let mut command = std::process::Command::new(&path);
        let child = command.arg("60").env("NODE_OPTIONS", "--inspect=0.0.0.0:9").spawn().unwrap();
        // For a short time after its start, the environment of a child cannot be read.
        while fs::read(format!("/proc/{}/environ", child.id())).unwrap().is_empty() {
            std::thread::yield_now();
        }
        let child = Young(child);
        let mut processes = [child.running(path.to_str().unwrap(), &["node", "60"])];
        look_up(&mut processes, &BTreeMap::from([(child.0.id(), Vec::new())]));
        assert_eq!(processes[0].debugger_options, ["--inspect=0.0.0.0:9"]);
    }

    /// If any user can write to a directory, the server may have read another file at this path.
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
            let server = Young::new();
            let found = server.configuration("/usr/sbin/squid", &["squid", "-f", path.to_str().unwrap()]);
            let found = found.map(|found| found.settings[0].clients);
            assert_eq!(found, clients, "{rule}");
        }
    }
}
