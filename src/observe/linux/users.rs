//! Names of users: from `/etc/passwd` first, then from the system's resolver.

use std::collections::HashMap;
use std::fs;

/// Names by user ID; each is looked up once.
pub(super) struct Users {
    names: HashMap<u32, Option<String>>,
}

impl Users {
    /// Reads `/etc/passwd`, if the file exists.
    pub(super) fn load() -> Self {
        let text = fs::read("/etc/passwd").unwrap_or_default();
        Users { names: passwd(&String::from_utf8_lossy(&text)) }
    }

    /// Returns the name of a user, if the system knows a name.
    pub(super) fn name(&mut self, uid: u32) -> Option<String> {
        self.names.entry(uid).or_insert_with(|| resolve(uid)).clone()
    }
}

impl Users {
    /// Returns whether a user with this name exists.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.names.values().flatten().any(|known| known == name) || resolve_name(name)
    }
}

/// Parses `name:password:uid:…`; the first line for a uid counts, as with `getpwuid`.
fn passwd(text: &str) -> HashMap<u32, Option<String>> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(uid))) = (fields.next(), fields.nth(1).map(str::parse))
            && !name.is_empty()
        {
            names.entry(uid).or_insert_with(|| Some(name.to_owned()));
        }
    }
    names
}

/// Asks the resolver: directory services know more users than the file. A static program cannot load the libraries that
/// query them.
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

/// Parses `Uid: real effective saved filesystem`; the kernel escapes the name, so the process cannot forge a line.
pub(super) fn effective_uid(status: &[u8]) -> Option<u32> {
    let status = String::from_utf8_lossy(status);
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uid_is_the_effective_one() {
        assert_eq!(effective_uid(b"Name:\tx\\nUid:\t9\nUid:\t1\t2\t3\t4\n"), Some(2));
        assert_eq!(effective_uid(b"Name:\tx\n"), None);
    }

    #[test]
    fn lines_of_passwd() {
        let names = passwd(
            "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n:x:5:\nbad\nnobody:x:65534:1::/:/x\n",
        );
        assert_eq!(names.get(&0), Some(&Some("root".to_owned())));
        assert_eq!(names.get(&65534), Some(&Some("nobody".to_owned())));
        assert_eq!(names.len(), 2);
    }
}
