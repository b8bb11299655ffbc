//! POSIX access control lists: the users and groups that can write a file, in addition to its owner and its group.
//!
//! The extended attribute `system.posix_acl_access` contains the list (linux/posix_acl_xattr.h). The list begins with a
//! version. Each entry has a tag, the permitted bits and an ID. All numbers are little-endian. The mask entry limits
//! the entries for users and groups.

use std::ffi::CStr;
use std::os::fd::AsRawFd;

use rustix::fs::lgetxattr;
use rustix::io::Errno;

use super::tree::Tree;

/// `POSIX_ACL_XATTR_VERSION`.
const VERSION: u32 = 2;
/// `ACL_USER`, `ACL_GROUP_OBJ`, `ACL_GROUP` and `ACL_MASK`.
const USER: u16 = 0x02;
const OWN_GROUP: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
/// `ACL_WRITE`.
const WRITE: u16 = 0x02;
/// The size of the buffer in bytes. It holds about 500 entries.
const LONGEST: usize = 4096;

/// The tag, the permitted bits and the ID of each entry.
type Entries = Vec<(u16, u16, u32)>;

/// Returns the access control list of the file at `path` in the tree. `None` if the file has no list.
pub(super) fn read(tree: &Tree, path: &CStr) -> Option<Entries> {
    let mut path_of_it = format!("/proc/self/fd/{}/", tree.root.as_raw_fd()).into_bytes();
    path_of_it.extend(path.to_bytes());
    let mut bytes = [0; LONGEST];
    match lgetxattr(path_of_it, "system.posix_acl_access", &mut bytes) {
        Ok(length) => entries(bytes.get(..length)?),
        // If the list does not fit into the buffer, a group is assumed to have write permission.
        Err(Errno::RANGE) => Some(vec![(GROUP, WRITE, u32::MAX)]),
        Err(_) => None,
    }
}

fn entries(list: &[u8]) -> Option<Entries> {
    let (version, entries) = list.split_first_chunk()?;
    let entry = |bytes: &[u8]| {
        let (tag, rest) = bytes.split_first_chunk()?;
        let (permits, id) = rest.split_first_chunk()?;
        let id = u32::from_le_bytes(*id.first_chunk()?);
        Some((u16::from_le_bytes(*tag), u16::from_le_bytes(*permits), id))
    };
    (u32::from_le_bytes(*version) == VERSION).then(|| entries.chunks_exact(8).filter_map(entry).collect())
}

/// Returns who can write the file according to the list: `Some(Some(UID))` for one user, `Some(None)` for several users
/// or a group, `None` for nobody. Root does not count. A group counts only if `counts` returns true for its ID.
pub(super) fn writer(list: &Entries, group: u32, counts: impl Fn(u32) -> bool) -> Option<Option<u32>> {
    let mask = list.iter().find(|(tag, ..)| *tag == MASK).map_or(u16::MAX, |(_, permits, _)| *permits);
    let mut users = list.iter().filter(|(_, permits, _)| permits & mask & WRITE != 0).filter_map(
        |(tag, _, id)| match *tag {
            USER if *id != 0 => Some(Some(*id)),
            GROUP if counts(*id) => Some(None),
            OWN_GROUP if counts(group) => Some(None),
            _ => None,
        },
    );
    let first = users.next()?;
    Some(if users.all(|user| user == first) { first } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_that_a_list_lets_write() {
        const NONE: u32 = u32::MAX;
        let file = |list: &[(u16, u16, u32)]| {
            let mut bytes = VERSION.to_le_bytes().to_vec();
            for (tag, permits, id) in list {
                bytes.extend([tag.to_le_bytes(), permits.to_le_bytes()].concat());
                bytes.extend(id.to_le_bytes());
            }
            bytes
        };
        let (owner, other) = ((0x01, 7, NONE), (0x20, 5, NONE));
        for (name, list, is) in [
            ("no entry", vec![owner, (OWN_GROUP, 5, NONE), other], None),
            (
                "a user",
                vec![owner, (USER, 7, 1000), (OWN_GROUP, 5, NONE), (MASK, 7, NONE), other],
                Some(Some(1000)),
            ),
            ("masked", vec![owner, (USER, 7, 1000), (OWN_GROUP, 5, NONE), (MASK, 5, NONE), other], None),
            ("reads only", vec![(USER, 5, 1000), (MASK, 7, NONE)], None),
            ("root", vec![(USER, 7, 0), (MASK, 7, NONE)], None),
            ("two users", vec![(USER, 7, 1000), (USER, 7, 1001), (MASK, 7, NONE)], Some(None)),
            ("a group", vec![(GROUP, 7, 33), (MASK, 7, NONE)], Some(None)),
            ("a group of administrators", vec![(GROUP, 7, 50), (MASK, 7, NONE)], None),
            ("its own group", vec![(OWN_GROUP, 7, NONE), (MASK, 7, NONE)], Some(None)),
        ] {
            let entries = entries(&file(&list)).unwrap();
            assert_eq!(writer(&entries, 33, |group| ![0, 50].contains(&group)), is, "{name}");
        }
        assert_eq!(entries(&[]), None);
        assert_eq!(entries(&[1, 0, 0, 0, 2, 0]), None);
        assert_eq!(entries(&[2, 0, 0, 0, 2, 0]), Some(Vec::new()));
    }
}
