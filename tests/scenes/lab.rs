//! Real sockets and processes in separate namespaces: the tools of a scene, and its cleanup.
//!
//! A scene runs on a thread in a new network namespace; everything the scene starts is created in it. The scene uses
//! no port of the machine, sends nothing beyond the namespace, and ends every process by its pid.

use std::cell::{OnceCell, RefCell};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::OnceLock;

use libtest_mimic::Failed;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rustix::net::sockopt::set_socket_reuseport;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, bind,
    listen, sendmsg, socket_with, socketpair,
};
use serde_json::Value;
use tempfile::TempDir;

pub use crate::report::{Outcome, complete, flags, gap, held, listeners, on_port, pids};
use crate::report::{brief, summary};
use crate::wires::loopback_up;

/// A scene with its name.
pub type Scene = (&'static str, fn(&Lab) -> Outcome);

/// A scene sees only its own namespaces, which is not a gap.
const SCOPE: [&str; 2] = ["--scope", "container"];

/// A user and group that own no files.
pub const NOBODY: u32 = 65534;

/// What the scenes need before the first one: the original `/proc`, and the programs in a place that every user can
/// reach, because the user nobody may not be able to reach the checkout.
pub struct Stage {
    _directory: TempDir,
}

static STAGE: OnceLock<(OwnedFd, PathBuf)> = OnceLock::new();

impl Stage {
    /// Prepares all scenes of this process; dropping the stage cleans up.
    pub fn set() -> Result<Self, Failed> {
        let directory = directory("stage")?;
        fs::copy(env!("CARGO_BIN_EXE_portolan"), directory.path().join("portolan"))?;
        fs::copy(std::env::current_exe()?, directory.path().join("helper"))?;
        let proc = fs::File::open("/proc")?.into();
        STAGE.set((proc, directory.path().to_owned())).map_err(|_| "the stage is set once")?;
        Ok(Stage { _directory: directory })
    }
}

/// Creates a directory that every user can read and only its owner can write. (Programs that run from `/tmp` would be
/// flagged.)
fn directory(name: &str) -> Result<TempDir, Failed> {
    let directory = tempfile::Builder::new().prefix(&format!("portolan-{name}")).tempdir_in("/var/lib")?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    Ok(directory)
}

fn stage() -> Result<&'static (OwnedFd, PathBuf), Failed> {
    STAGE.get().ok_or_else(|| "no stage".into())
}

/// Returns whether scenes can run: they need root, and a kernel that grants namespaces.
pub fn available() -> bool {
    std::thread::spawn(|| {
        rustix::process::geteuid().is_root()
            && unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).is_ok()
    })
    .join()
    .unwrap_or(false)
}

/// Runs a scene on a thread in network and mount namespaces of its own, with loopback up.
pub fn scene(act: fn(&Lab) -> Outcome) -> Outcome {
    std::thread::spawn(move || {
        // The descriptors are unshared too: a process of another scene must not inherit this scene's sockets, however
        // briefly.
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FILES)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        drop_foreign_namespaces()?;
        loopback_up()?;
        let lab = Lab::new()?;
        act(&lab).map_err(|failed| lab.explained(&failed))
    })
    .join()
    .unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "the scene panicked".to_owned()).into())
    })
}

/// Unmounts the namespaces that other programs have mounted (`ip netns add`, Docker), in this mount namespace only: a
/// scene sees only the namespaces that it makes.
fn drop_foreign_namespaces() -> Result<(), Failed> {
    loop {
        let table = fs::read_to_string("/proc/thread-self/mountinfo")?;
        let points: Vec<PathBuf> = table.lines().filter_map(namespace_mount).collect();
        if points.is_empty() {
            return Ok(());
        }
        // Mounts on one path hide each other, so the list is read again until it is empty.
        for point in points {
            umount2(&point, MntFlags::MNT_DETACH).map_err(|error| format!("{}: {error}", point.display()))?;
        }
    }
}

/// Returns the mount point of a mounted namespace in a line of proc_pid_mountinfo(5), which writes blanks as octal
/// escapes.
fn namespace_mount(line: &str) -> Option<PathBuf> {
    let (mount, source) = line.split_once(" - ")?;
    let point = mount.split(' ').nth(4).filter(|_| source.starts_with("nsfs "))?;
    Some(point.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\").into())
}

/// The tools of a scene.
pub struct Lab {
    directory: TempDir,
    /// The first process of the scene's pid namespace, if it has one. It is dropped last: the kernel lets it end only
    /// after every other process in the namespace has been waited for.
    first: OnceCell<Server>,
    /// The paths on which helpers may have mounted something.
    mounts: RefCell<Vec<PathBuf>>,
    /// The last run that was read as JSON, for the message of a failure.
    last: RefCell<Option<Output>>,
}

impl Drop for Lab {
    /// A mount in the scene's directory would keep it from being removed.
    fn drop(&mut self) {
        for path in self.mounts.take() {
            while umount2(&path, MntFlags::MNT_DETACH).is_ok() {}
        }
    }
}

impl Lab {
    fn new() -> Result<Self, Failed> {
        let directory = directory("scene")?;
        for program in ["portolan", "helper"] {
            fs::hard_link(stage()?.1.join(program), directory.path().join(program))?;
        }
        Ok(Lab { directory, first: OnceCell::new(), mounts: RefCell::default(), last: RefCell::default() })
    }

    /// Adds the report and the standard error of the last run to the message of a failure.
    fn explained(&self, failed: &Failed) -> Failed {
        let mut text = failed.message().unwrap_or("failed").to_owned();
        if let Some(output) = self.last.take() {
            if let Ok(report) = serde_json::from_slice::<Value>(&output.stdout) {
                text += &format!("\nthe last report:\n{}", summary(&report));
            }
            text += &format!("\nits standard error:\n{}", brief(&String::from_utf8_lossy(&output.stderr)));
        }
        text.into()
    }

    /// Creates a place in the scene's directory where a helper may mount something.
    pub fn mount_point(&self, name: &str) -> String {
        let path = self.directory.path().join(name);
        self.mounts.borrow_mut().push(path.clone());
        path.to_str().expect("a path of this suite's own").to_owned()
    }

    /// Returns the path of a file in the scene's directory.
    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().expect("a path of this suite's own").to_owned()
    }

    /// Enters a pid namespace with a `/proc` of its own, which contains only the processes that the scene starts from
    /// here on: every visible process may be read, regardless of the other processes on this machine.
    pub fn alone(&self) -> Outcome {
        self.alone_with("")
    }

    /// Enters a pid namespace with a `/proc` of its own, with options for the mount of `/proc`.
    pub fn alone_with(&self, options: &str) -> Outcome {
        unshare(CloneFlags::CLONE_NEWPID)?;
        let first = self.helper(["init", options])?;
        self.first.set(first).map_err(|_| "a scene is alone once".into())
    }

    /// Enters a pid namespace as [`Lab::alone`] does, with a first process that listens in a control group.
    pub fn alone_listening(&self, group: &str, address: &str) -> Outcome {
        unshare(CloneFlags::CLONE_NEWPID)?;
        let first = self.helper(["init-in-group", group, address])?;
        self.first.set(first).map_err(|_| "a scene is alone once".into())
    }

    /// Creates a directory of the scene with these permissions.
    pub fn directory_of_mode(&self, name: &str, mode: u32) -> Result<PathBuf, Failed> {
        let directory =
            tempfile::Builder::new().prefix("part").tempdir_in(self.directory.path())?.keep().join(name);
        fs::create_dir_all(&directory)?;
        fs::set_permissions(directory.parent().ok_or("no parent")?, fs::Permissions::from_mode(0o755))?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode))?;
        Ok(directory)
    }

    /// Starts this program as a helper under another name, as [`Lab::helper`] does.
    pub fn helper_called(&self, name: &str, arguments: &[&str]) -> Result<Server, Failed> {
        let program = self.directory_of_mode("bin", 0o755)?.join(name);
        fs::copy(self.directory.path().join("helper"), &program)?;
        let mut command = Command::new(program);
        Server::ready(command.arg("--helper").args(arguments))
    }

    /// Returns the command for a helper of `helpers.rs`, not yet started.
    pub fn as_helper<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(self.directory.path().join("helper"));
        command.arg("--helper").args(arguments);
        command
    }

    /// Starts a helper and waits until it prints that it is ready.
    pub fn helper<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Server, Failed> {
        Server::ready(&mut self.as_helper(arguments))
    }

    /// Returns the command that starts the program through `helpers.rs`, under the circumstance that the first argument
    /// names.
    pub fn portolan_under<S: AsRef<OsStr>>(
        &self,
        circumstance: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let program = self.directory.path().join("portolan");
        let mut command = self.as_helper([OsStr::new("run"), OsStr::new(circumstance), program.as_ref()]);
        command.args(SCOPE).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs the program under a circumstance, and returns its JSON, even if nothing matched, and its standard error.
    pub fn json_under(&self, circumstance: &str, arguments: &[&str]) -> Result<(Value, String), Failed> {
        self.remembered(self.portolan_under(circumstance, ["-o", "json"].iter().chain(arguments)).output()?)
    }

    /// Returns the command for the program, with an environment that does not colour or narrow its output.
    pub fn portolan<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(self.directory.path().join("portolan"));
        command.args(SCOPE).args(arguments).env_remove("NO_COLOR").env("TZ", "UTC").stdin(Stdio::null());
        command
    }

    /// Returns the command for the program, but without accepting the scene's namespaces as the whole machine.
    pub fn portolan_on_a_machine<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(self.directory.path().join("portolan"));
        command.args(arguments).env_remove("NO_COLOR").stdin(Stdio::null());
        command
    }

    /// Runs the program as root and reads its JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value, Failed> {
        Ok(self.remembered(self.portolan(["-o", "json"].iter().chain(arguments)).output()?)?.0)
    }

    /// Runs the program as nobody, and returns its JSON and its standard error.
    pub fn json_as_nobody(&self, arguments: &[&str]) -> Result<(Value, String), Failed> {
        let mut command = self.portolan(["-o", "json"].iter().chain(arguments));
        self.remembered(command.uid(NOBODY).gid(NOBODY).output()?)
    }

    /// Returns the JSON of a run and its standard error, and keeps the run for the message of a failure.
    fn remembered(&self, output: Output) -> Result<(Value, String), Failed> {
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        let parsed = Self::parsed(&output);
        self.last.replace(Some(output));
        Ok((parsed?, messages))
    }

    /// Returns the JSON of a run that must not fail, even if nothing matched.
    pub fn parsed(output: &Output) -> Result<Value, Failed> {
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0 | 1) => {
                serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {messages}").into())
            }
            code => Err(format!("exit code {code:?}: {messages}").into()),
        }
    }

    /// Copies `sleep` to a file with this name: a process has the name of its file.
    pub fn sleeper_called(&self, name: &[u8]) -> Result<PathBuf, Failed> {
        let directory = tempfile::Builder::new().prefix("part").tempdir_in(self.directory.path())?.keep();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
        let path = directory.join(OsStr::from_bytes(name));
        fs::copy(sleep(), &path)?;
        Ok(path)
    }
}

/// Returns the path of this machine's `sleep`, with links resolved.
pub fn sleep() -> PathBuf {
    fs::canonicalize("/bin/sleep").expect("a sleep in /bin")
}

/// A process that owns sockets and does nothing else, for at most ten minutes; dropping it ends the process.
pub struct Server {
    child: Child,
    /// The pid in the `/proc` of the scene.
    pid: u32,
    /// The pipes to a helper and from it.
    pipes: Option<(ChildStdin, ChildStdout)>,
    /// The words of a helper's first line.
    pub said: Vec<String>,
}

impl Server {
    /// Starts `program`, which must accept `sleep`'s arguments, with up to three sockets as its standard streams.
    pub fn start(program: &Path, sockets: Vec<OwnedFd>) -> Result<Self, Failed> {
        Self::start_as(program, sockets, None)
    }

    /// Starts `program` under another user, with up to three sockets as its standard streams.
    pub fn start_as(program: &Path, sockets: Vec<OwnedFd>, uid: Option<u32>) -> Result<Self, Failed> {
        assert!(sockets.len() <= 3, "standard streams are three");
        let mut streams = sockets.into_iter().map(Stdio::from).chain(std::iter::repeat_with(Stdio::null));
        let mut command = Command::new(program);
        command.arg("600");
        command
            .stdin(streams.next().unwrap())
            .stdout(streams.next().unwrap())
            .stderr(streams.next().unwrap());
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        Self::spawn(&mut command)
    }

    /// Starts a command that keeps the sockets it was given.
    pub fn spawn(command: &mut Command) -> Result<Self, Failed> {
        // `spawn` returns once the program runs: its name and its descriptors are final.
        Server::new(command.spawn()?, None)
    }

    /// Starts a helper and waits until it prints that it is ready.
    pub fn ready(command: &mut Command) -> Result<Self, Failed> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let mut server = Server::new(child, pipes)?;
        server.said = server.line()?;
        match server.said.first().map(String::as_str) {
            Some("ready") => Ok(server),
            other => Err(format!("a helper says {other:?}").into()),
        }
    }

    fn new(child: Child, pipes: Option<(ChildStdin, ChildStdout)>) -> Result<Self, Failed> {
        // The server is created before its pid is read: a child that is not waited for would keep its pid namespace
        // alive.
        let mut server = Server { child, pid: 0, pipes, said: Vec::new() };
        server.pid = inner_pid(server.child.id())?;
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the pid in the pid namespace of this test.
    pub fn outer_pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Returns the exit code of a process that has ended; without one if a signal ended it.
    pub fn exit_code(&mut self) -> Option<Option<i32>> {
        self.child.try_wait().ok()?.map(|status| status.code())
    }

    /// Returns the words of the helper's next line.
    pub fn line(&mut self) -> Result<Vec<String>, Failed> {
        let (_, from) = self.pipes.as_mut().ok_or("no helper")?;
        let mut line = Vec::new();
        let mut byte = [0];
        while from.read(&mut byte)? == 1 && byte != *b"\n" {
            line.extend(byte);
        }
        Ok(String::from_utf8(line)?.split(' ').map(str::to_owned).collect())
    }

    /// Sends a helper a line.
    pub fn send(&mut self, line: &str) -> Outcome {
        let (to, _) = self.pipes.as_mut().ok_or("no helper")?;
        Ok(writeln!(to, "{line}")?)
    }

    /// Ends a helper, and returns what it prints last.
    pub fn end(mut self) -> Result<Vec<String>, Failed> {
        let (to, from) = self.pipes.take().ok_or("no helper")?;
        drop(to);
        let mut last = String::new();
        BufReader::new(from).read_line(&mut last)?;
        self.child.wait()?;
        Ok(last.split_whitespace().map(str::to_owned).collect())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the pid of a child inside its pid namespace: the last of `NSpid` (proc_pid_status(5)).
fn inner_pid(pid: u32) -> Result<u32, Failed> {
    use rustix::fs::{Mode, OFlags, openat};
    let path = format!("{pid}/status");
    let file = openat(&stage()?.0, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let status = std::io::read_to_string(fs::File::from(file))?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:")).ok_or("no NSpid")?;
    Ok(line.split_whitespace().next_back().ok_or("no pid")?.parse()?)
}

/// Returns a listening TCP socket.
pub fn tcp(address: &str) -> Result<OwnedFd, Failed> {
    TcpListener::bind(address).map(OwnedFd::from).map_err(|error| format!("tcp {address}: {error}").into())
}

/// Opens a TCP listener that shares its address with others (`SO_REUSEPORT`).
pub fn shared_tcp(address: SocketAddr) -> Result<OwnedFd, Failed> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, 16)?;
    Ok(socket)
}

/// Sends a descriptor through a pair of Unix sockets, and closes it; returns the pair.
pub fn send_unreceived(descriptor: OwnedFd) -> Result<[OwnedFd; 2], Failed> {
    let (near, far) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let sent = [descriptor.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&sent)) {
        return Err("no space for a descriptor".into());
    }
    sendmsg(&near, &[IoSlice::new(b"x")], &mut control, SendFlags::empty())?;
    drop(descriptor);
    Ok([near, far])
}

/// Returns a bound UDP socket.
pub fn udp(address: &str) -> Result<OwnedFd, Failed> {
    UdpSocket::bind(address).map(OwnedFd::from).map_err(|error| format!("udp {address}: {error}").into())
}

/// Unmounts `/proc` in the scene's own mount namespace.
pub fn unmount_proc() -> Result<(), Failed> {
    // Another mount may lie below it.
    umount2("/proc", MntFlags::MNT_DETACH).map_err(|error| format!("umount /proc: {error}").into())
}

/// Mounts `/proc` again.
pub fn remount_proc() -> Result<(), Failed> {
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>)
        .map_err(|error| format!("mount /proc: {error}").into())
}
