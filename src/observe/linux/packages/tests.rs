use super::*;

fn layout() -> Layout {
    Layout { merged: vec!["bin", "sbin", "lib"] }
}

fn md5(digits: &str) -> Option<Checksum> {
    from_hex(digits.as_bytes()).map(Checksum::Md5)
}

#[test]
fn lines_and_digits() {
    for (text, wanted) in [
        (&b"a\n\nb\n"[..], vec![&b"a"[..], b"", b"b"]),
        (b"a\nb", vec![b"a", b"b"]),
        (b"\n", vec![b""]),
        (b"", vec![]),
    ] {
        assert_eq!(lines(text).collect::<Vec<_>>(), wanted);
    }
    for (digits, bytes) in [("00fF", Some([0, 255])), ("00f", None), ("00", None), ("00fg", None), ("", None)]
    {
        assert_eq!(from_hex::<2>(digits.as_bytes()), bytes, "{digits}");
    }
}

/// Debian 12, shortened; the diversions of the administrator and of another package are made up.
mod dpkg_database {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    const STATUS: &str = "\
Package: netbase
Status: install ok installed
Architecture: all
Multi-Arch: foreign
Version: 6.4
Conffiles:
 /etc/rpc 2d7748cd0feba2e43ee52d4d7f834188
 /usr/lib/netbase/hook 3975f0d8c4e1ecb25f035edfb1ba27ac obsolete
Description: Basic TCP/IP networking system
 Version: 7 is not a version
 /bin/sleep is not a configuration file

Package: coreutils
Essential: yes
Status: install ok installed
Architecture: amd64
Version: 9.1-1

Package: dash
Status: install ok unpacked
Architecture: amd64
Version: 0.5.12-2

Package: half
Status: install reinstreq half-installed
Architecture: amd64
Version: 1

Package: libx1
Status: install ok installed
Architecture: i386
Version: 2

Package: libx1
Status: install ok installed
Architecture: amd64
Version: 3
";
    const FILES: [(&str, &str, &str); 7] = [
        (
            "netbase",
            "/.\n/etc\n/etc/rpc\n/usr/lib/netbase/hook\n",
            "3975f0d8c4e1ecb25f035edfb1ba27ac  usr/lib/netbase/hook\n",
        ),
        (
            "coreutils",
            "/.\n/bin\n/bin/sleep\n/bin/ls\n/bin/diverted\n",
            "0d0ca4b5e67d4aa6ae4ac3c9cd4a4c4f  bin/sleep\n11111111111111111111111111111111  bin/diverted\n",
        ),
        ("dash", "/bin/dash\n/bin/sh\n", "33333333333333333333333333333333  bin/sh\n"),
        ("bash", "/bin/sh\n/bin/diverted\n", ""),
        ("half", "/bin/half\n", "44444444444444444444444444444444  bin/half\n"),
        ("libx1:amd64", "/usr/lib/x\n", "55555555555555555555555555555555  usr/lib/x\n"),
        ("unknown", "/bin/unknown\n", ""),
    ];

    fn database() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        database_in(root.path());
        root
    }

    fn database_in(root: &Path) {
        let dpkg = root.join("var/lib/dpkg");
        fs::create_dir_all(dpkg.join("info")).unwrap();
        for top in ["bin", "lib"] {
            symlink(format!("usr/{top}"), root.join(top)).unwrap();
        }
        fs::write(dpkg.join("status"), STATUS).unwrap();
        fs::write(
            dpkg.join("diversions"),
            "/bin/sh\n/bin/sh.distrib\ndash\n/usr/bin/diverted\n/usr/bin/diverted.real\n:\n",
        )
        .unwrap();
        for (package, list, sums) in FILES {
            fs::write(dpkg.join(format!("info/{package}.list")), list).unwrap();
            fs::write(dpkg.join(format!("info/{package}.md5sums")), sums).unwrap();
        }
    }

    #[test]
    fn owners_versions_and_checksums() {
        let directory = database();
        for is_own in [true, false] {
            let root = Root::new(fs::File::open(directory.path()).unwrap().into(), is_own);
            for (name, path, wanted) in [
                (
                    "merged",
                    "usr/bin/sleep",
                    Some(("coreutils", "9.1-1", md5("0d0ca4b5e67d4aa6ae4ac3c9cd4a4c4f"))),
                ),
                ("no checksum", "usr/bin/ls", Some(("coreutils", "9.1-1", None))),
                ("a configuration file", "usr/lib/netbase/hook", Some(("netbase", "6.4", None))),
                ("half-installed", "usr/bin/half", Some(("half", "1", None))),
                ("the package that diverts", "usr/bin/sh", Some(("dash", "0.5.12-2", md5(&"3".repeat(32))))),
                ("diverted by the administrator", "usr/bin/diverted", None),
                (
                    "where it was diverted to",
                    "usr/bin/diverted.real",
                    Some(("coreutils", "9.1-1", md5(&"1".repeat(32)))),
                ),
                ("two architectures", "usr/lib/x", Some(("libx1", "3", md5(&"5".repeat(32))))),
                ("not in the status", "usr/bin/unknown", None),
                ("of no package", "opt/x", None),
            ] {
                let wanted_files: WantedFiles<'_> = [(root.layout.canonical(path.as_bytes()), 7)].into();
                let records = dpkg::records(&root, &wanted_files).unwrap().unwrap();
                let record = records.get(&7).map(|records| {
                    assert_eq!(records.len(), 1, "{name}");
                    let PackagedFile { package, version, checksum, .. } = records[0].clone();
                    (package, version.unwrap(), checksum)
                });
                let wanted =
                    wanted.map(|(package, version, sum)| (package.to_owned(), version.to_owned(), sum));
                assert_eq!(record, wanted, "{name}");
            }
        }
    }

    #[test]
    fn missing_and_unreadable_databases() {
        let directory = database();
        let dpkg = directory.path().join("var/lib/dpkg");
        let root = || Root::new(fs::File::open(directory.path()).unwrap().into(), false);
        let wanted: WantedFiles<'_> = [(&b"bin/sleep"[..], 0)].into();
        assert!(!dpkg::is_at_work(&root()));
        fs::create_dir(dpkg.join("updates")).unwrap();
        fs::write(dpkg.join("updates/tmp.i"), "").unwrap();
        assert!(!dpkg::is_at_work(&root()));
        fs::write(dpkg.join("updates/0001"), "").unwrap();
        assert!(dpkg::is_at_work(&root()));
        fs::remove_file(dpkg.join("info/half.list")).unwrap();
        fs::create_dir(dpkg.join("info/half.list")).unwrap();
        assert_eq!(
            recorded(&root(), &wanted).1.unwrap(),
            "/var/lib/dpkg/info/half.list: Invalid argument (os error 22)"
        );
        fs::remove_dir(dpkg.join("info/half.list")).unwrap();
        assert_eq!(recorded(&root(), &wanted).0[&0].len(), 1);
        fs::remove_file(dpkg.join("status")).unwrap();
        assert_eq!(recorded(&root(), &wanted), (PackagedFiles::new(), None));
    }

    /// A program that has not changed since dpkg installed it is not read. A program that changed later is read. In
    /// this test the reading fails, because no process runs the file.
    #[test]
    fn a_program_that_has_not_changed_since_it_was_installed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |path: &str| directory.path().join(path);
        fs::create_dir_all(path("usr/bin")).unwrap();
        database_in(directory.path());
        let program = path("usr/bin/sleep");
        fs::write(&program, "a program").unwrap();
        let others = ["ls", "cat", "cp", "mv"].map(|name| format!("usr/bin/{name}"));
        others.iter().for_each(|other| fs::write(path(other), "").unwrap());
        let line = |file: &str| format!("{}  {file}\n", "0".repeat(32));
        let sums: String = others.iter().map(String::as_str).chain(["bin/sleep"]).map(line).collect();
        fs::write(path("var/lib/dpkg/info/coreutils.md5sums"), sums).unwrap();
        let list = path("var/lib/dpkg/info/coreutils.list");
        let write_later = |late: &Path, early: &Path| {
            let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
            let text = fs::read(late).unwrap();
            for _ in 0..10_000 {
                fs::write(late, &text).unwrap();
                if time(late) > time(early) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            panic!("the time of a changed file does not advance");
        };
        let modified = |is_own| {
            let root = Root::new(fs::File::open(directory.path()).unwrap().into(), is_own);
            let id = identity(&rustix::fs::stat(&program).unwrap());
            let program = RunningFile {
                path: b"usr/bin/sleep".to_vec(),
                id,
                is_loaded: false,
                pids: vec![std::process::id()],
            };
            let (sender, receiver) = channel();
            answer(&root, &[program], AUDIT, &sender);
            let answer = receiver.recv().unwrap();
            (answer.package.unwrap().modified, answer.trouble.is_some())
        };
        write_later(&list, &path(&others[3]));
        assert_eq!(modified(true), (Some(false), false));
        assert_eq!(modified(false), (None, true), "the times in a container prove nothing");
        write_later(&program, &list);
        assert_eq!(modified(true), (None, true));
        // A list from an archive: its inode changed when the archive was unpacked.
        let old = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + Duration::new(1_700_000_000, 5));
        fs::File::options().write(true).open(&list).unwrap().set_times(old).unwrap();
        assert_eq!(modified(true), (None, true));
    }

    /// Reads the database of the machine that runs the test, if it is a Debian system.
    #[test]
    fn the_real_database() {
        let root = Root::new(fs::File::open("/").unwrap().into(), true);
        let path = fs::canonicalize("/bin/sleep").unwrap();
        let path = path.to_str().unwrap().as_bytes();
        let wanted: WantedFiles<'_> = [(root.layout.canonical(path), 0)].into();
        let Some(records) = dpkg::records(&root, &wanted).unwrap() else { return };
        let Some([record]) = records.get(&0).map(Vec::as_slice) else {
            assert!(path.ends_with(b"box"), "no package has {path:?}");
            return;
        };
        assert!(record.package.contains("coreutils"), "{record:?}");
        assert!(record.version.as_ref().is_some_and(|version| version.contains('.')), "{record:?}");
        assert!(matches!(record.checksum, Some(Checksum::Md5(_))), "{record:?}");
    }
}

/// Alpine 3.20, shortened; the last two packages are made up.
#[test]
fn apk_database() {
    let installed = b"\
C:Q1p78yvTLG094tHE1+dToJGbmYzQE=
P:dropbear
V:2024.85-r0
F:etc
F:usr
F:usr/sbin
R:dropbear
a:0:0:755
Z:Q1qZk+NkcGgWq6PiVxeFDCbJzQ2J0=
R:dbclient
a:0:0:755
F:usr/lib
R:empty

P:other
V:1
R:dropbear
F:usr/sbin
R:y
Z:Q1short=
R:z
Z:Q2qZk+NkcGgWq6PiVxeFDCbJzQ2J0=
";
    let abc = "a9993e364706816aba3e25717850c26c9cd0d89d"; // the recorded sum is the sum of `abc`
    let wanted: WantedFiles<'_> =
        [(&b"sbin/dropbear"[..], 0), (b"sbin/dbclient", 1), (b"sbin/y", 2), (b"sbin/z", 3), (b"none", 4)]
            .into();
    let records = apk::parse(installed, &layout(), &wanted);
    let record = |package: &str, version: &str, checksum| PackagedFile {
        package: package.to_owned(),
        version: Some(version.to_owned()),
        checksum,
        installed: None,
    };
    for (name, file, expected) in [
        ("recorded", 0, vec![record("dropbear", "2024.85-r0", from_hex(abc.as_bytes()).map(Checksum::Sha1))]),
        ("without a sum", 1, vec![record("dropbear", "2024.85-r0", None)]),
        ("a damaged sum", 2, vec![record("other", "1", None)]),
        ("another algorithm", 3, vec![record("other", "1", None)]),
        ("of no package", 4, vec![]),
    ] {
        let found: Vec<PackagedFile> = records.get(&file).cloned().unwrap_or_default();
        let found: Vec<PackagedFile> = found.into_iter().filter(|found| expected.contains(found)).collect();
        assert_eq!(found, expected, "{name}");
    }
}

/// Arch Linux, shortened: a package with a directory of its own.
#[test]
fn pacman_database() {
    let directory = tempfile::tempdir().unwrap();
    let package = directory.path().join("var/lib/pacman/local/openssh-9.8p1-1");
    std::fs::create_dir_all(&package).unwrap();
    std::os::unix::fs::symlink("usr/bin", directory.path().join("bin")).unwrap();
    std::fs::write(package.join("../ALPM_DB_VERSION"), "9\n").unwrap();
    std::fs::write(package.join("desc"), "%NAME%\nopenssh\n\n%VERSION%\n9.8p1-1\n\n%BASE%\nopenssh\n")
        .unwrap();
    std::fs::write(
        package.join("files"),
        "%FILES%\nusr/\nusr/bin/\nusr/bin/sshd\nusr/bin/conf\nusr/bin/a b\nusr/bin/none\n\n%BACKUP%\nusr/bin/conf\t0a3f\n",
    )
    .unwrap();
    let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let mtree = format!(
        "#mtree\n/set type=file uid=0 gid=0 mode=644\n./.BUILDINFO time=1720.0 size=6 sha256digest={sum}\n\
        ./usr/bin time=1720.0 mode=755 type=dir\n./usr/bin/sshd time=1720.0 mode=755 size=3 sha256digest={sum}\n\
        ./usr/bin/conf time=1720.0 size=3 sha256digest={sum}\n\
        ./usr/bin/a\\040b size=3 md5digest=900150983cd24fb0d6963f7d28e17f72\n"
    );
    let stored = |text: &str| {
        let length = u16::try_from(text.len()).unwrap();
        let mut gzip = vec![31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 1]; // one block that is stored uncompressed
        gzip.extend(length.to_le_bytes());
        gzip.extend((!length).to_le_bytes());
        gzip.extend(text.as_bytes());
        gzip.extend([0; 8]); // the sum and length are not checked
        gzip
    };
    std::fs::write(package.join("mtree"), stored(&mtree)).unwrap();
    let root = Root::new(std::fs::File::open(directory.path()).unwrap().into(), false);
    let wanted: WantedFiles<'_> =
        [(&b"bin/sshd"[..], 0), (b"bin/conf", 1), (b"bin/a b", 2), (b"bin/none", 3), (b"bin/other", 4)]
            .into();
    let records = pacman::records(&root, &wanted).unwrap().unwrap();
    let record = |checksum| PackagedFile {
        package: "openssh".to_owned(),
        version: Some("9.8p1-1".to_owned()),
        checksum,
        installed: None,
    };
    for (name, file, expected) in [
        ("SHA-256", 0, vec![record(from_hex(sum.as_bytes()).map(Checksum::Sha256))]),
        ("a configuration file", 1, vec![record(None)]),
        ("an escaped name, MD5", 2, vec![record(md5("900150983cd24fb0d6963f7d28e17f72"))]),
        ("without a sum", 3, vec![record(None)]),
        ("of no package", 4, vec![]),
    ] {
        assert_eq!(records.get(&file).cloned().unwrap_or_default(), expected, "{name}");
    }
    for (name, mtree) in [("not gzip", b"#mtree\n".to_vec()), ("cut", stored(&mtree)[..40].to_vec())] {
        std::fs::write(package.join("mtree"), mtree).unwrap();
        assert!(pacman::records(&root, &wanted).unwrap_err().contains("1/mtree: "), "{name}");
    }
    std::fs::remove_file(package.join("../ALPM_DB_VERSION")).unwrap();
    assert_eq!(pacman::records(&root, &wanted), Ok(None));
}

/// The output of rpm 4.18 on Fedora, shortened; the old package is made up.
#[test]
fn rpm_output() {
    let output = b"\
P\topenssh-server\t9.6p1-1.fc40\t8
F\t/etc/ssh/sshd_config\tba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\t17
F\t/usr/sbin/sshd\tba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\t0
P\topenssh-server\t9.6p1-1.fc40\t8
F\t/usr/sbin/sshd\tba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\t0
file /opt/x is not owned by any package
F\t/opt/x\t00\t0
P\told\t1:1-1\t(none)
F\t/usr/bin/old\t900150983cd24fb0d6963f7d28e17f72\t0
F\t/usr/bin/link\t\t0
";
    let wanted: WantedFiles<'_> = [
        (&b"sbin/sshd"[..], 0),
        (b"etc/ssh/sshd_config", 1),
        (b"opt/x", 2),
        (b"bin/old", 3),
        (b"bin/link", 4),
    ]
    .into();
    let records = rpm::parse(output, &layout(), &wanted);
    let sum = from_hex(b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    for (name, file, expected) in [
        ("a program", 0, Some(("openssh-server", "9.6p1-1.fc40", sum.map(Checksum::Sha256)))),
        ("a configuration file", 1, Some(("openssh-server", "9.6p1-1.fc40", None))),
        ("of no package", 2, None),
        ("MD5", 3, Some(("old", "1:1-1", md5("900150983cd24fb0d6963f7d28e17f72")))),
        ("a link", 4, Some(("old", "1:1-1", None))),
    ] {
        let expected = expected.map(|(package, version, checksum)| {
            vec![PackagedFile {
                package: package.to_owned(),
                version: Some(version.to_owned()),
                checksum,
                installed: None,
            }]
        });
        assert_eq!(records.get(&file), expected.as_ref(), "{name}");
    }
}

#[test]
fn packages_decide_the_origin() {
    let package = |modified| Package { name: "p".to_owned(), version: Some("1".to_owned()), modified };
    for (name, before, modified, after) in [
        ("unmodified", OriginKind::System, Some(false), OriginKind::Package),
        ("without a checksum", OriginKind::System, None, OriginKind::Package),
        ("modified", OriginKind::System, Some(true), OriginKind::System),
        ("replaceable by a user", OriginKind::User, Some(false), OriginKind::User),
    ] {
        let mut origin = Origin::of(before);
        add(&package(modified), &mut origin);
        assert_eq!((origin.kind, origin.modified), (after, modified), "{name}");
        assert_eq!((origin.package.as_deref(), origin.version.as_deref()), (Some("p"), Some("1")), "{name}");
    }
}

/// The program that runs the test belongs to no package.
#[test]
fn a_process_of_no_package_and_one_that_has_ended() {
    let own = std::process::id();
    let found: Vec<PackageLookup> = answers(vec![(own, None), (u32::MAX, None)], AUDIT).collect();
    let mut pids: Vec<Pid> = found.iter().flat_map(|answer| answer.pids.clone()).collect();
    pids.sort_unstable();
    assert_eq!(pids, [own, u32::MAX]);
    assert!(found.iter().all(|answer| answer.package.is_none() && answer.trouble.is_none()), "{found:?}");
}
