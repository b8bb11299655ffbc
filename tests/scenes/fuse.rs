//! A FUSE file system that stops answering, and a process that runs a script from it.

use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use rustix::fs::{FileType, Mode};
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::Value;

use crate::lab::{Lab, Outcome, Scene, Server, listeners};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("a_file_system_that_stops_answering_keeps_nobody_waiting", a_file_system_that_stops_answering),
    ("a_child_process_that_is_killed_ends_the_command", a_child_process_that_is_killed),
];

const SCRIPT: &[u8] = b"echo ready\nread line\n";
/// A time longer than the limits of all reads together.
const PATIENCE: Duration = Duration::from_secs(60);

fn kernel_has_fuse() -> Result<bool, libtest_mimic::Failed> {
    let has = fs::read_to_string("/proc/filesystems")?.lines().any(|line| line.ends_with("\tfuse"));
    if !has {
        eprintln!("this kernel has no FUSE: a file system that does not answer was not tested");
    }
    Ok(has)
}

/// Starts a script, and the file system that contains it. The file system answers until the returned file exists. It
/// must end first, because a process that ends closes its files, and waits for the file system.
fn script(lab: &Lab) -> Result<(Server, Server, String, PathBuf), libtest_mimic::Failed> {
    let point = lab.mount_point("files");
    let silence = lab.path("silence");
    fs::create_dir(&point)?;
    let files = lab.helper(["file-system", &point, &silence])?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port().to_string();
    fcntl_setfd(&listener, FdFlags::empty())?;
    let mut shell = Command::new("sh");
    let script = Server::ready(shell.arg(format!("{point}/server.sh")).current_dir(&point))?;
    Ok((script, files, port, silence.into()))
}

/// Every command prints an answer and ends while the file system is still silent.
fn a_file_system_that_stops_answering(lab: &Lab) -> Outcome {
    if !kernel_has_fuse()? {
        return Ok(());
    }
    let (script, files, port, silence) = script(lab)?;
    fs::write(silence, "")?;
    for arguments in [&[][..], &["audit"], &["explain", &port]] {
        let mut command = lab.portolan(["-o", "json"].iter().chain(arguments));
        let mut portolan = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut printed = portolan.stdout.take().ok_or("no output")?;
        let output = std::thread::spawn(move || {
            // The process of the file system keeps the pipe open, so the test does not wait for the end of the
            // output.
            let mut values = serde_json::Deserializer::from_reader(&mut printed).into_iter::<Value>();
            values.next()
        });
        let began = Instant::now();
        while portolan.try_wait()?.is_none() {
            if began.elapsed() > PATIENCE {
                portolan.kill()?;
                return Err(format!("portolan {arguments:?} does not end").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let report = output.join().map_err(|_| "no output")?.ok_or("no output")??;
        same!(report.to_string().contains(&port), true, "{arguments:?}: {report}");
    }
    drop(files);
    drop(script);
    Ok(())
}

/// The command does not wait for a missing report: if a signal ends the child, the same signal ends the command.
fn a_child_process_that_is_killed(lab: &Lab) -> Outcome {
    if !kernel_has_fuse()? {
        return Ok(());
    }
    let (script, files, port, _) = script(lab)?;
    let mut portolan = lab.portolan(["watch", "-o", "json", &port]).stdout(Stdio::piped()).spawn()?;
    let mut first = [0];
    portolan.stdout.as_mut().ok_or("no output")?.read_exact(&mut first)?;
    let children = format!("/proc/{0}/task/{0}/children", portolan.id());
    let child: i32 = fs::read_to_string(children)?.trim().parse()?;
    let child = rustix::process::Pid::from_raw(child).ok_or("no child")?;
    rustix::process::kill_process(child, rustix::process::Signal::KILL)?;
    same!(portolan.wait()?.signal(), Some(9));
    // A signal to the command reaches the child.
    let mut portolan = lab.portolan(["watch", "-o", "json", &port]).stdout(Stdio::piped()).spawn()?;
    portolan.stdout.as_mut().ok_or("no output")?.read_exact(&mut first)?;
    let own = rustix::process::Pid::from_child(&portolan);
    rustix::process::kill_process(own, rustix::process::Signal::TERM)?;
    same!(portolan.wait()?.signal(), Some(15));
    same!(listeners(&lab.json(&[&port])?)?.len(), 1);
    drop(files);
    drop(script);
    Ok(())
}

/// Mounts a file system with one file, and answers until the file `silence` exists.
pub fn serve(point: &str, silence: &str) -> Result<(), Box<dyn Error>> {
    let device = device(point)?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
    mount(Some("files"), point, Some("fuse"), MsFlags::empty(), Some(options.as_str()))?;
    println!("ready");
    std::io::stdout().flush()?;
    let mut request = vec![0; 256 * 1024];
    loop {
        let length = (&device).read(&mut request)?;
        if !Path::new(silence).exists()
            && let Some(answer) = answer(&request[..length])
        {
            (&device).write_all(&answer)?;
        }
    }
}

/// Opens the device of FUSE, which a container may lack.
fn device(point: &str) -> Result<File, Box<dyn Error>> {
    let open = |path: &Path| File::options().read(true).write(true).open(path);
    if let Ok(device) = open(Path::new("/dev/fuse")) {
        return Ok(device);
    }
    let node = Path::new(point).with_extension("device");
    // Documentation/admin-guide/devices.txt of the kernel.
    let number = rustix::fs::makedev(10, 229);
    rustix::fs::mknodat(rustix::fs::CWD, &node, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, number)?;
    Ok(open(&node)?)
}

/// Returns the answer to a request (`linux/fuse.h`), if the request wants one.
fn answer(request: &[u8]) -> Option<Vec<u8>> {
    const LOOKUP: u32 = 1;
    const FORGET: u32 = 2;
    const GETATTR: u32 = 3;
    const OPEN: u32 = 14;
    const READ: u32 = 15;
    const RELEASE: u32 = 18;
    const FLUSH: u32 = 25;
    const INIT: u32 = 26;
    const OPENDIR: u32 = 27;
    const RELEASEDIR: u32 = 29;
    const BATCH_FORGET: u32 = 42;
    /// Every read reaches the file system and not the kernel's cache.
    const DIRECT_IO: u32 = 1;
    const ROOT: u64 = 1;
    const ENOSYS: i32 = 38;
    let number =
        |at: usize| request.get(at..at + 4).map(|bytes| u32::from_ne_bytes(bytes.try_into().unwrap()));
    let long = |at: usize| request.get(at..at + 8).map(|bytes| u64::from_ne_bytes(bytes.try_into().unwrap()));
    let node = long(16)?;
    let mut body = Vec::new();
    let mut error = 0;
    match number(4)? {
        INIT => {
            for word in [7, 31, 65536, 0, 12 | 9 << 16, 131_072, 1] {
                body.extend(u32::to_ne_bytes(word));
            }
            body.resize(64, 0);
        }
        LOOKUP => {
            // The node, its generation, and the time for which the kernel may cache name and attributes: zero.
            [2_u64, 0, 0, 0, 0].iter().for_each(|word| body.extend(word.to_ne_bytes()));
            body.extend(attributes(2));
        }
        GETATTR => {
            body.resize(16, 0);
            body.extend(attributes(node));
        }
        OPEN | OPENDIR => {
            body.extend(1_u64.to_ne_bytes());
            body.extend(DIRECT_IO.to_ne_bytes());
            body.resize(16, 0);
        }
        READ => {
            let from = usize::try_from(long(48)?).unwrap().min(SCRIPT.len());
            body.extend(&SCRIPT[from..]);
        }
        RELEASE | FLUSH | RELEASEDIR => {}
        FORGET | BATCH_FORGET => return None,
        _ => error = -ENOSYS,
    }
    let length = u32::try_from(16 + body.len()).unwrap();
    let mut answer = [length.to_ne_bytes(), error.to_ne_bytes()].concat();
    answer.extend(long(8)?.to_ne_bytes());
    answer.extend(body);
    return Some(answer);

    fn attributes(node: u64) -> Vec<u8> {
        let (mode, size) = if node == ROOT { (0o040_755, 0) } else { (0o100_755, SCRIPT.len() as u64) };
        let mut attributes = Vec::new();
        [node, size, 8, 0, 0, 0].iter().for_each(|word| attributes.extend(word.to_ne_bytes()));
        [0_u32, 0, 0, mode, 1, 0, 0, 0, 4096, 0]
            .iter()
            .for_each(|word| attributes.extend(word.to_ne_bytes()));
        attributes
    }
}
