//! Real sockets and processes in namespaces of their own: everything a scene needs, and its undoing.
//!
//! A scene runs on a thread that has left for a fresh network namespace; whatever it starts is born there. No
//! port is taken from the machine, nothing is sent beyond the namespace, and every process is ended by its pid.

use std::ffi::OsStr;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use libtest_mimic::Failed;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};
use serde_json::Value;
use tempfile::TempDir;

/// What a scene comes to.
pub type Outcome = Result<(), Failed>;

/// A scene by its name.
pub type Scene = (&'static str, fn(&Lab) -> Outcome);

/// The user and group that own nothing.
pub const NOBODY: u32 = 65534;

/// Whether scenes can run: root, and a kernel that gives namespaces.
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
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        loopback_up()?;
        act(&Lab::new()?)
    })
    .join()
    .unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "the scene panicked".to_owned()).into())
    })
}

/// Sets device 1, which is loopback in every namespace, up: `RTM_NEWLINK` (rtnetlink(7)).
pub fn loopback_up() -> Result<(), Failed> {
    let mut message = Vec::new();
    message.extend(32u32.to_ne_bytes()); // length
    message.extend(16u16.to_ne_bytes()); // RTM_NEWLINK
    message.extend(5u16.to_ne_bytes()); // NLM_F_REQUEST | NLM_F_ACK
    message.extend([0; 8]); // sequence, port
    message.extend([0; 4]); // family, padding, type
    message.extend(1i32.to_ne_bytes()); // index
    message.extend(1u32.to_ne_bytes()); // flags: IFF_UP
    message.extend(1u32.to_ne_bytes()); // change: IFF_UP
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?; // protocol 0 is NETLINK_ROUTE
    sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 256];
    recv(&socket, &mut answer, RecvFlags::empty())?;
    match answer[16..20] {
        [0, 0, 0, 0] => Ok(()),
        ref error => Err(format!("loopback does not come up: {error:?}").into()),
    }
}

/// The tools of a scene.
pub struct Lab {
    folder: TempDir,
}

impl Lab {
    fn new() -> Result<Self, Failed> {
        // Whoever the program runs as must reach it; the checkout may lie where nobody can.
        let folder = tempfile::Builder::new().prefix("portolan-scene").tempdir_in("/tmp")?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        fs::copy(env!("CARGO_BIN_EXE_portolan"), folder.path().join("portolan"))?;
        Ok(Lab { folder })
    }

    /// The program, not yet started, with an environment that does not colour or narrow its output.
    pub fn portolan<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(self.folder.path().join("portolan"));
        command.args(arguments).env_remove("NO_COLOR").stdin(Stdio::null());
        command
    }

    /// Runs the program as root and reads its JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value, Failed> {
        Self::parsed(&self.portolan(["-o", "json"].iter().chain(arguments)).output()?)
    }

    /// Runs the program as nobody; its JSON, and what it said on standard error.
    pub fn json_as_nobody(&self, arguments: &[&str]) -> Result<(Value, String), Failed> {
        let mut command = self.portolan(["-o", "json"].iter().chain(arguments));
        let output = command.uid(NOBODY).gid(NOBODY).output()?;
        let talk = String::from_utf8(output.stderr.clone())?;
        Ok((Self::parsed(&output)?, talk))
    }

    /// The JSON of a run that went well, whatever it matched.
    pub fn parsed(output: &Output) -> Result<Value, Failed> {
        let talk = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0 | 1) => {
                serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {talk}").into())
            }
            code => Err(format!("exit code {code:?}: {talk}").into()),
        }
    }

    /// A copy of `sleep` under a name of one's choice: a process goes by the name of its file.
    pub fn sleeper_called(&self, name: &[u8]) -> Result<PathBuf, Failed> {
        let folder = tempfile::tempdir_in(self.folder.path())?.keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        let path = folder.join(OsStr::from_bytes(name));
        fs::copy(sleep(), &path)?;
        Ok(path)
    }
}

/// The `sleep` of this machine, as a file and not as a link.
pub fn sleep() -> PathBuf {
    fs::canonicalize("/bin/sleep").expect("a sleep in /bin")
}

/// A process that holds sockets and does nothing else, for ten minutes at most; ended when dropped.
pub struct Holder(Child);

impl Holder {
    /// Starts `program`, which must take `sleep`'s arguments, with up to three sockets as its standard streams.
    pub fn start(program: &Path, sockets: Vec<OwnedFd>) -> Result<Self, Failed> {
        Self::start_as(program, sockets, None)
    }

    /// The same under another user.
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
        // spawn returns once the program runs: its name and its descriptors are final.
        Ok(Holder(command.spawn()?))
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A listening TCP socket.
pub fn tcp(address: &str) -> Result<OwnedFd, Failed> {
    TcpListener::bind(address).map(OwnedFd::from).map_err(|error| format!("tcp {address}: {error}").into())
}

/// A bound UDP socket.
pub fn udp(address: &str) -> Result<OwnedFd, Failed> {
    UdpSocket::bind(address).map(OwnedFd::from).map_err(|error| format!("udp {address}: {error}").into())
}

/// Takes `/proc` away, in the scene's own mount namespace.
pub fn unmount_proc() -> Result<(), Failed> {
    // Something may be mounted below it.
    umount2("/proc", MntFlags::MNT_DETACH).map_err(|error| format!("umount /proc: {error}").into())
}

/// The listeners of a listing.
pub fn listeners(report: &Value) -> Result<&Vec<Value>, Failed> {
    report["listeners"].as_array().ok_or_else(|| "no listeners in the report".into())
}

/// The one listener on a port.
pub fn on_port(report: &Value, port: u16) -> Result<&Value, Failed> {
    let found: Vec<_> = listeners(report)?.iter().filter(|l| l["port"] == port).collect();
    match found[..] {
        [one] => Ok(one),
        _ => Err(format!("{} listeners on port {port}: {report:#}", found.len()).into()),
    }
}

/// The codes of a listener's flags.
pub fn flags(listener: &Value) -> Vec<&str> {
    listener["flags"].as_array().into_iter().flatten().filter_map(|flag| flag["code"].as_str()).collect()
}

/// The pids of a listener's processes.
pub fn pids(listener: &Value) -> Vec<u32> {
    let processes = listener["processes"].as_array().into_iter().flatten();
    processes.filter_map(|process| process["pid"].as_u64()?.try_into().ok()).collect()
}

/// Fails with the values where they differ.
#[macro_export]
macro_rules! same {
    ($left:expr, $right:expr) => {
        same!($left, $right, "")
    };
    ($left:expr, $right:expr, $($about:tt)+) => {{
        match (&$left, &$right) {
            (left, right) if left != right => {
                return Err(format!("{}:{}: {left:?} is not {right:?} {}", file!(), line!(), format!($($about)+)).into());
            }
            _ => {}
        }
    }};
}
