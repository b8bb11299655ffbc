//! Finds the script, the jar or the class path that an interpreter runs, and the users who can replace it.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, readlinkat};
use rustix::io::{Errno, read};

use super::deleted_files::has_deleted_file_open;
use super::files::{slurp, slurp_at};
use super::origin::Origins;
use super::tree::{PATH_ONLY, Tree};
use crate::model::interpreter::{self, InterpreterCommand};
use crate::model::loaded_code;
use crate::model::python_modules::{installed_modules, modules_of_python, prefixes_of_environment};
use crate::model::relays::possible_programs;
use crate::model::{Origin, OriginKind, Script, file_name};

/// The maximum number of files of each kind to check. Application servers have a few hundred files of code.
const MOST_FILES: usize = 4096;
/// The maximum size of a Java argument file, in bytes. A class path can have several kilobytes.
const LONGEST_ARGUMENT_FILE: usize = 1024 * 1024;
/// The maximum size of an environment, in bytes. The kernel allows less.
const ENVIRONMENT: usize = 8 * 1024 * 1024;
/// The directories in which a file can be a descriptor of the process. A shell passes code to a program through a file
/// such as `/dev/fd/63`.
const DESCRIPTORS: [&str; 2] = ["/dev/fd/", "/proc/"];

/// Returns the script, the jar, or the least trustworthy element of the class path. A Python module is returned only if
/// it is in the working directory, or if any user can replace the installed module.
pub(super) fn script(
    process: &OwnedFd,
    exe: &str,
    cmdline: &[String],
    tree: &Tree,
    origins: &mut Origins,
) -> Option<Script> {
    let program = file_name(exe);
    let whole = with_argument_files(process, program, cmdline, tree);
    let cmdline = whole.as_deref().unwrap_or(cmdline);
    let outer = interpreter::parse_command(program, cmdline)?;
    let inner = interpreter::parse_innermost(program, cmdline).filter(|inner| *inner != outer);
    let commands = inner.into_iter().chain([outer]);
    // One script can run another. The less trustworthy script is returned. If both are equally trustworthy, the
    // inner script is returned, because its code runs.
    let scripts = commands.filter_map(|command| script_of(process, exe, cmdline, command, tree, origins));
    scripts.reduce(|inner, outer| if kind(&outer) > kind(&inner) { outer } else { inner })
}

/// Returns the installed Python module if any user can replace it, or if it is unknown who can replace it.
///
/// If no installed module is found, Python may have found the module elsewhere. The result is then `path_here` with an
/// unknown origin. `None` if Python does not search the working directory.
fn installed_module(
    process: &OwnedFd,
    exe: &str,
    cmdline: &[String],
    tree: &Tree,
    path_here: Option<&String>,
    origins: &mut Origins,
) -> Option<Script> {
    let mut search = |prefixes: &[String]| {
        let paths = installed_modules(exe, cmdline, prefixes);
        paths.iter().filter_map(|path| existing_file(process, tree, path, origins)).max_by_key(kind)
    };
    // If Python was started by a name without a path, only its environment shows which virtual environment is active.
    let named =
        || prefixes_of_environment(&slurp_at(process, "environ", 4096, ENVIRONMENT).unwrap_or_default());
    match search(&[]).or_else(|| search(&named())) {
        Some(found) => Some(found).filter(|found| kind(found).is_none_or(|kind| kind >= OriginKind::Open)),
        None => file(process, tree, path_here?, origins),
    }
}

fn script_of(
    process: &OwnedFd,
    exe: &str,
    cmdline: &[String],
    command: InterpreterCommand<'_>,
    tree: &Tree,
    origins: &mut Origins,
) -> Option<Script> {
    match command {
        InterpreterCommand::File(path) => file(process, tree, path, origins),
        InterpreterCommand::ClassPath(elements, _) => {
            let scripts = elements
                .iter()
                .take(MOST_FILES)
                .filter_map(|element| existing_file(process, tree, element, origins));
            scripts.max_by_key(kind).or_else(|| missing_class_path(process, tree, &elements, origins))
        }
        InterpreterCommand::Module(_) | InterpreterCommand::Code(_) => {
            let paths = modules_of_python(file_name(exe), cmdline);
            let here = paths.iter().filter_map(|path| existing_file(process, tree, path, origins));
            let here = here.max_by_key(kind);
            match command {
                InterpreterCommand::Module(_) if here.is_none() => {
                    installed_module(process, exe, cmdline, tree, paths.first(), origins)
                }
                _ => here,
            }
        }
        InterpreterCommand::Relay(_) | InterpreterCommand::Nothing => None,
    }
}

/// Returns the first element of a class path if none of its elements exists.
///
/// Java ignores missing elements, and keeps every jar open from which it loads code. If the process still has a deleted
/// file of the class path open, the code was deleted. Otherwise, the directories above the element show who could have
/// put code there.
fn missing_class_path(
    process: &OwnedFd,
    tree: &Tree,
    elements: &[&str],
    origins: &mut Origins,
) -> Option<Script> {
    let first = elements.first()?;
    let mut paths = elements.iter().filter_map(|element| located(process, tree, element));
    if paths.any(|(_, path)| has_deleted_file_open(process, &path)) || !first.starts_with('/') {
        return file(process, tree, first, origins);
    }
    let (root, path) = located(process, tree, first)?;
    let origin = origins.of_removed(&root, &path);
    Some(Script { path: String::from_utf8_lossy(&path).into_owned(), origin, is_program: false })
}

fn kind(script: &Script) -> Option<OriginKind> {
    script.origin.as_ref().map(|origin| origin.kind)
}

/// The files of code that the command line of a process names. The script itself is left out.
pub(super) struct LoadedCode {
    pub(super) files: Vec<Script>,
    pub(super) is_complete: bool,
}

/// Returns the files of code that the options of an interpreter load. Also returns the programs that the command line
/// may start.
pub(super) fn loaded(
    process: &OwnedFd,
    program: &str,
    cmdline: &[String],
    tree: &Tree,
    origins: &mut Origins,
) -> LoadedCode {
    let files = loaded_code::loaded_files(program, cmdline);
    let arguments = loaded_code::argument_files(program, cmdline);
    let directories = loaded_code::searched_directories(program, cmdline);
    let here = loaded_code::files_here(program, cmdline);
    let programs = possible_programs(program, cmdline);
    let whole = with_argument_files(process, program, cmdline, tree);
    let class_path = match interpreter::parse_command(program, whole.as_deref().unwrap_or(cmdline)) {
        Some(InterpreterCommand::ClassPath(elements, _)) => elements.len(),
        _ => 0,
    };
    let counts = [files.len(), arguments.len(), directories.len(), here.len(), programs.len(), class_path];
    let is_complete = counts.iter().all(|count| *count <= MOST_FILES);
    let files = files.into_iter().take(MOST_FILES);
    let mut found: Vec<Script> = files.filter_map(|path| file(process, tree, path, origins)).collect();
    let arguments = arguments.into_iter().take(MOST_FILES);
    found.extend(arguments.filter_map(|path| argument_file(process, tree, path, origins)));
    let directories = directories.into_iter().take(MOST_FILES);
    found.extend(directories.filter_map(|path| existing_file(process, tree, path, origins)));
    found.extend(here.iter().take(MOST_FILES).filter_map(|path| existing_file(process, tree, path, origins)));
    let programs = programs.into_iter().take(MOST_FILES);
    let programs = programs.filter(|path| may_be_executed(process, tree, path));
    let programs = programs.filter_map(|path| existing_file(process, tree, path, origins));
    found.extend(programs.map(|found| Script { is_program: false, ..found }));
    LoadedCode { files: found, is_complete }
}

/// Returns an argument file of Java. A file that only the user of the process can write is left out, because editors
/// create argument files in `/tmp`. A deleted file is left out too, because Java reads the file only when it starts.
fn argument_file(process: &OwnedFd, tree: &Tree, path: &str, origins: &mut Origins) -> Option<Script> {
    let (_, stat) = opened(process, tree, path)?;
    let others_write = Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH);
    let is_own = fstat(process).is_ok_and(|own| own.st_uid == stat.st_uid);
    existing_file(process, tree, path, origins).filter(|_| others_write || !is_own)
}

fn may_be_executed(process: &OwnedFd, tree: &Tree, path: &str) -> bool {
    opened(process, tree, path).is_some_and(|(_, stat)| is_executable(&stat))
}

pub(super) fn is_executable(stat: &Stat) -> bool {
    let mode = Mode::from_raw_mode(stat.st_mode);
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && mode.intersects(Mode::XUSR | Mode::XGRP | Mode::XOTH)
}

/// Opens the file at a path that a process names. The file is not opened for reading (`O_PATH`).
pub(super) fn opened(process: &OwnedFd, tree: &Tree, path: &str) -> Option<(OwnedFd, Stat)> {
    let (root, whole) = located(process, tree, path)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(&*root.root, root.below_root(&whole)?, PATH_ONLY, Mode::empty(), resolve).ok()?;
    let stat = fstat(&file).ok()?;
    Some((file, stat))
}

/// Returns the files and directories of code that the environment of a process names. Missing files are left out.
pub(super) fn named_by_environment(
    process: &OwnedFd,
    paths: &[String],
    origins: &mut Origins,
) -> Vec<Script> {
    let Some(tree) = origins.tree(process) else { return Vec::new() };
    let paths = paths.iter().take(MOST_FILES);
    paths.filter_map(|path| existing_file(process, &tree, path, origins)).collect()
}

/// Replaces each argument file (`@FILE`) in a command line of Java with the words in the file. `None` for other
/// programs, and for a command line without argument files.
fn with_argument_files(
    process: &OwnedFd,
    program: &str,
    cmdline: &[String],
    tree: &Tree,
) -> Option<Vec<String>> {
    if !loaded_code::is_java(program) || !cmdline.iter().any(|word| word.starts_with('@')) {
        return None;
    }
    let words = cmdline.iter().flat_map(|word| {
        let file = word.strip_prefix('@').and_then(|path| read_small_file(process, tree, path));
        file.map_or_else(|| vec![word.clone()], |text| words_of_argument_file(&text))
    });
    Some(words.collect())
}

/// Returns the words of a Java argument file. White space separates words, quotes can enclose them, and `#` begins a
/// comment.
fn words_of_argument_file(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut is_comment) = (Vec::new(), String::new(), None, false);
    for c in text.chars() {
        match (c, quote) {
            ('\n', _) => is_comment = false,
            _ if is_comment => continue,
            ('#', None) => is_comment = true,
            ('"' | '\'', None) => quote = Some(c),
            _ if quote == Some(c) => quote = None,
            _ if quote.is_some() || !c.is_whitespace() => {
                word.push(c);
                continue;
            }
            _ => {}
        }
        if quote.is_none() && c.is_whitespace() && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

fn read_small_file(process: &OwnedFd, tree: &Tree, path: &str) -> Option<String> {
    let (file, stat) = opened(process, tree, path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let bytes = slurp(link_to(&file), 4096, LONGEST_ARGUMENT_FILE).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the path of a file that a process names, and the tree in which to follow the path.
pub(super) fn located(process: &OwnedFd, tree: &Tree, path: &str) -> Option<(Tree, Vec<u8>)> {
    if path.starts_with('/') {
        // An absolute path starts at the root directory of the process. A path from the kernel starts at the root of
        // the mount namespace.
        let root = Tree::open(process, "root", Vec::new(), tree.namespace)?;
        return Some((root, path.as_bytes().to_vec()));
    }
    let mut whole = readlinkat(process, "cwd", Vec::new()).ok()?.into_bytes();
    if !whole.ends_with(b"/") {
        whole.push(b'/');
    }
    whole.extend(path.strip_prefix("./").unwrap_or(path).as_bytes());
    Some((tree.clone(), whole))
}

/// Returns the file at a path that the process names, and who can replace the file. If the file is missing,
/// [`of_missing`] gives its origin.
pub(super) fn file(process: &OwnedFd, tree: &Tree, path: &str, origins: &mut Origins) -> Option<Script> {
    existing_file(process, tree, path, origins).or_else(|| {
        let (root, whole) = located(process, tree, path)?;
        let origin = of_missing(&root, path, origins);
        Some(Script { path: String::from_utf8_lossy(&whole).into_owned(), origin, is_program: false })
    })
}

/// Returns the same as [`file`], but `None` if there is no file at the path.
fn existing_file(process: &OwnedFd, tree: &Tree, path: &str, origins: &mut Origins) -> Option<Script> {
    let (root, whole) = located(process, tree, path)?;
    let found = match of_link(tree, &root, &whole, origins) {
        // The path may have changed after the file was opened, so a second attempt is made.
        Some(found) if found.origin.as_ref().is_some_and(|origin| origin.kind == OriginKind::Elsewhere) => {
            of_link(tree, &root, &whole, origins)
        }
        found => found,
    };
    // The process may have changed its root directory after it read the script. So a file that is missing in this root
    // is also searched outside it.
    let found = found.or_else(|| {
        let has_changed_root = path.starts_with('/') && runs_outside_root(process);
        has_changed_root.then(|| of_link(tree, tree, &whole, origins)).flatten()
    });
    Some(found?.called(String::from_utf8_lossy(&whole).into_owned()))
}

/// Returns the file at a path from the kernel, and who can replace it. A path from the kernel starts at the root of the
/// mount namespace. If the file is missing, returns who could have put a file there.
pub(super) fn of_kernel_path(tree: &Tree, path: &[u8], origins: &mut Origins) -> Option<Script> {
    let found = of_link(tree, tree, path, origins)
        .or_else(|| Some(File { origin: origins.of_removed(tree, path), is_program: false }));
    Some(found?.called(String::from_utf8_lossy(path).into_owned()))
}

/// Returns whether the program file of a process is outside its root directory.
fn runs_outside_root(process: &OwnedFd) -> bool {
    let link = |name| readlinkat(process, name, Vec::new()).ok().map(std::ffi::CString::into_bytes);
    let (Some(exe), Some(root)) = (link("exe"), link("root")) else { return false };
    let root = root.strip_suffix(b"/").unwrap_or(&root);
    !exe.strip_prefix(root).is_some_and(|below| below.starts_with(b"/"))
}

/// Returns the origin of a file that does not exist. The origin is open if any user could write to the directories
/// above the file; otherwise it is deleted. `None` for the name of a descriptor. Also `None` for a relative path,
/// because the process may have changed its working directory.
fn of_missing(root: &Tree, path: &str, origins: &mut Origins) -> Option<Origin> {
    if !path.starts_with('/') || DESCRIPTORS.iter().any(|directory| path.starts_with(directory)) {
        return None;
    }
    let open = origins.of_removed(root, path.as_bytes()).filter(|origin| origin.kind == OriginKind::Open);
    Some(open.unwrap_or(Origin::of(OriginKind::Deleted)))
}

struct File {
    origin: Option<Origin>,
    is_program: bool,
}

impl File {
    fn called(self, path: String) -> Script {
        Script { path, origin: self.origin, is_program: self.is_program }
    }
}

/// Returns who can replace the file at a path below `root`. Users who can replace a symbolic link in this path count
/// too. `None` if there is no file.
fn of_link(tree: &Tree, root: &Tree, path: &[u8], origins: &mut Origins) -> Option<File> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let unknown = Some(File { origin: None, is_program: false });
    let Some(below_root) = root.below_root(path) else { return unknown };
    let file = match openat2(&*root.root, below_root, PATH_ONLY, Mode::empty(), resolve) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return None,
        Err(_) => return unknown,
    };
    let Ok(stat) = fstat(&file) else { return unknown };
    let origin = of_opened(tree, root, path, &file, &stat, origins);
    Some(File { origin, is_program: is_program(&file, &stat) })
}

fn of_opened(
    tree: &Tree,
    root: &Tree,
    path: &[u8],
    file: &OwnedFd,
    stat: &Stat,
    origins: &mut Origins,
) -> Option<Origin> {
    let found = readlinkat(CWD, link_to(file), Vec::new()).ok()?.into_bytes();
    let mut resolved = origins.of(tree, &found, Some(stat))?;
    resolved.is_in_other_tree = origins.is_in_other_tree(tree, &found, stat);
    let written = origins.above(root, path)?;
    if resolved.kind < OriginKind::Open
        && let Some(directory) = written.open.first()
    {
        return Some(Origin {
            kind: OriginKind::Open,
            writable: Some(directory.clone()),
            uid: None,
            ..resolved
        });
    }
    match written.user {
        Some((directory, uid)) if resolved.kind < OriginKind::User => {
            Some(Origin { kind: OriginKind::User, writable: Some(directory), uid, ..resolved })
        }
        _ => Some(resolved),
    }
}

pub(super) fn link_to(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Returns whether a file is a compiled program, which begins with the magic number of ELF. The file is read only if
/// its mode makes it executable.
fn is_program(file: &OwnedFd, stat: &Stat) -> bool {
    if !is_executable(stat) {
        return false;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(file) = openat(CWD, link_to(file), flags, Mode::empty()) else { return false };
    let mut start = [0; 4];
    read(&file, &mut start).is_ok_and(|length| length == start.len()) && start == *b"\x7fELF"
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    /// Python searches the working directory before the directories of installed modules. So any user who can write to
    /// the working directory can change the running code.
    #[test]
    fn a_module_in_the_working_directory_is_the_script() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("evilm.py"), "").unwrap();
        let mut process = Command::new("sleep").arg("60").current_dir(directory.path()).spawn().unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, format!("/proc/{}", process.id()), flags, Mode::empty()).unwrap();
        let mut origins = Origins::default();
        let tree = origins.tree(&opened).unwrap();
        for (arguments, is_found) in [
            (["-m", "evilm"], true),
            (["-c", "import evilm"], true),
            (["-m", "http.server"], false),
            (["-Ic", "import evilm"], false),
        ] {
            let mut cmdline = vec!["python3".to_owned()];
            cmdline.extend(arguments.map(str::to_owned));
            let found = script(&opened, "python3.11", &cmdline, &tree, &mut origins);
            assert_eq!(
                found.is_some_and(|script| script.path.ends_with("/evilm.py")),
                is_found,
                "{arguments:?}"
            );
        }
        // The last cases are a deleted script, and a script that runs in a debugger.
        fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let module = directory.path().join("evilm.py").to_str().unwrap().to_owned();
        let gone = directory.path().join("gone.py").to_str().unwrap().to_owned();
        for (arguments, path, kind) in [
            (vec![gone.as_str()], gone.as_str(), Some(OriginKind::Open)),
            (vec!["/nowhere/gone.py"], "/nowhere/gone.py", Some(OriginKind::Deleted)),
            (vec!["/dev/fd/63"], "/dev/fd/63", None),
            (vec!["-m", "pdb", "-c", "c", &module], &module, Some(OriginKind::Open)),
        ] {
            let words = std::iter::once("python3").chain(arguments);
            let cmdline: Vec<String> = words.map(str::to_owned).collect();
            let found = script(&opened, "python3.11", &cmdline, &tree, &mut Origins::default()).unwrap();
            assert_eq!((found.path.as_str(), found.origin.map(|origin| origin.kind)), (path, kind));
        }
        let java = ["java", "-cp", "/nowhere/conf:/nowhere/lib/*", "com.example.Main"].map(str::to_owned);
        let found = script(&opened, "java", &java, &tree, &mut origins).unwrap();
        assert_eq!(found.path, "/nowhere/conf");
        assert_eq!(found.origin.map(|origin| origin.kind), Some(OriginKind::System));
        let nowhere = ["python3", "-m", "no_such_module"].map(str::to_owned);
        let found = script(&opened, "python3.11", &nowhere, &tree, &mut origins).unwrap();
        assert_eq!(found.origin, None);
        process.kill().unwrap();
        process.wait().unwrap();
    }

    #[test]
    fn argument_files_of_java() {
        let text = "-cp /home/u # a comment\n-Dx=\"a b\" 'c d'\n\n Main";
        assert_eq!(words_of_argument_file(text), ["-cp", "/home/u", "-Dx=a b", "c d", "Main"]);
        assert_eq!(words_of_argument_file("# -cp /x"), [""; 0]);
    }

    #[test]
    fn compiled_programs_are_no_scripts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        for (name, text, mode, is) in [
            ("program", &b"\x7fELF\x02\x01"[..], 0o755, true),
            ("script", b"#!/bin/sh\n", 0o755, false),
            ("short", b"\x7fEL", 0o755, false),
            ("not executable", b"\x7fELF\x02\x01", 0o644, false),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            let file = openat(CWD, &path, PATH_ONLY, Mode::empty()).unwrap();
            assert_eq!(is_program(&file, &fstat(&file).unwrap()), is, "{name}");
        }
    }
}
