//! Reads the configuration files of reachable servers, to find out whether they admit clients without a password. The
//! supported servers are Redis and its variants, mongod, nats-server, Kafka, dockerd, the Docker registry, kubelet,
//! sshd, Squid, Tinyproxy, nginx, Apache httpd and lighttpd.
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
mod routes;
mod sshd;
mod started;
mod unit_files;
mod web;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, openat};

use self::changes::Change;
use self::locate::ConfigurationFiles;
use self::mounts::Mounts;
use self::routes::RouteFile;
use self::started::Starter;
use super::origin::Origins;
use super::packages::root::Root;
use super::{process, script};
use crate::model::{
    AccessSetting, AdmittedClients, Configuration, OriginKind, Pid, Process, Protocol, RelayRoute,
    ReplaceableBy, Script, SocketCommand,
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
    routes: Option<RouteFile>,
    starter: Option<Starter>,
    /// The sockets of the process that other machines can reach.
    sockets: Vec<ReachableSocket>,
    /// Whether the process is in a container. The container manager usually mounts the configuration file before the
    /// process starts.
    is_in_container: bool,
    variables: &'static [&'static str],
    /// The program and its command line, if environment variables can add code to this program.
    program: Option<(String, Vec<String>)>,
}

/// A socket that other machines can reach.
#[derive(Clone, Debug)]
pub(super) struct ReachableSocket {
    pub(super) local: SocketAddr,
    pub(super) protocol: Protocol,
    pub(super) unit: Option<String>,
}

/// What the files and the environment of a process show.
#[derive(Default)]
struct Known {
    configuration: Option<Configuration>,
    relay_routes: Option<Vec<RelayRoute>>,
    socket_commands: Vec<SocketCommand>,
    debugger_options: Vec<String>,
    /// The code that the environment variables name.
    code: Vec<Script>,
}

/// Reads the configuration files and environment variables of the reachable processes, and adds the results.
pub(super) fn look_up(processes: &mut [Process], reachable: &BTreeMap<Pid, Vec<ReachableSocket>>) {
    let wanted =
        processes.iter().filter(|process| reachable.contains_key(&process.pid)).map(|process| Reading {
            pid: process.pid,
            files: locate::wanted(process, locate::command_line(process, processes)),
            routes: routes::wanted(process),
            starter: Starter::of(process),
            sockets: reachable.get(&process.pid).cloned().unwrap_or_default(),
            is_in_container: process.container.is_some(),
            variables: environment::variables(process),
            program: environment::is_read(process)
                .then(|| (environment::program(process).to_owned(), process.cmdline.clone())),
        });
    let wanted: Vec<_> = wanted
        .filter(|one| {
            one.files.is_some() || one.routes.is_some() || one.starter.is_some() || one.program.is_some()
        })
        .collect();
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
            let addresses: Vec<SocketAddr> = one.sockets.iter().map(|socket| socket.local).collect();
            let started = one.starter.map(|starter| started::read(&process, &starter, &one.sockets));
            let started = started.unwrap_or_default();
            let mut known = Known {
                socket_commands: started.commands,
                configuration: files
                    .and_then(|files| read(&process, files, &addresses, mounts.as_ref(), &mut origins)),
                relay_routes: one
                    .routes
                    .filter(|_| is_known)
                    .and_then(|file| routes::read(&process, &file, mounts.as_ref()))
                    .or(Some(started.routes).filter(|routes| !routes.is_empty())),
                ..Known::default()
            };
            if let Some((program, cmdline)) = one.program {
                let environment = environment::read(&process);
                let options = &mut known.debugger_options;
                *options = environment::options(&environment, one.variables);
                options.extend(environment::opening_options(&environment, &program, &cmdline));
                let paths = environment::code_paths(&environment, &program, &cmdline);
                known.code = script::named_by_environment(&process, &paths, &mut origins);
            }
            let _ = sender.send((one.pid, known));
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
        let Known { configuration, relay_routes, socket_commands, debugger_options, code } =
            found.remove(&process.pid).unwrap_or_default();
        (process.configuration, process.debugger_options) = (configuration, debugger_options);
        (process.relay_routes, process.socket_commands) = (relay_routes, socket_commands);
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

/// Opens the root or working directory of a process: `root` or `cwd`.
fn directory(process: &OwnedFd, name: &str) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(process, name, flags, Mode::empty()).ok()
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
    let root = Root::new(directory(process, "root")?, false);
    let mut unit_files = Vec::new();
    if let Some(unit) = &wanted.unit {
        let command = unit_files::Units::of_system(&root).command(unit)?;
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
        let root = Root::new(directory(process, start)?, false);
        let bytes = root.read(below, LONGEST).ok()?;
        read.extend(bytes.map(|bytes| (path, root, below, bytes)));
    }
    let [(path, start, below, bytes)] = &read[..] else { return None };
    let include::Expanded { bytes, included, directories } = match wanted.includes {
        Some(syntax) => include::expand(&root, path, bytes, syntax)?,
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
        web::nginx,
        web::apache,
        web::lighttpd,
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
mod tests;
