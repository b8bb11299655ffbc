//! Finds out whether a file was changed after a process started.

use jiff::{SignedDuration, Timestamp};
use rustix::fs::{FileType, Stat};

use super::super::packages::root::Root;

/// A file that was changed at most this long after the start of the process counts as unchanged, for three reasons:
/// - the start is known only in clock ticks (10 ms)
/// - the clock may have been adjusted since the start
/// - a start script may write the file and then become the server
const TOLERANCE: SignedDuration = SignedDuration::from_secs(1);
/// The maximum number of symbolic links that the kernel follows in a path (`MAXSYMLINKS` of linux/namei.h).
const MOST_LINKS: usize = 40;

/// Returns whether the file at a path below `root`, or a symbolic link in this path, was changed after a process
/// started. A file that cannot be examined counts as changed.
pub(super) fn is_changed_since(root: &Root, path: &str, started: Timestamp) -> bool {
    let Ok(limit) = started.checked_add(TOLERANCE) else { return true };
    last_change(root, path).is_none_or(|changed| changed > limit)
}

/// Returns the latest change of a file, of the symbolic links in its path, and of the directories that may have been
/// renamed. A directory also changes with other files in it, so its time counts only if the directory above has
/// changed too, as a rename changes both.
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

/// Returns the names in a path, the last one first.
fn components(path: &str) -> Vec<String> {
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    names.rev().map(str::to_owned).collect()
}

/// Returns the later of two times: that of the content, which a program can set, and that of the inode, which it cannot
/// set.
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

    /// The test makes its files now, and compares them with processes that started before and after.
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
            assert!(is_changed_since(&root, path, now - seconds(60)), "{path}: before the test");
            assert!(!is_changed_since(&root, path, now), "{path}: at the same time");
            assert!(!is_changed_since(&root, path, now + seconds(60)), "{path}: after the test");
        }
        for path in ["none", "loop", "a/../../none", ""] {
            assert!(is_changed_since(&root, path, now + seconds(60)), "{path}: cannot be examined");
        }
        let times = fs::FileTimes::new().set_modified((now + seconds(60)).into());
        fs::File::open(at("a/b/file")).unwrap().set_times(times).unwrap();
        assert!(is_changed_since(&root, "c/file", now), "the time of the content");
    }

    /// Another directory with an old file may take the place of the directory.
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

    /// A new link to an old file counts as a change.
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
        while changed(&root.stat_link("usr").unwrap()).unwrap() >= last_change(&root, "link").unwrap_or(file)
        {
            let _ = fs::remove_file(&link);
            symlink("/file", &link).unwrap();
        }
        assert!(last_change(&root, "link").unwrap() > file);
    }
}
