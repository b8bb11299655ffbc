//! The file that a process runs: its path, whether the file is still at this path, and the users who can replace it.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, Stat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::file_state::path_and_state;
use super::loader::{self, Loaded, Search};
use super::mapped::{Libraries, Mapper};
use super::open_jars::open_jars;
use super::origin::Origins;
use super::script::{loaded, script};
use super::tree::Tree;
use crate::model::interpreter::is_interpreter;
use crate::model::loaded_code::is_java;
use crate::model::{Exe, ExeState, Origin, OriginKind, Process, ReplaceableBy, Script, file_name};

/// The maximum number of threads to try if the first thread of a process has ended.
const THREADS: usize = 64;

/// The program of a process. A part that could not be read is `None`.
#[derive(Debug, Default)]
pub(super) struct ProgramFiles {
    pub exe: Option<Exe>,
    pub origin: Option<Origin>,
    /// The path of the loader and the command line of the program, if a loader runs the program.
    pub loaded_by: Option<(String, Vec<String>)>,
    pub script: Option<Script>,
    /// Other files with code. Only files that are less trustworthy than the program file and the script are listed.
    pub code: Vec<Script>,
    /// Whether the memory of the process contains code of the program file. `None` if this was not checked.
    pub is_mapped: Option<bool>,
    /// Whether the memory of the process contains code that does not come from a file. Always false for an interpreter.
    pub has_code_without_file: bool,
    /// The reason why the program file, or the users who can replace it, are unknown.
    pub trouble: Option<String>,
}

/// The maximum number of files in `ProgramFiles::code`. One file is enough for a finding.
const CODE: usize = 8;

const NO_ORIGIN: &str = "the directories above the program file could not be checked";

pub(super) fn link(process: &OwnedFd) -> Result<CString, Errno> {
    readlinkat(process, "exe", Vec::new())
}

/// Reads the program of a process from its directory in `/proc`. `link` is the target of the link `exe`. `libraries` is
/// a cache of checked files. If it is given, the mapped files are checked too.
pub(super) fn program(
    (process, mut link): (&OwnedFd, Result<CString, Errno>),
    cmdline: &[String],
    origins: &mut Origins,
    libraries: Option<&mut Libraries>,
) -> ProgramFiles {
    let Some(tree) = origins.tree(process) else {
        return ProgramFiles { trouble: link.err().map(why), ..ProgramFiles::default() };
    };
    let mut program = ProgramFiles::default();
    // An upgrade may replace the file after its path was read. The path then does not match the file, so a second
    // attempt is made.
    for _ in 0..2 {
        let running = statat(process, "exe", AtFlags::empty()).ok();
        match &link {
            Ok(target) => {
                let (exe, origin) = executable(target.as_bytes(), running.as_ref(), &tree, origins);
                (program.exe, program.origin) = (Some(exe), origin);
            }
            Err(errno) => program.trouble = Some(why(*errno)),
        }
        if program.origin.as_ref().is_none_or(|origin| origin.kind != OriginKind::Elsewhere) {
            break;
        }
        link = self::link(process);
    }
    if program.exe.is_some() && program.origin.is_none() {
        program.trouble = Some(NO_ORIGIN.to_owned());
    }
    let mut code_of_loader = None;
    if let Some(exe) = &program.exe {
        match loader::search(process, &exe.path, cmdline, &tree) {
            Search::NoLoader => {}
            Search::NotFound => {
                program
                    .trouble
                    .get_or_insert_with(|| format!("{} runs a program that was not found", exe.path));
            }
            Search::Found(Loaded { path, file, cmdline }) => {
                let loader = exe.path.clone();
                let of_loader = program.origin.take();
                let (exe, origin) = executable(&path, file.as_ref(), &tree, origins);
                if origin.is_none() {
                    program.trouble.get_or_insert_with(|| NO_ORIGIN.to_owned());
                }
                (program.exe, program.origin) = (Some(exe), origin);
                code_of_loader = Some(Script { path: loader.clone(), origin: of_loader, is_program: false });
                program.loaded_by = Some((loader, cmdline));
            }
        }
    }
    let cmdline = program.loaded_by.as_ref().map_or(cmdline, |(_, cmdline)| cmdline);
    let exe = program.exe.as_ref().map(|exe| exe.path.as_str()).unwrap_or_default();
    let name = file_name(exe);
    program.script = script(process, exe, cmdline, &tree, origins);
    let loaded = loaded(process, name, cmdline, &tree, origins);
    program.code = loaded.files;
    program.code.extend(code_of_loader);
    if is_java(name) {
        program.code.extend(open_jars(process, &tree, origins));
    }
    if !loaded.is_complete {
        program
            .trouble
            .get_or_insert_with(|| "the command line names too many code files to check".to_owned());
    }
    if let (Some(libraries), Ok(target)) = (libraries, &link) {
        let running = statat(process, "exe", AtFlags::empty()).ok();
        let (is_interpreter, target) = (is_interpreter(name), target.as_bytes());
        let mapper = Mapper { process, tree: &tree, program: (target, running.as_ref()), is_interpreter };
        let mapped = libraries.of(mapper, origins);
        program.is_mapped = mapped.has_program;
        program.has_code_without_file = mapped.has_code_without_file;
        program.code.extend(mapped.of_users);
        program.trouble = program.trouble.or_else(|| mapped.trouble.map(str::to_owned));
    }
    keep_least_trustworthy(&mut program);
    program
}

/// Keeps only the files of code that are less trustworthy than the program file and the script. The least trustworthy
/// file comes first.
fn keep_least_trustworthy(program: &mut ProgramFiles) {
    let ProgramFiles { exe, origin, script, code, .. } = program;
    let (exe, origin, script) = (exe.clone(), origin.clone(), script.clone());
    let by = ReplaceableBy::of(&Process { exe, origin, script, ..Process::unknown(0) });
    code.retain(|file| ReplaceableBy::of_script(file) > by);
    code.sort_by_key(|file| std::cmp::Reverse(ReplaceableBy::of_script(file)));
    code.dedup();
    code.truncate(CODE);
}

fn why(errno: Errno) -> String {
    match errno {
        Errno::NAMETOOLONG => "the path of the program file is longer than 4,095 bytes".to_owned(),
        errno => errno.to_string(),
    }
}

/// Returns the directory in `/proc` of a living thread, if the first thread of the process has ended. In this case the
/// directory of the process shows neither the program file nor the command line. `None` if the first thread lives, or
/// if no thread has a program file.
pub(super) fn living_thread(process: &OwnedFd, link: &Result<CString, Errno>) -> Option<OwnedFd> {
    if *link != Err(Errno::NOENT) {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tasks = openat(process, "task", flags, Mode::empty()).ok()?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&tasks, &mut buffer);
    let mut tried = 0;
    while let Some(Ok(entry)) = entries.next() {
        if entry.file_name().to_bytes().starts_with(b".") {
            continue;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(thread) = openat(&tasks, entry.file_name(), flags, Mode::empty())
            && self::link(&thread).is_ok()
        {
            return Some(thread);
        }
        tried += 1;
        if tried == THREADS {
            break;
        }
    }
    None
}

/// Returns the program file and its origin. `target` is the target of the link `exe`; `running` is the file that runs.
fn executable(
    target: &[u8],
    running: Option<&Stat>,
    tree: &Tree,
    origins: &mut Origins,
) -> (Exe, Option<Origin>) {
    let (path, mut state) = path_and_state(tree, target, running);
    // After a file system is unmounted, the kernel still returns a path below the former mount point.
    let is_nowhere = || matches!(tree.stat(path), Err(Errno::NOENT | Errno::NOTDIR));
    if state == ExeState::Present && running.is_some() && is_nowhere() {
        state = ExeState::Deleted;
    }
    let origin = match state {
        ExeState::Memfd => Some(Origin::of(OriginKind::Memory)),
        ExeState::Deleted if is_at_a_path_of_others(tree, path, running) => {
            Some(Origin::of(OriginKind::Elsewhere))
        }
        ExeState::Deleted => {
            let uid = running.and_then(|running| creator_of_deleted(tree, path, running, origins));
            Some(Origin { uid, ..Origin::of(OriginKind::Deleted) })
        }
        // The old file no longer exists, so the new file is judged. A user who can replace the new file could also have
        // replaced the old file.
        ExeState::Replaced => origins.of(tree, path, None).map(|origin| match origin.kind {
            OriginKind::User | OriginKind::Open => origin,
            _ => Origin::of(OriginKind::Deleted),
        }),
        ExeState::Present => match running {
            Some(running) => origins.of(tree, path, Some(running)).map(|origin| Origin {
                is_in_other_tree: origins.is_in_other_tree(tree, path, running),
                ..origin
            }),
            None => origins.of_mounting_user(tree, path),
        },
    };
    let open_directories = match state {
        ExeState::Memfd => None,
        _ => origins.open_directories(tree, path),
    };
    (Exe { path: String::from_utf8_lossy(path).into_owned(), state, open_directories }, origin)
}

/// Returns whether the running file certainly was never at this path of the machine. This is certain if the file
/// belongs neither to root nor to the owner of the file that is now at the path.
fn is_at_a_path_of_others(tree: &Tree, path: &[u8], running: Option<&Stat>) -> bool {
    let is_another_users =
        |there: Stat| running.is_some_and(|running| ![0, there.st_uid].contains(&running.st_uid));
    tree.stat(path).is_ok_and(is_another_users)
}

/// Returns the only user who could have created a deleted file at this path. The user is root if the file belongs to
/// root and only root can write to the directories above it. `None` if several users could have created the file. Also
/// `None` if the file was on another file system than the nearest directory, because any user can mount a file system
/// and detach it.
fn creator_of_deleted(tree: &Tree, path: &[u8], running: &Stat, origins: &mut Origins) -> Option<u32> {
    let mut above = path;
    let directory = loop {
        above = &above[..above.iter().rposition(|byte| *byte == b'/')?];
        match tree.stat(if above.is_empty() { b"/" } else { above }) {
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            found => break found.ok()?,
        }
    };
    let origin = origins.of_removed(tree, path).filter(|_| directory.st_dev == running.st_dev)?;
    let creator = match origin.kind {
        OriginKind::System => 0,
        OriginKind::User => origin.uid?,
        _ => return None,
    };
    [0, creator].contains(&running.st_uid).then_some(creator)
}
