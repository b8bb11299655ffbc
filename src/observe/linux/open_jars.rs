//! Finds the jars that a Java process has open. Java keeps open every jar from which it loads classes.
//!
//! The command line does not show all these jars, because the manifest of a jar can name other jars (`Class-Path`).

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, RawDir, openat, readlinkat};

use super::mapped::{FileOwner, owner_of};
use super::origin::Origins;
use super::script::of_kernel_path;
use super::tree::Tree;
use super::users::effective_uid;
use crate::model::{OriginKind, Script};

/// The maximum number of jars to return. One jar is enough for a finding.
const MOST: usize = 8;
const ENDINGS: [&[u8]; 3] = [b".jar", b".war", b".jar (deleted)"];

/// Returns the open jars that any user can replace. Servers unpack their jars into `/tmp`. So a jar that only the user
/// of the process can replace is left out, even if the directory above it is world-writable.
pub(super) fn open_jars(process: &OwnedFd, tree: &Tree, origins: &mut Origins) -> Vec<Script> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(descriptors) = openat(process, "fd", flags, Mode::empty()) else { return Vec::new() };
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&descriptors, &mut buffer);
    let (mut found, mut uid) = (Vec::new(), None);
    while let Some(Ok(entry)) = entries.next() {
        let path = readlinkat(&descriptors, entry.file_name(), Vec::new()).map(CString::into_bytes);
        let Ok(path) = path else { continue };
        if !ENDINGS.iter().any(|end| path.ends_with(end)) || found.len() == MOST {
            continue;
        }
        let path = path.strip_suffix(b" (deleted)").unwrap_or(&path);
        let Some(script) = of_kernel_path(tree, path, origins) else { continue };
        let owner = tree.stat(path).ok().and_then(|stat| owner_of(tree, path, &stat));
        let own = *uid.get_or_insert_with(|| effective_uid(process));
        let is_own = owner.is_some_and(|FileOwner { uid, .. }| Some(uid) == own);
        if script.origin.as_ref().is_some_and(|origin| origin.kind == OriginKind::Open) && !is_own {
            found.push(script);
        }
    }
    found
}
