//! `portolan kill` and control groups: a unit or a container is stopped exactly if it is there for the target alone.
//!
//! Stand-ins for `systemctl` and `docker` record their arguments. The processes, control groups, namespaces and files are
//! real.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::Failed;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;

use crate::kill::{kill, lives, terminal, texts, until};
use crate::lab::{Lab, Outcome, Scene, Server, sleep, tcp};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("kill_stops_exactly_one_container", container),
    ("kill_stops_the_container_of_a_published_port", published),
    ("kill_reports_an_engine_that_fails_or_is_missing", engine_fails),
    ("kill_stops_no_container_for_a_container_inside", nested),
    ("kill_stops_a_unit_and_names_what_ends_too", unit),
    ("kill_stops_no_unit_that_also_runs_other_programs", unit_for_more),
    ("kill_spares_the_service_manager_of_a_user", user_manager),
];

const TREE: &str = "/sys/fs/cgroup";

/// The control groups of a scene. They are removed on drop, and the processes in them end.
pub struct Groups {
    slice: PathBuf,
    /// The ID of a container.
    id: String,
    /// The ID of another container.
    other_id: String,
}

impl Groups {
    /// The tree is mounted only in this scene; the groups themselves exist on the whole machine.
    pub fn new() -> Result<Self, Failed> {
        mount(Some("cgroup2"), TREE, Some("cgroup2"), MsFlags::empty(), None::<&str>)?;
        let of = format!("{}-{:?}", std::process::id(), std::thread::current().id());
        // A shell reads this name.
        let of: String = of.chars().filter(|letter| !matches!(letter, '(' | ')')).collect();
        let slice = PathBuf::from(format!("{TREE}/portolan-scene-{of}.slice"));
        let id = |digit: char| format!("{digit}{:063x}", std::process::id());
        Ok(Groups { slice, id: id('a'), other_id: id('b') })
    }

    /// Makes the group of a unit, and returns its path.
    pub fn unit(&self, name: &str) -> Result<String, Failed> {
        let path = self.slice.join(name);
        fs::create_dir_all(&path)?;
        Ok(path.to_str().ok_or("no path")?.to_owned())
    }

    fn container(&self, id: &str) -> Result<String, Failed> {
        self.unit(&format!("docker-{id}.scope"))
    }

    /// Starts a container in pid and network namespaces of its own, or in a pid namespace only (`host`). Its second
    /// process owns no socket. Returns also the pids of both.
    fn start(&self, lab: &Lab, id: &str, network: &str, address: &str) -> Result<(Server, [u32; 2]), Failed> {
        let server = lab.helper(["contained", &self.container(id)?, network, address])?;
        let [_, first, second] = &server.said[..] else { return Err(format!("{:?}", server.said).into()) };
        let pids = [first.parse()?, second.parse()?];
        Ok((server, pids))
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // The mount that covers the tree exists for this scene alone.
        while !self.slice.exists() && umount2(TREE, MntFlags::MNT_DETACH).is_ok() {}
        // The processes of a container outlive its helper for a moment.
        let _ = fs::write(self.slice.join("cgroup.kill"), "1");
        let _ = until(|| {
            remove_groups(&self.slice, 4);
            (!self.slice.exists()).then_some(())
        });
    }
}

fn remove_groups(group: &Path, depth: usize) {
    let below = fs::read_dir(group).into_iter().flatten().flatten();
    let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    below.filter(|_| depth > 0).for_each(|entry| remove_groups(&entry.path(), depth - 1));
    let _ = fs::remove_dir(group);
}

/// The places in which `portolan kill` looks for programs.
const PLACES: [&str; 4] = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"];

/// Puts a program in the place of another one, in this scene's mount namespace only. It records its arguments, one line
/// for each call, and runs a script. Returns what it has recorded.
pub fn stand_in(lab: &Lab, name: &str, script: &str) -> Result<impl Fn() -> String + use<>, Failed> {
    let (program, calls) = (lab.path(&format!("stand-in-{name}")), lab.path(&format!("calls-{name}")));
    fs::write(&program, format!("#!/bin/sh\necho \"$*\" >>{calls}\n{script}\n"))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    if !cover(name, &program)? {
        mount(Some("tmpfs"), "/usr/local/bin", Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        fs::copy(&program, Path::new("/usr/local/bin").join(name))?;
    }
    Ok(move || fs::read_to_string(&calls).unwrap_or_default())
}

/// Mounts a file over a program in each place that has it; returns whether there is one.
fn cover(name: &str, file: &str) -> Result<bool, Failed> {
    // A place may be a link to another one. A file that is covered itself could not be removed after the scene.
    let places: BTreeSet<PathBuf> =
        PLACES.iter().filter_map(|place| fs::canonicalize(Path::new(place).join(name)).ok()).collect();
    for place in &places {
        while umount2(place, MntFlags::MNT_DETACH).is_ok() {}
        mount(Some(file), place, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    }
    Ok(!places.is_empty())
}

/// Writes the files of Docker for two containers, where only this scene sees them. The second one has the short ID of the
/// first one as its name.
fn docker_files(lab: &Lab, groups: &Groups) -> Outcome {
    let data = lab.path("docker");
    let short = &groups.id[..12];
    for (id, name, address) in
        [(&groups.id, "shop-web", "172.30.0.2"), (&groups.other_id, short, "172.30.0.3")]
    {
        let directory = Path::new(&data).join("containers").join(id);
        fs::create_dir_all(&directory)?;
        let file = json!({
            "ID": id, "Name": format!("/{name}"), "Config": { "Image": "nginx:1.27" }, "State": { "Running": true },
            "NetworkSettings": { "Networks": { "bridge": { "IPAddress": address } } },
        });
        fs::write(directory.join("config.v2.json"), file.to_string())?;
    }
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    let task = format!("/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/{}", groups.id);
    fs::create_dir_all(&task)?;
    let source = format!("{data}/containers/{}/hostname", groups.id);
    let mounts = json!([{ "destination": "/etc/hostname", "source": source }]);
    Ok(fs::write(format!("{task}/config.json"), json!({ "mounts": mounts }).to_string())?)
}

/// Ends the processes in the group that the last argument names, as Docker does for a container, and the processes in a
/// list.
fn engine(groups: &Groups, also: &str) -> String {
    format!(
        "for last; do :; done\n\
         while read -r pid; do kill -9 $pid 2>&- || :; done <{}/docker-$last.scope/cgroup.procs || exit 1\n\
         [ ! -e {also} ] || kill $(cat {also})",
        groups.slice.display()
    )
}

const DOCKER: &str = "--host unix:///var/run/docker.sock stop";

fn container(lab: &Lab) -> Outcome {
    let groups = Groups::new()?;
    docker_files(lab, &groups)?;
    let calls = stand_in(lab, "docker", &engine(&groups, "/none"))?;
    lab.alone()?;
    let (_web, [first, second]) = groups.start(lab, &groups.id, "host", "127.0.0.1:8740")?;
    let (_other, others) = groups.start(lab, &groups.other_id, "host", "127.0.0.1:8741")?;
    let mut outside = Server::start(&sleep(), vec![tcp("127.0.0.1:8742")?])?;
    let (code, out, err) = kill(lab, &["8740", "--dry-run"])?;
    same!(code, Some(0), "{out}{err}");
    let by_id =
        format!("Would run   docker stop {}   (container shop-web, by its full ID)\n", &groups.id[..12]);
    same!(out.contains(&by_id), true, "{out}");
    same!(out.contains(&format!("Ends too    sleep (pid {second}) in the container\n")), true, "{out}");
    same!((calls(), lives(first), lives(second)), (String::new(), true, true));
    let (code, out, err) = kill(lab, &["8740", "--yes"])?;
    same!(code, Some(0), "{out}{err}");
    same!(calls(), format!("{DOCKER} {}\n", groups.id));
    // A process closes its sockets before it has ended.
    until(|| (!lives(first) && !lives(second)).then_some(()))?;
    same!((others.map(lives), outside.has_ended()), ([true; 2], false));
    Ok(())
}

/// Docker's program in front of a container owns the port. The other port of the container ends too, and the port of
/// another container does not.
fn published(lab: &Lab) -> Outcome {
    let groups = Groups::new()?;
    docker_files(lab, &groups)?;
    let proxies = lab.path("proxies");
    let calls = stand_in(lab, "docker", &engine(&groups, &proxies))?;
    lab.alone()?;
    let (_web, web) = groups.start(lab, &groups.id, "own", "127.0.0.1:80")?;
    let (_other, others) = groups.start(lab, &groups.other_id, "own", "127.0.0.1:80")?;
    let program = lab.directory_of_mode("bin", 0o755)?.join("docker-proxy");
    fs::copy("/bin/bash", &program)?;
    let proxy = |port: u16, address: &str| -> Result<Server, Failed> {
        let mut command = Command::new(&program);
        // The shell gets a signal while it waits.
        let script = ["-c", "sleep 600 </dev/null & wait", "docker-proxy"];
        command.args(script).args(["-container-ip", address, "-container-port", "80"]);
        Server::spawn(command.stdin(tcp(&format!("127.0.0.1:{port}"))?).stdout(Stdio::null()))
    };
    let (mut one, mut two) = (proxy(8743, "172.30.0.2")?, proxy(8744, "172.30.0.2")?);
    let mut three = proxy(8745, "172.30.0.3")?;
    fs::write(&proxies, format!("{} {}", one.pid(), two.pid()))?;
    let (code, out, err) = kill(lab, &["8743", "--yes"])?;
    same!(code, Some(0), "{out}{err}");
    same!(out.contains("(docker-proxy) on tcp 127.0.0.1:8744") && !out.contains("8745"), true, "{out}");
    same!(calls(), format!("{DOCKER} {}\n", groups.id));
    until(|| (one.has_ended() && two.has_ended() && web.map(lives) == [false; 2]).then_some(()))?;
    same!((three.has_ended(), others.map(lives)), (false, [true; 2]));
    Ok(())
}

fn engine_fails(lab: &Lab) -> Outcome {
    let groups = Groups::new()?;
    docker_files(lab, &groups)?;
    let calls =
        stand_in(lab, "docker", &format!("[ -e {0} ] && exit 0; : >{0}; exit 7", lab.path("failed")))?;
    lab.alone()?;
    let (_web, web) = groups.start(lab, &groups.id, "host", "127.0.0.1:8746")?;
    let (code, out, err) = kill(lab, &["8746", "--yes"])?;
    same!(code, Some(2), "{out}{err}");
    same!(err.contains("/docker: exit status: 7"), true, "{err}");
    // Docker reports success, and the port is still in use.
    let (code, out, err) = kill(lab, &["8746", "--yes"])?;
    same!(code, Some(1), "{out}{err}");
    same!((out.contains("Ended"), err.contains("still in use")), (false, true), "{out}{err}");
    same!(calls().lines().count(), 2);
    // A device cannot be the program.
    cover("docker", "/dev/null")?;
    let (code, out, err) = kill(lab, &["8746", "--yes"])?;
    same!(code, Some(2), "{out}{err}");
    same!(err.contains("docker: no such program in /usr/bin"), true, "{err}");
    same!(web.map(lives), [true; 2]);
    Ok(())
}

/// The managers of this machine know the outer container only, and the group of the inner one can have any name.
fn nested(lab: &Lab) -> Outcome {
    let groups = Groups::new()?;
    docker_files(lab, &groups)?;
    let calls = stand_in(lab, "docker", "")?;
    lab.alone()?;
    let (_outer, outer) = groups.start(lab, &groups.id, "host", "127.0.0.1:8747")?;
    let (_other, others) = groups.start(lab, &groups.other_id, "host", "127.0.0.1:8748")?;
    let inside = groups.unit(&format!("docker-{}.scope/docker-{}.scope", groups.id, groups.other_id))?;
    let mut server = in_group(&inside, vec![tcp("127.0.0.1:8749")?])?;
    let (code, out, err) = kill(lab, &["8749", "--yes"])?;
    same!(code, Some(0), "{out}{err}");
    same!((calls(), server.has_ended()), (String::new(), true));
    same!((outer.map(lives), others.map(lives)), ([true; 2], [true; 2]));
    Ok(())
}

/// Starts a process in a group. It owns the sockets.
fn in_group(group: &str, sockets: Vec<std::os::fd::OwnedFd>) -> Result<Server, Failed> {
    in_group_as(&sleep(), group, sockets)
}

fn in_group_as(program: &Path, group: &str, sockets: Vec<std::os::fd::OwnedFd>) -> Result<Server, Failed> {
    let mut streams = sockets.into_iter().map(Stdio::from).chain(std::iter::repeat_with(Stdio::null));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "echo 0 >$1/cgroup.procs && exec $0 600"]).arg(program).arg(group);
    let mut stream = || streams.next().unwrap_or_else(Stdio::null);
    let server = Server::spawn(command.stdin(stream()).stdout(stream()).stderr(stream()))?;
    let name = program.file_name().and_then(|name| name.to_str()).ok_or("no name")?;
    until(|| runs(server.pid(), name).then_some(()))?;
    Ok(server)
}

fn runs(pid: u32, name: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|running| running.trim_end() == name)
}

fn unit(lab: &Lab) -> Outcome {
    let groups = Groups::new()?;
    let front = groups.unit("front.service")?;
    let worker = groups.unit("front.service/worker.service")?;
    let back = groups.unit("back.service")?;
    let script = format!(
        "[ $1 = stop ] || {{ echo Id=front.service; echo ActiveState=active; echo RequiredBy=shop.service off.service; }}\n\
         case \"$*\" in *shop.service*) printf '\\nId=shop.service\\nActiveState=active\\n';; esac\n\
         [ $1 = show ] || while read -r pid; do kill $pid; done <{front}/cgroup.procs"
    );
    let calls = stand_in(lab, "systemctl", &script)?;
    lab.alone()?;
    let mut front = in_group(&front, vec![tcp("127.0.0.1:8750")?])?;
    // This service of a service manager inside the unit would end with it.
    let mut worker = in_group(&worker, vec![tcp("127.0.0.1:8751")?])?;
    let mut back = in_group(&back, vec![tcp("127.0.0.1:8752")?])?;
    let (code, out, err) = kill(lab, &["8750", "--yes"])?;
    same!(code, Some(0), "{out}{err}");
    same!(out.contains("Runs        systemctl stop front\n"), true, "{out}");
    let too = "Ends too    sleep on tcp 127.0.0.1:8751\n              the unit shop.service, which depends on the stopped unit\n";
    same!(out.contains(too), true, "{out}");
    let stops = || calls().lines().filter(|call| !call.starts_with("show ")).collect::<Vec<_>>().join("; ");
    same!(stops(), "stop -- front.service");
    until(|| front.has_ended().then_some(()))?;
    same!(back.has_ended(), false);
    // The unit around the inner one is not stopped for it.
    let (code, out, err) = kill(lab, &["8751", "--yes"])?;
    same!(code, Some(0), "{out}{err}");
    same!((stops(), worker.has_ended()), ("stop -- front.service".to_owned(), true));
    Ok(())
}

/// The unit of a terminal program or of portolan itself is not the unit of the target. A group whose name is a
/// pattern is not a unit.
fn unit_for_more(lab: &Lab) -> Outcome {
    let groups = Groups::new()?;
    let calls = stand_in(lab, "systemctl", "")?;
    let terminals = groups.unit("terminals.service")?;
    let pattern = groups.unit("*.service")?;
    lab.alone()?;
    let mut other = in_group(&terminals, vec![tcp("127.0.0.1:8753")?])?;
    let mut server = in_group(&terminals, vec![tcp("127.0.0.1:8754")?])?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "echo 0 >$0/cgroup.procs && exec \"$@\"", &terminals]);
    let portolan = lab.portolan(["kill", "8754", "--yes"]);
    command.arg(portolan.get_program()).args(portolan.get_args()).stdin(Stdio::null());
    let (code, out, err) = texts(&command.output()?)?;
    same!(code, Some(0), "{out}{err}");
    same!((server.has_ended(), other.has_ended()), (true, false));

    let (_user, line) = terminal()?;
    let mut command = Command::new("setsid");
    command.args(["--ctty", "/bin/sh", "-c", "echo 0 >$0/cgroup.procs && exec sleep 600", &terminals]);
    let mut on_terminal = Server::spawn(command.stdin(line).stdout(tcp("127.0.0.1:8758")?))?;
    drop(command);
    until(|| runs(on_terminal.pid(), "sleep").then_some(()))?;
    let (code, out, err) = kill(lab, &["8758", "--yes"])?;
    same!(code, Some(0), "{out}{err}");
    same!((on_terminal.has_ended(), other.has_ended()), (true, false));

    let mut server = in_group(&pattern, vec![tcp("127.0.0.1:8755")?])?;
    let (code, out, err) = kill(lab, &["8755", "--yes"])?;
    same!(code, Some(0), "{out}{err}");
    same!((server.has_ended(), other.has_ended()), (true, false));
    same!(calls(), "");
    Ok(())
}

/// It opens the sockets of the user's socket units, and runs all other services of the user.
fn user_manager(lab: &Lab) -> Outcome {
    let groups = Groups::new()?;
    let calls = stand_in(lab, "systemctl", "")?;
    let manager = groups.unit("user@1000.service/init.scope")?;
    let service = groups.unit("user@1000.service/app.slice/app.service")?;
    lab.alone()?;
    let socket = tcp("127.0.0.1:8756")?;
    let systemd = lab.sleeper_called(b"systemd")?;
    let mut manager = in_group_as(&systemd, &manager, vec![socket.try_clone()?, tcp("127.0.0.1:8757")?])?;
    let mut service = in_group(&service, vec![socket])?;
    for port in ["8756", "8757"] {
        let (code, out, err) = kill(lab, &[port, "--yes", "--force"])?;
        same!(code, Some(2), "{out}{err}");
        same!(err.contains("holds the port for a socket unit; stop that unit"), true, "{err}");
        same!((manager.has_ended(), service.has_ended(), calls()), (false, false, String::new()));
    }
    Ok(())
}
