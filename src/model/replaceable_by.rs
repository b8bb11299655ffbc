//! The users who can replace a running file.

use super::{Exe, ExeState, OriginKind, Process, RunTarget, Script};

/// Directories in which a user who is not root has files.
const USER_DIRECTORIES: [&str; 4] = ["/home/", "/run/user/", "/Users/", r"C:\Users\"];
/// Directories in which every user can create files.
const OPEN_DIRECTORIES: [&str; 3] = ["/tmp/", "/var/tmp/", "/dev/shm/"];

/// The users who can replace a running file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplaceableBy {
    /// Only root, as far as is known.
    Root,
    /// Unknown: the script in the command line does not exist, or could not be read.
    Unknown,
    /// A user who is not root.
    User,
    /// Any user. This includes a running file that is no longer on disk, if its creator is not known.
    Anyone,
}

impl ReplaceableBy {
    /// Returns who can replace the least trustworthy file of a process: its program file, its script or further code.
    #[must_use]
    pub fn of(process: &Process) -> Self {
        let files = process.script.iter().chain(&process.code).map(Self::of_script);
        files.fold(Self::of_file(process), Self::max)
    }

    /// Returns who can replace a script or a library.
    #[must_use]
    pub fn of_script(script: &Script) -> Self {
        match script.origin.as_ref().map(|origin| origin.kind) {
            Some(OriginKind::Open | OriginKind::Memory | OriginKind::Elsewhere) => ReplaceableBy::Anyone,
            Some(OriginKind::User) => ReplaceableBy::User,
            Some(OriginKind::Package | OriginKind::System) if !script.is_program => ReplaceableBy::Root,
            _ => ReplaceableBy::Unknown,
        }
    }

    /// Returns who can replace the program file. The origin of the file decides. If the origin is not known, the path
    /// decides. Code that was loaded into a program counts too. Code that an interpreter loads does not count, because
    /// interpreters often run code of users.
    #[must_use]
    pub fn of_file(process: &Process) -> Self {
        let file = Self::of_program_file(process);
        if process.code.is_empty() || RunTarget::of(process) != RunTarget::None {
            return file;
        }
        process.code.iter().map(Self::of_script).fold(file, Self::max)
    }

    fn of_program_file(process: &Process) -> Self {
        let Some(exe) = &process.exe else { return ReplaceableBy::Root };
        let origin = process.origin.as_ref();
        if exe.state == ExeState::Memfd || process.is_program_mapped == Some(false) {
            return ReplaceableBy::Anyone;
        }
        if exe.state == ExeState::Deleted {
            let deleted = origin.filter(|origin| origin.kind == OriginKind::Deleted);
            return match deleted.and_then(|origin| origin.uid) {
                Some(0) => ReplaceableBy::Root,
                Some(_) => ReplaceableBy::User,
                None => ReplaceableBy::Anyone,
            };
        }
        match origin.map(|origin| origin.kind) {
            Some(OriginKind::Package | OriginKind::System) => ReplaceableBy::Root,
            Some(OriginKind::User) => ReplaceableBy::User,
            Some(OriginKind::Open | OriginKind::Memory | OriginKind::Elsewhere) => ReplaceableBy::Anyone,
            // The file was replaced, for example by an upgrade, or its origin is not known. Only its path can be
            // judged.
            Some(OriginKind::Deleted) | None => Self::of_path(exe),
        }
    }

    fn of_path(exe: &Exe) -> Self {
        let is_below =
            |directories: &[&str]| directories.iter().any(|directory| exe.path.starts_with(directory));
        let has_open = exe.open_directories.as_ref().is_some_and(|directories| !directories.is_empty());
        match () {
            () if has_open || is_below(&OPEN_DIRECTORIES) => ReplaceableBy::Anyone,
            () if is_below(&USER_DIRECTORIES) => ReplaceableBy::User,
            () => ReplaceableBy::Root,
        }
    }
}
