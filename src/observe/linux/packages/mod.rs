//! Finds the package that installed a program, and whether the program is still the file of the package.
//!
//! The databases of dpkg, apk and pacman are read below the root directory of the process, without running these
//! programs. A database can be hostile or endless, so sizes and times are limited. If there is no answer in time, the
//! program becomes a gap.
//!
//! A program is modified if its checksum differs from the recorded one. Configuration files and files without a
//! recorded checksum are not judged.

mod apk;
mod change_time;
mod checksum;
mod dpkg;
mod pacman;
pub(super) mod root;
mod rpm;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, readlinkat, statat};

use self::change_time::Installation;
use self::checksum::Checksum;
use self::root::{Layout, Root, identity};
use super::executable::{self, living_thread};
use super::origin::Origins;
use super::process;
use super::tree::is_same;
use crate::model::{ExeState, Gap, Note, Origin, OriginKind, Pid, Process, Stage};
use crate::observe::progress;

#[derive(Clone, Copy, Debug)]
struct Thoroughness {
    /// The time limit for all look-ups together.
    limit: Duration,
    verifies: bool,
}

const AUDIT: Thoroughness = Thoroughness { limit: Duration::from_secs(30), verifies: true };
/// The limits for `explain` and cards. Both are useful even without the name of the package, so they do not wait long.
const NAMES_ONLY: Thoroughness = Thoroughness { limit: Duration::from_secs(2), verifies: false };
/// The number of root directories that are searched at the same time, so that one blocked directory does not delay the
/// others.
const WORKERS: usize = 4;

/// What a package records about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PackagedFile {
    package: String,
    version: Option<String>,
    checksum: Option<Checksum>,
    /// The run of dpkg that installed the package on this machine, if the times of the files prove it.
    installed: Option<Installation>,
}

/// The index of each file, by its normalized path ([`Layout::canonical`]).
type WantedFiles<'p> = HashMap<&'p [u8], usize>;
/// The records of each file, by index. Several packages can record a file.
type PackagedFiles = HashMap<usize, Vec<PackagedFile>>;

#[derive(Debug)]
struct RunningFile {
    /// The path from the root.
    path: Vec<u8>,
    /// Device and inode.
    id: (u64, u64),
    /// Whether a loader runs the file. The kernel then names the loader as the program of the process.
    is_loaded: bool,
    pids: Vec<Pid>,
}

/// A process whose package is searched, and the path of its program if a loader runs the program.
type Wanted = (Pid, Option<String>);

fn wanted(process: &Process) -> Wanted {
    let exe = process.exe.as_ref().filter(|_| process.loader.is_some());
    (process.pid, exe.map(|exe| exe.path.clone()))
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Package {
    name: String,
    version: Option<String>,
    modified: Option<bool>,
}

#[derive(Debug)]
struct PackageLookup {
    pids: Vec<Pid>,
    package: Option<Package>,
    /// The reason why the package is unknown, or why the program could not be compared with the package.
    trouble: Option<String>,
    /// Whether the program is in a container with an rpm database, which portolan does not read.
    is_left_out: bool,
}

/// Finds the packages of the programs, compares each program with its package, and adds the results to the processes.
pub(super) fn look_up(processes: &mut [Process]) -> (Vec<Gap>, Vec<Note>) {
    let wanted: Vec<Wanted> =
        processes.iter().filter(|process| can_be_packaged(process)).map(wanted).collect();
    let mut unanswered: BTreeMap<Pid, String> = wanted
        .iter()
        .map(|(pid, _)| (*pid, format!("the look-up did not end within {} s", AUDIT.limit.as_secs())))
        .collect();
    let mut left_out = 0;
    progress::begin("packages of programs", wanted.len());
    for answer in answers(wanted, AUDIT) {
        progress::advance(answer.pids.len());
        for pid in answer.pids {
            match &answer.trouble {
                Some(why) => _ = unanswered.insert(pid, why.clone()),
                None => _ = unanswered.remove(&pid),
            }
            left_out += u64::from(answer.is_left_out);
            let process = processes.iter_mut().find(|process| process.pid == pid);
            if let (Some(package), Some(origin)) =
                (&answer.package, process.and_then(|process| process.origin.as_mut()))
            {
                add(package, origin);
            }
        }
    }
    let processes = if left_out == 1 { "process in a container" } else { "processes in containers" };
    let note = Note::new(format!("{processes} with an rpm database, which is not read")).counted(left_out);
    (gaps(unanswered), (left_out > 0).then_some(note).into_iter().collect())
}

/// Adds the names and versions of the packages that are found in a short time.
pub(super) fn name(processes: &mut [Process]) {
    let unnamed = |process: &&Process| {
        can_be_packaged(process) && process.origin.as_ref().is_some_and(|origin| origin.package.is_none())
    };
    let wanted: Vec<Wanted> = processes.iter().filter(unnamed).map(wanted).collect();
    if wanted.is_empty() {
        return;
    }
    for answer in answers(wanted, NAMES_ONLY) {
        for process in processes.iter_mut().filter(|process| answer.pids.contains(&process.pid)) {
            if let (Some(package), Some(origin)) = (&answer.package, &mut process.origin) {
                add(package, origin);
            }
        }
    }
}

/// Returns whether the running file is still at its path. If not, no package is searched.
fn can_be_packaged(process: &Process) -> bool {
    let kind = process.origin.as_ref().map(|origin| origin.kind);
    process.exe.as_ref().is_some_and(|exe| exe.state == ExeState::Present)
        && matches!(kind, Some(OriginKind::System | OriginKind::User | OriginKind::Open))
}

fn add(package: &Package, origin: &mut Origin) {
    if origin.kind == OriginKind::System && package.modified != Some(true) {
        origin.kind = OriginKind::Package;
    }
    origin.package = Some(package.name.clone());
    origin.version.clone_from(&package.version);
    origin.modified = package.modified;
}

fn gaps(unanswered: BTreeMap<Pid, String>) -> Vec<Gap> {
    let mut reasons: BTreeMap<String, Vec<Pid>> = BTreeMap::new();
    for (pid, why) in unanswered {
        reasons.entry(why).or_default().push(pid);
    }
    let gap = |(why, pids): (String, Vec<Pid>)| {
        let noun = if pids.len() == 1 { "process" } else { "processes" };
        let what = format!("{noun} whose program could not be compared with its package");
        Gap::new(Stage::Processes, what, why).counted(pids.len()).with_pids(pids)
    };
    reasons.into_iter().map(gap).collect()
}

/// Returns the answers within the time limit. Reading a file may never end. The reading thread is then left running
/// until portolan ends.
fn answers(wanted: Vec<Wanted>, how: Thoroughness) -> impl Iterator<Item = PackageLookup> {
    let (sender, receiver): (_, Receiver<PackageLookup>) = channel();
    let end = Instant::now() + how.limit;
    // If no thread can be started, every program becomes a gap.
    let _ = std::thread::Builder::new().spawn(move || start(&wanted, how, &sender));
    std::iter::from_fn(move || receiver.recv_timeout(end.saturating_duration_since(Instant::now())).ok())
}

/// Starts threads. Each thread takes one root directory after another, and looks up its programs.
fn start(wanted: &[Wanted], how: Thoroughness, sender: &Sender<PackageLookup>) {
    let roots = Arc::new(Mutex::new(roots(wanted, sender)));
    for _ in 0..WORKERS {
        let (roots, sender) = (Arc::clone(&roots), sender.clone());
        let next = move || roots.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let worker = move || {
            while let Some((root, programs)) = next() {
                answer(&root, &programs, how, &sender);
            }
        };
        let _ = std::thread::Builder::new().spawn(worker);
    }
}

/// Returns the root directories of the processes, with portolan's own root directory first.
fn roots(wanted: &[Wanted], sender: &Sender<PackageLookup>) -> VecDeque<(Root, Vec<RunningFile>)> {
    let origins = Origins::default();
    let own = origins.own();
    let mut by_root: HashMap<(u64, u64), (OwnedFd, Vec<RunningFile>)> = HashMap::new();
    for (pid, loaded) in wanted {
        // If the process has ended, or its program file is no longer at its path, there is nothing to look up.
        let Some((root_id, root, program)) = program(*pid, loaded.as_deref(), &origins) else {
            let _ = sender.send(PackageLookup {
                pids: vec![*pid],
                package: None,
                trouble: None,
                is_left_out: false,
            });
            continue;
        };
        // A process may see mounts of an ordinary user below portolan's root directory. Therefore the root is opened as
        // portolan sees it.
        let root = match own.filter(|own| own.root_id == root_id).map(|own| own.root.try_clone()) {
            Some(Ok(own)) => own,
            _ => root,
        };
        let (_, programs) = by_root.entry(root_id).or_insert((root, Vec::new()));
        match programs.iter_mut().find(|other| {
            (&other.path, other.id, other.is_loaded) == (&program.path, program.id, program.is_loaded)
        }) {
            Some(other) => other.pids.push(*pid),
            None => programs.push(program),
        }
    }
    let mut roots = VecDeque::new();
    for (root_id, (root, programs)) in by_root {
        let is_own = own.is_some_and(|own| own.root_id == root_id);
        let root = (Root::new(root, is_own), programs);
        if is_own { roots.push_front(root) } else { roots.push_back(root) }
    }
    roots
}

/// Returns the identity and the handle of a process's root directory, and the program file. Returns `None` if the
/// process or the file could not be read, or if the file is no longer at its path.
fn program(pid: Pid, loaded: Option<&str>, origins: &Origins) -> Option<((u64, u64), OwnedFd, RunningFile)> {
    let process = process::open(pid).ok()?;
    let process = living_thread(&process, &executable::link(&process)).unwrap_or(process);
    let tree = origins.tree(&process)?;
    let target = match loaded {
        Some(path) => path.as_bytes().to_vec(),
        None => readlinkat(&process, "exe", Vec::new()).ok()?.into_bytes(),
    };
    let at_path = tree.stat(&target).ok()?;
    let running = match loaded {
        Some(_) => at_path,
        None => statat(&process, "exe", AtFlags::empty()).ok()?,
    };
    let path = tree.below_root(&target)?.into_bytes();
    let program = RunningFile { path, id: identity(&running), is_loaded: loaded.is_some(), pids: vec![pid] };
    let root = tree.root.try_clone().ok()?;
    is_same(&running, &at_path).then_some((tree.root_id, root, program))
}

fn answer(root: &Root, programs: &[RunningFile], how: Thoroughness, sender: &Sender<PackageLookup>) {
    let mut wanted = WantedFiles::new();
    for (at, program) in programs.iter().enumerate() {
        wanted.insert(root.layout.canonical(&program.path), at);
    }
    let (records, trouble) = recorded(root, &wanted);
    let left_out = !root.is_own() && rpm::has_database(root);
    let dpkg_is_at_work = dpkg::is_at_work(root);
    let mut summed = HashMap::new();
    for (at, program) in programs.iter().enumerate() {
        let records = records.get(&at).map(Vec::as_slice).unwrap_or_default();
        let Some(first) = records.first() else {
            let _ = sender.send(PackageLookup {
                pids: program.pids.clone(),
                package: None,
                trouble: trouble.clone(),
                is_left_out: left_out,
            });
            continue;
        };
        let sums: Vec<&Checksum> = records.iter().filter_map(|record| record.checksum.as_ref()).collect();
        let may_change = program.path.starts_with(b"etc/");
        let mut trouble = None;
        let mut modified = None;
        if how.verifies && !sums.is_empty() && !may_change {
            if is_the_installed_file(root, program, records) {
                modified = Some(false);
            } else {
                match summed.entry(program.id).or_insert_with(|| checksum::of_program(program, &sums)) {
                    Ok(found) => modified = Some(!sums.iter().any(|sum| found.contains(sum))),
                    Err(why) => trouble = Some(why.clone()),
                }
            }
        }
        if modified == Some(true) && dpkg_is_at_work {
            (modified, trouble) = (None, Some("dpkg is installing packages".to_owned()));
        }
        let package = Package { name: first.package.clone(), version: first.version.clone(), modified };
        let answer =
            PackageLookup { pids: program.pids.clone(), package: Some(package), trouble, is_left_out: false };
        let _ = sender.send(answer);
    }
}

/// Returns whether the times of the files prove that the program is the installed file.
fn is_the_installed_file(root: &Root, program: &RunningFile, records: &[PackagedFile]) -> bool {
    let mut installations = records.iter().filter_map(|record| record.installed).peekable();
    if installations.peek().is_none() {
        return false;
    }
    let Some(at_path) = root.stat(&program.path) else { return false };
    identity(&at_path.stat) == program.id
        && installations.any(|installation| installation.has_installed(&at_path))
}

/// Returns the records of all databases below a root directory, and the reason why a database could not be read.
fn recorded(root: &Root, wanted: &WantedFiles<'_>) -> (PackagedFiles, Option<String>) {
    let mut all = PackagedFiles::new();
    let mut trouble = None;
    for database in [dpkg::records, apk::records, pacman::records, rpm::records] {
        if wanted.values().all(|file| all.contains_key(file)) {
            break;
        }
        match database(root, wanted) {
            Ok(records) => records.into_iter().flatten().for_each(|(file, records)| {
                all.entry(file).or_default().extend(records);
            }),
            Err(why) => trouble = Some(why),
        }
    }
    (all, trouble)
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        Some(line)
    })
}

/// The maximum length of a name or version in bytes. The longest of Debian has 70.
const LONGEST_TEXT: usize = 256;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..LONGEST_TEXT).unwrap_or(bytes)).into_owned()
}

fn from_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let mut bytes = [0; N];
    if pairs.len() != N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// For a fuzzer: parses the same bytes as the database of each package manager. Returns the number of results.
#[must_use]
pub fn parse(bytes: &[u8]) -> usize {
    let layout = Layout { merged: vec!["bin", "sbin", "lib"] };
    let wanted: WantedFiles<'_> = [(&b"bin/x"[..], 0), (b"sbin/y", 1)].into();
    let apk: usize = apk::parse(bytes, &layout, &wanted).values().map(Vec::len).sum();
    let rpm: usize = rpm::parse(bytes, &layout, &wanted).values().map(Vec::len).sum();
    apk + rpm + dpkg::parse(bytes, &layout) + pacman::parse(bytes, &layout)
}

#[cfg(test)]
mod tests;
