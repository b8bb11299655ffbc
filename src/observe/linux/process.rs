//! Reads a process from its directory in `/proc`. The environment of the process is never read.
//!
//! A process chooses its own name and command line, so these texts may be hostile. They are stored unchanged, and
//! escaped when they are printed.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use jiff::{SignedDuration, Timestamp};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, readlinkat, statat};
use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::cgroup;
use super::executable::{self, ProgramFiles};
use super::files::{numbers, numbers_in, slurp, slurp_at};
use super::mapped::Libraries;
use super::origin::Origins;
use super::users::effective_uid;
use crate::model::{LONGEST_COMMAND_LINE, Parent, Pid, Process, file_name};
use crate::observe::TreeProcess;

/// The maximum size of a small file of a process. These files contain a name of 16 bytes, some numbers, or the paths of
/// control groups.
const LONGEST: usize = 64 * 1024;
/// The maximum number of ancestors to read. Real processes have far fewer ancestors.
const PARENTS: usize = 64;

#[derive(Clone, Copy, Debug)]
pub(super) struct ReadRequest {
    pub pid: Pid,
    /// Whether to read everything. If false, only the parts that identify the program are read.
    pub everything: bool,
    /// Whether the unit and the container are already known from the sockets of the process.
    pub unit_known: bool,
    /// Whether to search the working directory for the project. Has no effect without `everything`.
    pub project: bool,
    pub cmdline: bool,
    /// Whether to check the executable files that the process has mapped.
    pub maps: bool,
}

/// Reads processes, and caches the data that processes share.
#[derive(Default)]
pub(super) struct Reader {
    /// The boot time of the machine. It is read on first use.
    booted: OnceCell<Option<Timestamp>>,
    ancestry: HashMap<Pid, Option<Stat>>,
    parent_uids: HashMap<Pid, Option<u32>>,
    origins: Origins,
    libraries: Libraries,
    /// The processes that could not be judged, each with the reason. Either the program file is unknown, or it is
    /// unknown who can replace the file.
    pub unjudged: Vec<(Pid, String)>,
    /// The processes with code in memory that does not come from a file.
    pub code_without_file: Vec<Pid>,
}

/// Some fields of `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    state: char,
    parent: Pid,
    has_terminal: bool,
    is_kernel_thread: bool,
    /// The start time in clock ticks since boot.
    started: u64,
}

impl Reader {
    /// Reads only the name. This is fast, and every user may read the name of every process.
    pub(super) fn name(pid: Pid) -> Option<String> {
        comm(open(pid).ok()?)
    }

    /// Reads only the parts that identify the program. The unit and the container are read too if they are not known
    /// from the sockets.
    pub(super) fn program(&mut self, job: ReadRequest) -> Process {
        let Ok(process) = open(job.pid) else { return Process::unknown(job.pid) };
        let Membership { unit, container, .. } =
            if job.unit_known { Membership::default() } else { membership(&process) };
        let stat = slurp_at(&process, "stat", 1024, LONGEST).ok();
        let (name, state) = stat.as_deref().and_then(parse_stat).map(|stat| (stat.name, stat.state)).unzip();
        Process {
            uid: effective_uid(&process),
            state,
            unit,
            container,
            ..self.what_runs(job, &process, name)
        }
    }

    /// Reads everything except the name of the user. A value that cannot be read is `None`; the result is `None` if the
    /// process has ended.
    pub(super) fn process(&mut self, job: ReadRequest) -> Option<Process> {
        let stat = self.stat(job.pid)?;
        let process = open(job.pid).ok()?;
        let Membership { unit, container, .. } = membership(&process);
        let cwd = readlinkat(&process, "cwd", Vec::new()).ok();
        let cwd = cwd.map(|cwd| String::from_utf8_lossy(cwd.as_bytes()).into_owned());
        Some(Process {
            uid: effective_uid(&process),
            project: cwd.as_deref().filter(|_| job.project).and_then(|cwd| project(&process, cwd)),
            cwd,
            state: Some(stat.state),
            started: self.started(&stat),
            parents: self.parents(stat.parent),
            unit,
            container,
            ..self.what_runs(job, &process, Some(stat.name))
        })
    }

    /// Reads the program file, the script, further code and the command line. If `name` is the name of a loader, the
    /// name of the loaded program replaces it.
    fn what_runs(&mut self, job: ReadRequest, process: &OwnedFd, name: Option<String>) -> Process {
        let link = executable::link(process);
        let living = executable::living_thread(process, &link);
        let (process, link) = match &living {
            Some(thread) => (thread, executable::link(thread)),
            None => (process, link),
        };
        let cmdline = if job.cmdline { cmdline(process) } else { Vec::new() };
        let libraries = job.maps.then_some(&mut self.libraries);
        let files = executable::program((process, link), &cmdline, &mut self.origins, libraries);
        let ProgramFiles { exe, origin, script, code, is_mapped: is_program_mapped, .. } = files;
        let (loader, cmdline) = match files.loaded_by {
            Some((loader, cmdline)) => (Some(loader), cmdline),
            None => (None, cmdline),
        };
        self.unjudged.extend(files.trouble.map(|why| (job.pid, why)));
        self.code_without_file.extend(files.has_code_without_file.then_some(job.pid));
        let process = Process {
            exe,
            loader,
            origin,
            script,
            code,
            is_program_mapped,
            cmdline,
            ..Process::unknown(job.pid)
        };
        let is_of_loader =
            |name: &str| process.loader.as_deref().is_some_and(|loader| is_named_after(name, loader));
        let name = match &process.exe {
            Some(exe) if name.as_deref().is_some_and(is_of_loader) => Some(file_name(&exe.path).to_owned()),
            _ => name,
        };
        Process { name, ..process }
    }

    fn stat(&mut self, pid: Pid) -> Option<Stat> {
        self.ancestry
            .entry(pid)
            .or_insert_with(|| parse_stat(&slurp(format!("/proc/{pid}/stat"), 1024, LONGEST).ok()?))
            .clone()
    }

    fn parents(&mut self, first: Pid) -> Vec<Parent> {
        let mut parents: Vec<Parent> = Vec::new();
        let mut pid = first;
        while pid != 0 && parents.len() < PARENTS && !parents.iter().any(|parent| parent.pid == pid) {
            let Some(stat) = self.stat(pid) else { break };
            parents.push(Parent { uid: self.parent_uid(pid), ..Parent::new(pid, stat.name) });
            pid = stat.parent;
        }
        parents
    }

    fn parent_uid(&mut self, pid: Pid) -> Option<u32> {
        *self.parent_uids.entry(pid).or_insert_with(|| effective_uid(&open(pid).ok()?))
    }

    fn started(&self, stat: &Stat) -> Option<Timestamp> {
        let booted = *self.booted.get_or_init(|| {
            let text = fs::read_to_string("/proc/stat").ok()?;
            let seconds = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
            Timestamp::from_second(seconds).ok()
        });
        booted?.checked_add(since_boot_of(stat.started)?).ok()
    }
}

/// Returns whether the kernel gave a process this name because the process runs the file at `path`. The kernel cuts a
/// long file name (`TASK_COMM_LEN` of linux/sched.h).
fn is_named_after(name: &str, path: &str) -> bool {
    let file = file_name(path);
    name == file || (name.len() >= 15 && file.starts_with(name))
}

/// The maximum number of threads whose start time is read. `/proc` lists the oldest threads first.
const OLDEST_THREADS: usize = 16;

/// Returns the time since which a process runs its program, as exactly as `/proc` shows it. `None` if the process has
/// ended.
///
/// The kernel shows when a process was created. Afterwards the process may have started another program (`execve(2)`).
/// For example, a start script becomes the server. `execve(2)` ends all other threads, so every other thread of the
/// process is younger than the program. If there are other threads, the start time of the oldest is returned.
pub(super) fn running_since(process: &OwnedFd) -> Option<Timestamp> {
    let ticks = |path: String| Some(parse_stat(&slurp_at(process, path, 1024, LONGEST).ok()?)?.started);
    let created = ticks("stat".to_owned())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let threads = openat(process, "task", flags, Mode::empty()).and_then(|task| numbers_in(&task));
    let threads = threads.unwrap_or_default().into_iter().skip(1).take(OLDEST_THREADS);
    let oldest = threads.filter_map(|thread| ticks(format!("task/{thread}/stat"))).min();
    // `clock_gettime` is used because `btime` of `/proc/stat` has only whole seconds.
    let [now, since_boot] = [ClockId::Realtime, ClockId::Boottime].map(|clock| {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
        Some(SignedDuration::new(tv_sec, i32::try_from(tv_nsec).ok()?))
    });
    let booted = now?.checked_sub(since_boot?)?;
    Timestamp::from_duration(booted.checked_add(since_boot_of(oldest.unwrap_or(created))?)?).ok()
}

fn since_boot_of(ticks: u64) -> Option<SignedDuration> {
    let per_second = rustix::param::clock_ticks_per_second();
    let seconds = i64::try_from(ticks / per_second).ok()?;
    let nanoseconds = i64::try_from(ticks % per_second * (1_000_000_000 / per_second)).ok()?;
    Some(SignedDuration::new(seconds, i32::try_from(nanoseconds).ok()?))
}

/// Returns the names of the kernel's threads. A kernel thread is a child of `kthreadd` (process 2), so an ordinary
/// process cannot imitate a kernel thread.
pub(super) fn kernel_threads() -> HashSet<String> {
    let thread = |pid: Pid| {
        let stat = parse_stat(&slurp(format!("/proc/{pid}/stat"), 1024, LONGEST).ok()?)?;
        (stat.is_kernel_thread && stat.parent == 2).then_some(stat.name)
    };
    numbers("/proc").unwrap_or_default().into_iter().filter_map(thread).collect()
}

pub(super) fn tree() -> Vec<TreeProcess> {
    let own = readlinkat(CWD, "/proc/self/ns/pid", Vec::new()).ok();
    let process = |pid: Pid| {
        let process = open(pid).ok()?;
        let Stat { name, parent, has_terminal, .. } =
            parse_stat(&slurp_at(&process, "stat", 1024, LONGEST).ok()?)?;
        let Membership { unit, container, is_in_nested_container } = membership(&process);
        let namespace = readlinkat(&process, "ns/pid", Vec::new()).ok().filter(|of| Some(of) != own.as_ref());
        let is_first_in_namespace = namespace.is_some() && is_first_in_namespace(&process);
        let pid_namespace = namespace.map(|link| String::from_utf8_lossy(link.as_bytes()).into_owned());
        Some(TreeProcess {
            pid,
            parent,
            name,
            has_terminal,
            unit,
            container,
            is_in_nested_container,
            pid_namespace,
            is_first_in_namespace,
        })
    };
    numbers("/proc").unwrap_or_default().into_iter().filter_map(process).collect()
}

/// Returns whether a process is process 1 of its pid namespace. The last number of `NSpid` is the pid in this namespace
/// (proc_pid_status(5)).
fn is_first_in_namespace(process: impl AsFd) -> bool {
    let status = slurp_at(process, "status", 4096, LONGEST).unwrap_or_default();
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"));
    line.is_some_and(|line| line.ends_with(b"\t1"))
}

/// Returns whether a process is `kthreadd`, which is the parent of the kernel's threads.
pub(super) fn is_kthreadd(pid: Pid) -> bool {
    let stat = slurp(format!("/proc/{pid}/stat"), 1024, LONGEST).ok();
    stat.and_then(|stat| parse_stat(&stat)).is_some_and(|stat| stat.is_kernel_thread && stat.parent == 0)
}

/// `PF_KTHREAD` (linux/sched.h), one of the flags of a task.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// Parses `PID (NAME) STATE PARENT …`. The name ends at the last parenthesis, because the name itself may contain
/// parentheses.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let open = bytes.iter().position(|b| *b == b'(')?;
    let close = bytes.iter().rposition(|b| *b == b')')?;
    let name = String::from_utf8_lossy(bytes.get(open + 1..close)?).into_owned();
    let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?; // the text begins with field 3 of proc_pid_stat(5)
    let parent = fields.next()?.parse().ok()?; // field 4
    let has_terminal = fields.nth(2)? != "0"; // field 7
    let flags: u32 = fields.nth(1)?.parse().ok()?; // field 9
    let started = fields.nth(12)?.parse().ok()?; // field 22
    let is_kernel_thread = flags & KERNEL_THREAD != 0;
    Some(Stat { name, state, parent, has_terminal, is_kernel_thread, started })
}

/// Opens the directory of a process in `/proc`. The open directory always refers to this process, even if another
/// process gets its pid later.
pub(super) fn open(pid: Pid) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, format!("/proc/{pid}"), flags, Mode::empty())
}

fn comm(process: impl AsFd) -> Option<String> {
    let mut bytes = slurp_at(process, "comm", 64, LONGEST).ok()?;
    bytes.pop_if(|last| *last == b'\n');
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn cmdline(process: impl AsFd) -> Vec<String> {
    let mut bytes = slurp_at(process, "cmdline", 1024, LONGEST_COMMAND_LINE).unwrap_or_default();
    // If a process overwrites its command line with a shorter text, the rest is filled with zeros.
    while bytes.pop_if(|last| *last == 0).is_some() {}
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|b| *b == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

const VERSION_CONTROL: [&str; 4] = [".git", ".hg", ".jj", ".svn"];
/// The maximum number of directories to search.
const LEVELS: usize = 32;

/// Returns the name of the nearest version-controlled directory at or above the working directory `cwd`.
fn project(process: &OwnedFd, cwd: &str) -> Option<String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut directory = openat(process, "cwd", flags, Mode::empty()).ok()?;
    for name in cwd.rsplit('/').take_while(|name| !name.is_empty()).take(LEVELS) {
        let has = |data: &&str| statat(&directory, *data, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if VERSION_CONTROL.iter().any(has) {
            return Some(name.to_owned());
        }
        directory = openat(&directory, "..", flags, Mode::empty()).ok()?;
    }
    None
}

pub(super) fn unit(pid: Pid) -> Option<String> {
    membership(open(pid).ok()?).unit
}

pub(super) fn container(pid: Pid) -> Option<String> {
    membership(open(pid).ok()?).container
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Membership {
    unit: Option<String>,
    container: Option<String>,
    is_in_nested_container: bool,
}

fn membership(process: impl AsFd) -> Membership {
    let groups = slurp_at(process, "cgroup", 1024, LONGEST).unwrap_or_default();
    membership_in(&String::from_utf8_lossy(&groups))
}

/// Parses `/proc/PID/cgroup` (`HIERARCHY:CONTROLLERS:PATH`, one per line). The unit is in the hierarchy of systemd or
/// in the unified hierarchy. The container may be in any hierarchy.
fn membership_in(text: &str) -> Membership {
    let mut found = Membership::default();
    // Several hierarchies often have the same path. Each path is searched only once.
    let mut last = None;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if matches!(controllers, "" | "name=systemd") {
            found.unit = found.unit.or_else(|| cgroup::unit(path));
        }
        if found.container.is_none() && last != Some(path) {
            found.container = cgroup::container(path);
            found.is_in_nested_container = cgroup::is_in_nested_container(path);
        }
        last = Some(path);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_forge_fields() {
        let stat = b"77 (x) S 1 1 1 () R 42 77 77 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2 3";
        assert_eq!(
            parse_stat(stat),
            Some(Stat {
                name: "x) S 1 1 1 (".to_owned(),
                state: 'R',
                parent: 42,
                has_terminal: false,
                is_kernel_thread: false,
                started: 98765
            })
        );
        let on_terminal = b"77 (x) S 42 77 77 34816 77 4194304 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2 3";
        assert_eq!(parse_stat(on_terminal).map(|stat| (stat.has_terminal, stat.parent)), Some((true, 42)));
        assert_eq!(parse_stat(b"77 (x"), None);
        assert_eq!(parse_stat(b"77 x) S 1"), None);
        assert_eq!(parse_stat(b")("), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn the_project_is_the_nearest_version_controlled_directory() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().canonicalize().unwrap();
        fs::create_dir_all(path.join("shop/.git/x")).unwrap();
        fs::create_dir_all(path.join("shop/api/src")).unwrap();
        for (cwd, project_there) in [("shop", Some("shop")), ("shop/api/src", Some("shop")), ("", None)] {
            let process = path.join("process");
            let cwd = path.join(cwd);
            std::os::unix::fs::symlink(&cwd, process.with_extension("cwd")).unwrap();
            fs::create_dir(&process).unwrap();
            fs::rename(process.with_extension("cwd"), process.join("cwd")).unwrap();
            let opened = fs::File::open(&process).unwrap().into();
            let found = project(&opened, cwd.to_str().unwrap());
            assert_eq!(found.as_deref(), project_there, "{cwd:?}");
            fs::remove_dir_all(&process).unwrap();
        }
    }

    #[test]
    fn membership_takes_the_unit_from_systemd() {
        let text = "12:pids:/docker/x\n1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n";
        let unit = Some("a.service".to_owned());
        assert_eq!(membership_in(text), Membership { unit, ..Membership::default() });
        assert_eq!(membership_in("garbage\n"), Membership::default());
    }
}
