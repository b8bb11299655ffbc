//! Tests of the users who can replace a file, with real files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use super::*;

fn tree(root: &Path) -> Tree {
    Tree::open(CWD, root.to_str().unwrap(), Vec::new(), 0).unwrap()
}

fn place(path: &Path, mode: u32, is_directory: bool) {
    if is_directory {
        fs::create_dir_all(path).unwrap();
    } else {
        fs::write(path, "").unwrap();
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Returns a tree in which only root, or the user who runs the test, can write.
fn fixture() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    place(root.path(), 0o755, true);
    for (directory, mode) in [
        ("a", 0o755),
        ("a/open", 0o777),
        ("a/open/own", 0o700),
        ("sticky", 0o1777),
        ("no-search", 0o776),
        ("group", 0o775),
    ] {
        place(&root.path().join(directory), mode, true);
    }
    for (file, mode) in [
        ("a/x", 0o755),
        ("a/write", 0o757),
        ("a/open/x", 0o755),
        ("a/open/own/x", 0o755),
        ("sticky/x", 0o755),
        ("no-search/x", 0o755),
        ("group/x", 0o755),
    ] {
        place(&root.path().join(file), mode, false);
    }
    symlink("a/x", root.path().join("good")).unwrap();
    symlink("/a/x", root.path().join("a/open/link")).unwrap();
    root
}

#[test]
fn world_writable_directories_are_open() {
    let root = fixture();
    let tree = tree(root.path());
    for (path, open) in [
        ("/a/x", Some(vec![])),
        ("/a/open/x", Some(vec!["/a/open"])),
        ("/a/open/own/x", Some(vec!["/a/open"])),
        ("/sticky/x", Some(vec!["/sticky"])),
        // A user needs search permission for a directory to create a file in it.
        ("/no-search/x", Some(vec![])),
        ("/group/x", Some(vec![])),
        ("/a/open/gone/x", Some(vec!["/a/open"])),
        ("relative", None),
        ("(unreachable)/x", None),
    ] {
        let open = open.map(|paths| paths.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(Origins::default().open_directories(&tree, path.as_bytes()), open, "{path}");
    }
    let deep = format!("/a{}/x", "/b".repeat(DEEPEST));
    fs::create_dir_all(root.path().join(&deep[1..])).unwrap();
    assert_eq!(Origins::default().open_directories(&tree, deep.as_bytes()), None, "too deep");
}

#[test]
fn who_can_replace_a_file() {
    let root = fixture();
    let tree = tree(root.path());
    let is_root = rustix::process::geteuid().is_root();
    // If a user other than root runs the test, a file that would be `System` belongs to that user.
    let kind = |kind| if is_root { kind } else { OriginKind::User };
    for (path, expected) in [
        ("/a/x", kind(OriginKind::System)),
        ("/a/write", OriginKind::Open),
        ("/a/open/x", OriginKind::Open),
        ("/a/open/own/x", OriginKind::Open),
        ("/sticky/x", OriginKind::Open),
        ("/no-search/x", kind(OriginKind::System)),
        ("/group/x", kind(OriginKind::System)),
    ] {
        let running = tree.stat(path.as_bytes()).unwrap();
        let origin = Origins::default().of(&tree, path.as_bytes(), Some(&running)).unwrap();
        assert_eq!(origin.kind, expected, "{path}");
        let other = tree.stat(b"/a").unwrap();
        let origin = Origins::default().of(&tree, path.as_bytes(), Some(&other)).unwrap();
        assert_eq!(origin.kind, OriginKind::Elsewhere, "another file runs than {path}");
    }
    assert_eq!(Origins::default().of(&tree, b"/none", None), None);
    if !is_root {
        return;
    }
    let uid_of = |path: &str| {
        let origin = Origins::default().of(&tree, path.as_bytes(), None).unwrap();
        (origin.kind, origin.writable, origin.uid)
    };
    chown(root.path().join("group"), Some(0), Some(33)).unwrap();
    assert_eq!(uid_of("/group/x"), (OriginKind::User, Some("/group".to_owned()), None));
    fs::set_permissions(root.path().join("group"), fs::Permissions::from_mode(0o1775)).unwrap();
    assert_eq!(uid_of("/group/x").0, OriginKind::System, "a sticky group directory");
    chown(root.path().join("a"), Some(1000), None).unwrap();
    assert_eq!(uid_of("/a/x"), (OriginKind::User, Some("/a".to_owned()), Some(1000)));
    chown(root.path().join("group/x"), Some(1001), None).unwrap();
    assert_eq!(uid_of("/group/x"), (OriginKind::User, Some("/group/x".to_owned()), Some(1001)));
    // A user's private directory in a sticky directory belongs to this user. If other users can enter the directory, it
    // counts as open to all.
    let in_sticky = |name: &str, mode, uid| {
        place(&root.path().join("sticky").join(name), mode, true);
        place(&root.path().join("sticky").join(name).join("x"), 0o755, false);
        chown(root.path().join("sticky").join(name), Some(uid), None).unwrap();
        uid_of(&format!("/sticky/{name}/x"))
    };
    let of_user = (OriginKind::User, Some("/sticky/private".to_owned()), Some(1000));
    assert_eq!(in_sticky("private", 0o700, 1000), of_user);
    place(&root.path().join("sticky/private/open"), 0o777, true);
    place(&root.path().join("sticky/private/open/x"), 0o755, false);
    assert_eq!(uid_of("/sticky/private/open/x"), of_user, "nobody else can enter");
    // A world-writable directory is only as open as the directory above it. The cases differ in who can enter the
    // directory above: root, one user, one group, or all users.
    for (name, mode, uid, gid, origin) in [
        ("of-root-alone", 0o700, 0, 0, OriginKind::System),
        ("of-a-user", 0o750, 1000, 1000, OriginKind::User),
        ("of-a-group", 0o750, 0, 1000, OriginKind::User),
        ("of-all", 0o711, 0, 0, OriginKind::Open),
    ] {
        let directory = root.path().join(name);
        place(&directory.join("open"), 0o777, true);
        place(&directory.join("open/x"), 0o757, false);
        place(&directory, mode, true);
        chown(&directory, Some(uid), Some(gid)).unwrap();
        assert_eq!(uid_of(&format!("/{name}/open/x")).0, origin, "{name}");
    }
    assert_eq!(in_sticky("shared", 0o755, 1000).0, OriginKind::Open);
    assert_eq!(in_sticky("of-root", 0o700, 0).0, OriginKind::Open);
}

#[test]
fn an_access_control_list_lets_a_user_write() {
    let root = fixture();
    let tree = tree(root.path());
    let entry = |tag: u16, permits: u16, id: u32| {
        [&tag.to_le_bytes()[..], &permits.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let list = |permits| {
        let entries = [
            entry(1, 7, u32::MAX),
            entry(2, permits, 1000),
            entry(4, 5, u32::MAX),
            entry(16, 7, u32::MAX),
            entry(32, 5, u32::MAX),
        ];
        [2u32.to_le_bytes().to_vec(), entries.concat()].concat()
    };
    let set = |path: &str, permits| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(root.path().join(path), "system.posix_acl_access", &list(permits), flags)
    };
    // Not every file system has access control lists, and without root every file belongs to a user.
    if !rustix::process::geteuid().is_root() || set("a/x", 5).is_err() {
        return;
    }
    let of = |path: &str| {
        let origin = Origins::default().of(&tree, path.as_bytes(), None).unwrap();
        (origin.kind, origin.writable, origin.uid)
    };
    assert_eq!(of("/a/x").0, OriginKind::System, "it lets the user read");
    set("a/x", 7).unwrap();
    assert_eq!(of("/a/x"), (OriginKind::User, Some("/a/x".to_owned()), Some(1000)));
    set("group", 7).unwrap();
    assert_eq!(of("/group/x"), (OriginKind::User, Some("/group".to_owned()), Some(1000)));
}

#[test]
fn trees_of_processes() {
    let root = fixture();
    let mut jail = tree(root.path());
    jail.prefix = b"/srv/jail".to_vec();
    assert!(jail.stat(b"/srv/jail/a/x").is_ok());
    for outside in ["/a/x", "/srv/jailbreak/x", "/srv"] {
        assert_eq!(jail.stat(outside.as_bytes()).unwrap_err(), Errno::XDEV, "{outside}");
    }
    // The directories above the root cannot be seen, so the origin is unknown.
    assert_eq!(Origins::default().of(&jail, b"/srv/jail/a/x", None), None);
    let open = Origins::default().of(&jail, b"/srv/jail/a/open/x", None).unwrap();
    assert_eq!(open.writable.as_deref(), Some("/srv/jail/a/open"));
}

#[test]
fn groups_of_administrators() {
    assert_eq!(
        administrators_in("root:x:0:\nstaff:x:50:\nwww-data:x:33:\nsudo:x:27:ann\nwheel:x:\n"),
        [50, 27]
    );
}
