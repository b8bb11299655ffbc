//! Finds the program that a loader runs in its own process. Examples of loaders are the dynamic loader and emulators.
//!
//! A process can change its command line. So the command line alone is not enough: the program must also be mapped in
//! the memory of the process.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, Stat, readlinkat, statat};

use super::mapped::mapped_paths;
use super::script::{is_executable, link_to, opened};
use super::tree::{Tree, is_same};
use crate::model::file_name;
use crate::model::loaders::{Loader, loaded_program, loader};

pub(super) struct Loaded {
    /// The path from the kernel. The path of a deleted file ends in ` (deleted)`.
    pub path: Vec<u8>,
    pub file: Option<Stat>,
    pub cmdline: Vec<String>,
}

pub(super) enum Search {
    NoLoader,
    Found(Loaded),
    NotFound,
}

/// Finds the program of a loader. If a mapped file is on the command line, this file is the program. Otherwise exactly
/// one mapped file must look like a program.
pub(super) fn search(process: &OwnedFd, path: &str, cmdline: &[String], tree: &Tree) -> Search {
    let Some(kind) = loader(file_name(path)) else { return Search::NoLoader };
    let mapped = mapped_paths(process, kind == Loader::Native).unwrap_or_default();
    let mut mapped: Vec<(Vec<u8>, Option<Stat>)> = mapped
        .into_iter()
        .filter(|(_, mapped)| mapped != path.as_bytes())
        .map(|(range, path)| {
            // The link can be followed only with a capability, and a thread has no directory `map_files`. In these
            // cases, the path is used.
            let link = statat(process, format!("map_files/{range}"), AtFlags::empty());
            let file = link.or_else(|_| tree.stat(&path)).ok();
            (path, file)
        })
        .collect();
    let named = loaded_program(file_name(path), cmdline);
    let opened = named.as_ref().and_then(|named| {
        let (file, stat) = opened(process, tree, named.path)?;
        Some((readlinkat(CWD, link_to(&file), Vec::new()).ok()?.into_bytes(), stat))
    });
    let is_named = |(path, file): &(Vec<u8>, Option<Stat>)| {
        opened
            .as_ref()
            .is_some_and(|(at, opened)| file.as_ref().is_some_and(|file| is_same(file, opened)) || path == at)
    };
    let at = mapped.iter().position(is_named);
    let (path, file) = match at {
        Some(at) => mapped.swap_remove(at),
        None => {
            mapped.retain(|(path, file)| is_like_a_program(path, file.as_ref()));
            match mapped.len() {
                1 => mapped.swap_remove(0),
                _ => return Search::NotFound,
            }
        }
    };
    // The path on the command line may be relative, or the file may be deleted. So only the file names are compared.
    let shown = String::from_utf8_lossy(&path);
    let name = file_name(shown.strip_suffix(" (deleted)").unwrap_or(&shown));
    let of_program = named.filter(|named| at.is_some() || file_name(named.path) == name);
    let cmdline = of_program.map_or_else(|| cmdline.to_vec(), |named| named.cmdline);
    Search::Found(Loaded { path, file, cmdline })
}

/// Returns whether a mapped file looks like a program. Libraries and data do not.
fn is_like_a_program(path: &[u8], file: Option<&Stat>) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let is_library = name.windows(3).any(|part| part == b".so");
    !is_library && file.is_some_and(is_executable)
}
