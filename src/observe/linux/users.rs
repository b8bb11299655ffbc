//! Finds the names of users: first in `/etc/passwd`, then through the system's resolver.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, fstat, statat};

use super::files::slurp;

/// The maximum size of `/etc/passwd` in bytes, enough for 250,000 users.
const LONGEST: usize = 16 * 1024 * 1024;

/// The names of users by user ID. Each name is looked up only once.
pub(super) struct Users {
    passwd: String,
    names: HashMap<u32, Option<String>>,
}

impl Users {
    pub(super) fn load() -> Self {
        let text = slurp("/etc/passwd", 4096, LONGEST).unwrap_or_default();
        Users { passwd: String::from_utf8_lossy(&text).into_owned(), names: HashMap::new() }
    }

    pub(super) fn name(&mut self, uid: u32) -> Option<String> {
        let find = || name_in(&self.passwd, uid).or_else(|| resolve(uid));
        self.names.entry(uid).or_insert_with(find).clone()
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        entries(&self.passwd).any(|(known, _)| known == name) || resolve_name(name)
    }
}

/// Returns the name of a user. If several lines have the same user ID, the first line counts, as with `getpwuid`.
fn name_in(passwd: &str, uid: u32) -> Option<String> {
    entries(passwd).find(|(_, known)| *known == uid).map(|(name, _)| name.to_owned())
}

/// Parses `name:password:uid:…`.
fn entries(passwd: &str) -> impl Iterator<Item = (&str, u32)> {
    let entry = |line| {
        let mut fields = str::split(line, ':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        Some((name, fields.nth(1)?.parse().ok()?))
    };
    passwd.lines().filter_map(entry)
}

/// Asks the resolver of the system, because directory services know more users than `/etc/passwd`. A static program
/// cannot load the libraries of these services.
#[cfg(not(target_feature = "crt-static"))]
fn resolve(uid: u32) -> Option<String> {
    nix::unistd::User::from_uid(uid.into()).ok().flatten().map(|user| user.name)
}

#[cfg(not(target_feature = "crt-static"))]
fn resolve_name(name: &str) -> bool {
    nix::unistd::User::from_name(name).is_ok_and(|user| user.is_some())
}

#[cfg(target_feature = "crt-static")]
fn resolve_name(_: &str) -> bool {
    false
}

#[cfg(target_feature = "crt-static")]
fn resolve(_: u32) -> Option<String> {
    None
}

/// Returns the effective user of the process with this directory in `/proc`. `None` if the process has ended.
///
/// The effective user owns the directory, even if other data of the process is hidden. After the process has ended,
/// root owns the directory (`pid_getattr`, fs/proc/base.c). Reading the owner is ten times as fast as reading `status`.
pub(super) fn effective_uid(process: &OwnedFd) -> Option<u32> {
    let uid = fstat(process).ok()?.st_uid;
    let is_alive = statat(process, c"stat", AtFlags::empty()).is_ok();
    is_alive.then_some(uid)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_directory_of_a_process_belongs_to_its_effective_user() {
        let mut process = Command::new("sleep").arg("60").spawn().unwrap();
        let directory = super::super::process::open(process.id()).unwrap();
        assert_eq!(effective_uid(&directory), Some(rustix::process::geteuid().as_raw()));
        process.kill().unwrap();
        process.wait().unwrap();
        assert_eq!(effective_uid(&directory), None, "it has ended");
    }

    #[test]
    fn lines_of_passwd() {
        let text =
            "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n:x:5:\nbad\nnobody:x:65534:1::/:/x\n";
        assert_eq!(entries(text).collect::<Vec<_>>(), [("root", 0), ("toor", 0), ("nobody", 65534)]);
        assert_eq!(name_in(text, 0).as_deref(), Some("root"));
        assert_eq!(name_in(text, 5), None);
    }
}
