use std::fs;

use super::*;
use crate::model::{Exe, ExeState};

/// A process that is younger than the files of a test.
struct Young(std::process::Child);

impl Young {
    fn new() -> Self {
        // A file that was changed less than one clock tick before the process started may seem younger than the
        // process.
        std::thread::sleep(Duration::from_millis(50));
        Young(std::process::Command::new("sleep").arg("60").spawn().unwrap())
    }

    /// Returns the settings that portolan reads for this process if its program file and command line are `exe` and
    /// `arguments`.
    fn configuration(&self, exe: &str, arguments: &[&str]) -> Option<Configuration> {
        let mut processes = [self.running(exe, arguments)];
        look_up(&mut processes, &BTreeMap::from([(self.0.id(), Vec::new())]));
        let [process] = processes;
        process.configuration
    }

    fn running(&self, exe: &str, arguments: &[&str]) -> Process {
        Process {
            exe: Some(Exe { path: exe.to_owned(), state: ExeState::Present, open_directories: None }),
            cmdline: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            ..Process::unknown(self.0.id())
        }
    }
}

impl Drop for Young {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn first_setting(configuration: Option<&Configuration>) -> Option<&str> {
    Some(configuration?.settings.first()?.setting.as_str())
}

#[test]
fn files_are_bounded_and_regular() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("small.conf"), "requirepass x\n").unwrap();
    fs::write(at("large.conf"), vec![b'#'; LONGEST + 1]).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("pipe.conf"),
        rustix::fs::FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    let server = Young::new();
    for (name, setting) in
        [("small.conf", Some("requirepass")), ("large.conf", None), ("pipe.conf", None), ("none.conf", None)]
    {
        let line = ["redis-server", &at(name)];
        let mut processes = [server.running("/usr/bin/redis-server", &line)];
        look_up(&mut processes, &BTreeMap::new());
        assert_eq!(processes[0].configuration, None, "no other machine can reach it");
        let found = server.configuration("/usr/bin/redis-server", &line);
        assert_eq!(first_setting(found.as_ref()), setting, "{name}");
    }
}

/// Redis reads the options on the command line after the file.
#[test]
fn options_after_the_file_of_redis() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("redis.conf").to_str().unwrap().to_owned();
    fs::write(&path, "bind 0.0.0.0\nrequirepass secret").unwrap();
    let server = Young::new();
    for (options, setting) in [
        (&[][..], Some("requirepass")),
        (&["--daemonize", "no", "--supervised", "systemd"], Some("requirepass")),
        (&["--requirepass", ""], None),
        (&["--requirepass \"\""], None),
        (&["--protected-mode", "no"], Some("requirepass")),
        (&["--requirepass", "", "--protected-mode", "no"], None),
        (&["--requirepass", "", "--requirepass", "x\nrequirepass"], Some("requirepass")),
        (&["--user", "bob", "on", "nopass", "~*", "+@all"], None),
        (&["--user", "bob on nopass ~* +@all"], None),
        (&["--include", "/srv/other.conf"], None),
        (&["-"], None),
        (&["--daemonize", "no", "-"], None),
    ] {
        let line: Vec<&str> = ["redis-server", &path].into_iter().chain(options.iter().copied()).collect();
        let found = server.configuration("/usr/bin/redis-server", &line);
        assert_eq!(first_setting(found.as_ref()), setting, "{options:?}");
    }
}

#[test]
fn included_files_are_read_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(at("d")).unwrap();
    for (name, text) in [
        ("d/1.conf", format!("b\ninclude {}\n", at("more"))),
        ("d/2.conf", "d\n".to_owned()),
        ("d/3.txt", "not included\n".to_owned()),
        ("more", "c\n".to_owned()),
        ("loop", format!("include {}\n", at("loop"))),
    ] {
        fs::write(at(name), text).unwrap();
    }
    let root = Root::new(fs::File::open("/").unwrap().into(), false);
    let expand = |text: &str| {
        let bytes = include::expand(&root, "/x", text.as_bytes(), include::SQUID).unwrap().bytes;
        let text = String::from_utf8(bytes).unwrap();
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        expand(&format!("a\n include {}/d/*.conf # x\ne", directory.path().display())),
        ["a", "b", "c", "d", "e"]
    );
    for unreadable in
        ["include relative", "include /none/*.conf", "include /*/x", "include", "include /etc/../none"]
    {
        assert_eq!(expand(unreadable), [unreadable], "stays, and the file does not decide");
    }
    assert_eq!(expand(&format!("include {}", at("loop"))), [format!("include {}", at("loop"))], "it ends");
}

/// The names of settings may be quoted, because Redis splits a line of the file like a command line.
#[test]
fn quoted_lines_of_redis() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("open"), "protected-mode no").unwrap();
    for (text, setting) in [
        ("\"protected-mode\" no".to_owned(), Some("protected-mode no")),
        (format!("\"include\" {}", at("open")), Some("protected-mode no")),
        (format!("INCLUDE '{}'", at("open")), Some("protected-mode no")),
        ("\"protected-mode no".to_owned(), None),
        ("# x \\\nprotected-mode no".to_owned(), Some("protected-mode no")),
    ] {
        fs::write(at("redis.conf"), text.as_bytes()).unwrap();
        let server = Young::new();
        let found = server.configuration("/usr/bin/redis-server", &["redis-server", &at("redis.conf")]);
        assert_eq!(first_setting(found.as_ref()), setting, "{text}");
    }
}

#[test]
fn a_file_that_is_younger_than_the_process_does_not_decide() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(at("d")).unwrap();
    for (name, text) in [
        ("redis.conf", "requirepass x\n".to_owned()),
        ("including.conf", format!("include {}\n", at("redis.conf"))),
        ("pattern.conf", format!("include {}/*.conf\nrequirepass x\n", at("d"))),
    ] {
        fs::write(at(name), text).unwrap();
    }
    let server = Young::new();
    let found = |name| server.configuration("/usr/bin/redis-server", &["redis-server", &at(name)]);
    for name in ["redis.conf", "including.conf", "pattern.conf"] {
        let found = found(name).unwrap();
        assert_eq!(first_setting(Some(&found)), Some("requirepass"), "{name}");
        assert_eq!(found.changed, None, "{name}");
    }
    let later = std::time::SystemTime::now() + Duration::from_secs(60);
    for (name, changed) in
        [("pattern.conf", "d"), ("including.conf", "redis.conf"), ("redis.conf", "redis.conf")]
    {
        let times = fs::FileTimes::new().set_modified(later);
        fs::File::open(at(changed)).unwrap().set_times(times).unwrap();
        let found = found(name).unwrap();
        assert_eq!((&found.settings[..], found.changed), (&[][..], Some(at(changed))), "{name}");
    }
}

#[test]
fn the_environment_of_a_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node");
    // A separate process copies the program. If this process copied it, a child of another test could inherit the
    // open file, and the copy could not be run.
    assert!(std::process::Command::new("cp").arg("/bin/sleep").arg(&path).status().unwrap().success());
    let mut command = std::process::Command::new(&path);
    let child = command.arg("60").env("NODE_OPTIONS", "--inspect=0.0.0.0:9").spawn().unwrap();
    // For a short time after its start, the environment of a child cannot be read.
    while fs::read(format!("/proc/{}/environ", child.id())).unwrap().is_empty() {
        std::thread::yield_now();
    }
    let child = Young(child);
    let mut processes = [child.running(path.to_str().unwrap(), &["node", "60"])];
    look_up(&mut processes, &BTreeMap::from([(child.0.id(), Vec::new())]));
    assert_eq!(processes[0].debugger_options, ["--inspect=0.0.0.0:9"]);
}

/// If any user can write to a directory, the server may have read another file at this path.
#[test]
fn only_the_file_of_root_refuses_clients() {
    let directory = tempfile::tempdir().unwrap();
    let of_root = tempfile::tempdir_in("/var/lib").ok();
    let mut cases = vec![(&directory, "deny", None), (&directory, "allow", Some(AdmittedClients::Anyone))];
    cases.extend(of_root.as_ref().map(|directory| (directory, "deny", Some(AdmittedClients::Local))));
    for (directory, rule, clients) in cases {
        let path = directory.path().join("squid.conf");
        fs::write(&path, format!("http_access {rule} all\n")).unwrap();
        let server = Young::new();
        let found = server.configuration("/usr/sbin/squid", &["squid", "-f", path.to_str().unwrap()]);
        let found = found.map(|found| found.settings[0].clients);
        assert_eq!(found, clients, "{rule}");
    }
}
