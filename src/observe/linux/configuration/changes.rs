//! Finds out whether a file was changed after a process started.

use jiff::{SignedDuration, Timestamp};
use rustix::fs::{FileType, Stat};

use super::super::packages::root::Root;

/// A change within this time after the start of the process counts as unknown: the process may have read the old file
/// or the new one. One reason is that the clock may have been adjusted since the start. Another is a start script that
/// writes the file and then becomes the server.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(1);
/// Start times of processes and times of files are exact to one clock tick, which is at most 10 ms (100 Hz).
const TICK: SignedDuration = SignedDuration::from_millis(10);
/// The maximum number of symbolic links that the kernel follows in a path (`MAXSYMLINKS` of linux/namei.h).
const MOST_LINKS: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    Before,
    Unknown,
    After,
}

/// Returns whether the file at a path below `root`, or a symbolic link in this path, was changed after a process
/// started. A file that cannot be examined counts as changed.
pub(super) fn change_since(root: &Root, path: &str, started: Timestamp) -> Change {
    let limits = (started.checked_sub(TICK), started.checked_add(TOLERANCE));
    match (last_change(root, path), limits) {
        (Some(changed), (Ok(earliest), _)) if changed < earliest => Change::Before,
        (Some(changed), (_, Ok(latest))) if changed <= latest => Change::Unknown,
        _ => Change::After,
    }
}

/// Returns the latest change of a file, of the symbolic links in its path, and of the directories in its path.
///
/// A directory counts because a rename can put another directory in its place. A rename changes both the directory and
/// its parent. An added file changes only the directory. So a directory counts with its own change time or with that of
/// its parent, whichever is earlier.
fn last_change(root: &Root, path: &str) -> Option<Timestamp> {
    let mut rest: Vec<String> = components(path);
    let (mut done, mut latest, mut links) = (Vec::<String>::new(), None, 0);
    loop {
        let name = rest.pop()?;
        if name == ".." {
            done.pop();
            continue;
        }
        done.push(name);
        let here = done.join("/");
        let stat = root.stat_link(&here)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            latest = latest.max(Some(changed(&stat)?));
            links += 1;
            let target = root.link(&here).filter(|_| links <= MOST_LINKS)?;
            if target.starts_with('/') {
                done.clear();
            } else {
                done.pop();
            }
            rest.extend(components(&target));
        } else if rest.is_empty() {
            return latest.max(Some(changed(&stat)?));
        } else {
            let above = done.get(..done.len() - 1).filter(|above| !above.is_empty());
            let above = root.stat_link(&above.map_or_else(|| ".".to_owned(), |above| above.join("/")))?;
            latest = latest.max(Some(changed(&stat)?.min(changed(&above)?)));
        }
    }
}

/// Returns the names in a path, last name first.
fn components(path: &str) -> Vec<String> {
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    names.rev().map(str::to_owned).collect()
}

/// Returns the change time of the content or of the inode, whichever is later. A program can set only the time of the
/// content.
fn changed(stat: &Stat) -> Option<Timestamp> {
    let time = |seconds, nanoseconds| Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok();
    let content = time(stat.st_mtime, stat.st_mtime_nsec)?;
    Some(content.max(time(stat.st_ctime, stat.st_ctime_nsec)?))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_and_the_links_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/file"), "").unwrap();
        symlink("../a/b/file", at("a/link")).unwrap();
        symlink("/a/b", at("c")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let root = Root::new(fs::File::open(directory.path()).unwrap().into(), false);
        let now = Timestamp::now();
        let seconds = SignedDuration::from_secs;
        for path in ["a/b/file", "/a/b/file", "a/./b/../b/file", "a/link", "c/file", "c/../b/file"] {
            assert_eq!(
                change_since(&root, path, now - seconds(60)),
                Change::After,
                "{path}: before the test"
            );
            let changed = last_change(&root, path).unwrap();
            for started in [changed, changed + TICK, changed - TOLERANCE] {
                assert_eq!(change_since(&root, path, started), Change::Unknown, "{path}: at the same time");
            }
            assert_eq!(
                change_since(&root, path, now + seconds(60)),
                Change::Before,
                "{path}: after the test"
            );
        }
        for path in ["none", "loop", "a/../../none", ""] {
            assert_eq!(
                change_since(&root, path, now + seconds(60)),
                Change::After,
                "{path}: cannot be examined"
            );
        }
        let times = fs::FileTimes::new().set_modified((now + seconds(60)).into());
        fs::File::open(at("a/b/file")).unwrap().set_times(times).unwrap();
        assert_eq!(change_since(&root, "c/file", now), Change::After, "the time of the content");
    }

    /// A rename can put another directory, with an old file, at the same path.
    #[test]
    fn the_rename_of_a_directory_counts() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("a")).unwrap();
        fs::write(at("a/file"), "").unwrap();
        let root = Root::new(fs::File::open(directory.path()).unwrap().into(), false);
        let before = last_change(&root, "a/file").unwrap();
        let is_later = || changed(&root.stat_link("a").unwrap()).unwrap() > before;
        while !is_later() {
            fs::write(at("a/other"), "").unwrap();
            fs::remove_file(at("a/other")).unwrap();
        }
        assert_eq!(last_change(&root, "a/file").unwrap(), before, "another file in the directory");
        fs::rename(at("a"), at("b")).unwrap();
        fs::rename(at("b"), at("a")).unwrap();
        assert!(last_change(&root, "a/file").unwrap() > before);
    }

    #[test]
    fn the_change_of_a_link_counts() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        symlink("/file", &link).unwrap();
        let root = Root::new(fs::File::open(directory.path()).unwrap().into(), false);
        assert_eq!(last_change(&root, "link"), None, "no file");
        symlink("/usr", directory.path().join("usr")).unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let file = changed(&root.stat_link("file").unwrap()).unwrap();
        fs::remove_file(&link).unwrap();
        // The clock of a file system advances in steps of up to 10 ms.
        let former = file.max(changed(&root.stat_link("usr").unwrap()).unwrap());
        while last_change(&root, "link").is_none_or(|change| change <= former) {
            let _ = fs::remove_file(&link);
            symlink("/file", &link).unwrap();
        }
        assert!(last_change(&root, "link").unwrap() > file);
    }
}
