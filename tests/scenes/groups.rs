//! Control groups: the unit and the container of a socket, from the socket itself and from its process.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

use crate::lab::{Lab, NOBODY, Outcome, Scene, Server, on_port, tcp};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("any_user_sees_the_unit_and_container_of_a_socket", any_user_asks),
    ("a_container_has_the_name_and_image_of_its_managers_file", names),
    ("any_user_sees_the_probable_owner_of_a_socket", probable_owner),
    ("any_user_sees_the_destination_of_a_published_port", probable_proxy),
    ("an_audit_says_how_to_stop_a_unit", audit_stops_the_unit),
    ("units_and_containers_of_processes_without_a_mounted_tree", no_tree),
];

const TREE: &str = "/sys/fs/cgroup";

/// Two control groups of this scene. They are removed on drop, which must come after the processes in them have ended.
struct Groups(PathBuf, [PathBuf; 2]);

impl Groups {
    /// The tree is mounted only in this scene; the groups themselves exist on the whole machine.
    fn new() -> Result<Self, libtest_mimic::Failed> {
        mount(Some("cgroup2"), TREE, Some("cgroup2"), MsFlags::empty(), None::<&str>)?;
        let of = format!("{}-{:?}", std::process::id(), std::thread::current().id());
        let slice = PathBuf::from(format!("{TREE}/portolan-scene-{of}.slice"));
        let id = format!("{:064x}", std::process::id());
        let groups = [slice.join("front.service"), slice.join(format!("docker-{id}.scope"))];
        let groups = Groups(slice, groups);
        groups.1.iter().try_for_each(fs::create_dir_all)?;
        Ok(groups)
    }

    /// Returns one listener in each group.
    fn listeners(&self, lab: &Lab) -> Result<[Server; 2], libtest_mimic::Failed> {
        let [unit, container] = &self.1;
        let start = |group: &PathBuf, address: &str| {
            lab.helper(["in-group", group.to_str().ok_or("no path")?, address])
        };
        Ok([start(unit, "127.0.0.1:8620")?, start(container, "127.0.0.1:8621")?])
    }

    fn container(&self) -> &str {
        let name = self.1[1].file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_prefix("docker-").and_then(|name| name.strip_suffix(".scope")).unwrap_or_default()
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // The mount that covers the tree exists for this scene alone.
        while !self.0.exists() && umount2(TREE, MntFlags::MNT_DETACH).is_ok() {}
        for group in self.1.iter().chain([&self.0]) {
            let _ = fs::remove_dir(group);
        }
    }
}

fn both(report: &Value, groups: &Groups, owner: &str) -> Outcome {
    let (unit, container) = (on_port(report, 8620)?, on_port(report, 8621)?);
    same!((&unit["owner"], &container["owner"]), (&json!(owner), &json!(owner)));
    same!(unit["unit"], "front.service", "{unit:#}");
    same!(unit["container"], Value::Null);
    same!(container["container"], groups.container(), "{container:#}");
    Ok(())
}

fn any_user_asks(lab: &Lab) -> Outcome {
    let groups = Groups::new()?;
    lab.alone()?;
    let _owners = groups.listeners(lab)?;
    let report = lab.json(&["8620", "8621"])?;
    both(&report, &groups, "held")?;
    let path = on_port(&report, 8620)?["cgroup"].as_str().unwrap_or_default();
    same!(path.ends_with(".slice/front.service"), true, "{path}");
    same!(on_port(&report, 8620)?["processes"][0]["unit"], "front.service");
    // The process is not readable, but the socket still has its group.
    let (report, _) = lab.json_as_nobody(&["8620", "8621"])?;
    both(&report, &groups, "hidden")
}

/// The only process of the control group is the probable owner; of two programs, the one whose command line names the
/// port.
fn probable_owner(lab: &Lab) -> Outcome {
    let groups = Groups::new()?;
    lab.alone()?;
    let owners = groups.listeners(lab)?;
    let card = || -> Result<String, libtest_mimic::Failed> {
        let mut command = lab.portolan(["explain", "8620"]);
        command.uid(NOBODY).gid(NOBODY);
        Ok(String::from_utf8(command.output()?.stdout)?.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let text = card()?;
    let pid = owners[0].pid();
    for part in [
        "tcp 127.0.0.1:8620 probably ".to_owned(),
        format!("(pid {pid}, user root), since "),
        "the only process of front.service; run with sudo to be sure Command ".to_owned(),
    ] {
        same!(text.contains(&part), true, "{part}: {text}");
    }
    let as_nobody = |arguments: &[&str]| -> Result<String, libtest_mimic::Failed> {
        Ok(String::from_utf8(lab.portolan(arguments).uid(NOBODY).gid(NOBODY).output()?.stdout)?)
    };
    let name = fs::read_to_string(format!("/proc/{pid}/comm"))?;
    let name = name.trim_end();
    for arguments in [&["8620"][..], &[name], &["-t"]] {
        let table = as_nobody(arguments)?;
        same!(table.contains(&format!(" {name}? ")), true, "{arguments:?}: {table}");
    }
    // What started last: the start of the probable owner counts, with its mark.
    let sorted = as_nobody(&["-t", "--sort", "-since", "--columns", "port,since"])?;
    let row = sorted.lines().find(|row| row.starts_with("8620 ")).ok_or("no row")?;
    same!(row.ends_with("Z?"), true, "{sorted}");
    same!(as_nobody(&["-t", "-o", "wide"])?.contains("Z?"), true);
    // JSON contains no process that was not seen with the socket.
    let (report, _) = lab.json_as_nobody(&["8620"])?;
    same!(on_port(&report, 8620)?["processes"], json!([]));
    let other = lab.sleeper_called(b"worker")?;
    let other = Server::start(&other, vec![tcp("127.0.0.1:8623")?])?;
    fs::write(groups.1[0].join("cgroup.procs"), other.outer_pid().to_string())?;
    let text = card()?;
    let evidence = format!("probably {name} (pid {pid}, user root), since ");
    same!(text.contains(&evidence) && text.contains("its command line names this port"), true, "{text}");
    let text = as_nobody(&["explain", "8623"])?;
    same!(text.contains("not visible (run with sudo)") && !text.contains("probably"), true, "{text}");
    Ok(())
}

/// docker-proxy shares its control group with dockerd, but its command line names the port.
fn probable_proxy(lab: &Lab) -> Outcome {
    let groups = Groups::new()?;
    lab.alone()?;
    let group = groups.1[0].to_str().ok_or("no path")?;
    let daemon = Server::start(&lab.sleeper_called(b"dockerd")?, Vec::new())?;
    fs::write(groups.1[0].join("cgroup.procs"), daemon.outer_pid().to_string())?;
    let proxy = |address: &str, port: &str| {
        let line = format!(
            "in-group {group} {address} -proto tcp -host-ip 127.0.0.1 -host-port {port} -container-ip 172.30.0.2 \
             -container-port 80"
        );
        lab.helper_called("docker-proxy", &line.split(' ').collect::<Vec<_>>())
    };
    let one = proxy("127.0.0.1:8624", "8624")?;
    let _other = proxy("127.0.0.1:8625", "8626")?;
    let as_nobody = |arguments: &[&str]| -> Result<String, libtest_mimic::Failed> {
        Ok(String::from_utf8(lab.portolan(arguments).uid(NOBODY).gid(NOBODY).output()?.stdout)?)
    };
    let table = as_nobody(&["docker-proxy"])?;
    same!(table.contains(" docker-proxy? ") && table.contains(" 8624 "), true, "{table}");
    same!(table.contains(" 8625 "), false, "{table}");
    same!(
        table.contains(&format!(" {}? ", one.pid())) && table.contains(" to a container? "),
        true,
        "{table}"
    );
    let card = as_nobody(&["explain", "8624"])?.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        format!("probably docker-proxy (pid {}, user root), since ", one.pid()),
        "its command line names this address and port; run with sudo to be sure".to_owned(),
        "Forwards to probably 172.30.0.2:80 in a container (hidden; run with sudo)".to_owned(),
        "Directory hidden, like the project and the program file (run with sudo)".to_owned(),
    ] {
        same!(card.contains(&part), true, "{part}: {card}");
    }
    // A port that other machines may reach is in the answer in every format.
    let reachable = as_nobody(&["--reachable", "-t"])?;
    same!(reachable.contains(" 8624  loopback? "), true, "{reachable}");
    let (report, _) = lab.json_as_nobody(&["--reachable", "-t"])?;
    on_port(&report, 8624)?;
    let audit = as_nobody(&["audit", "--reachable"])?;
    same!(audit.contains("tcp 127.0.0.1:8624"), true, "{audit}");
    // No rule uses the guess.
    let (report, _) = lab.json_as_nobody(&["8624"])?;
    same!(
        (&on_port(&report, 8624)?["forwards_to"], &on_port(&report, 8624)?["processes"]),
        (&Value::Null, &json!([]))
    );
    let _twin = proxy("127.0.0.1:8627", "8624")?;
    let table = as_nobody(&["8624"])?;
    same!(table.contains(" (hidden) "), true, "{table}");
    Ok(())
}

/// Ending a process of a unit is not enough: systemd may start the process again.
fn audit_stops_the_unit(lab: &Lab) -> Outcome {
    let groups = Groups::new()?;
    lab.alone()?;
    let program = lab.sleeper_called(b"worker")?;
    // Any user can replace this file, which is a critical finding.
    fs::set_permissions(&program, fs::Permissions::from_mode(0o777))?;
    let server = Server::start(&program, vec![tcp("0.0.0.0:8622")?])?;
    fs::write(groups.1[0].join("cgroup.procs"), server.outer_pid().to_string())?;
    let audit = String::from_utf8(lab.portolan(["audit", "8622"]).output()?.stdout)?;
    same!(audit.contains("systemctl stop front") && !audit.contains("kill"), true, "{audit}");
    Ok(())
}

fn names(lab: &Lab) -> Outcome {
    let groups = Groups::new()?;
    lab.alone()?;
    let _owners = groups.listeners(lab)?;
    // Only this scene sees these files.
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    let id = groups.container();
    let tasks = "/run/containerd/io.containerd.runtime.v2.task/k8s.io";
    let directory = PathBuf::from(format!("{tasks}/{id}"));
    fs::create_dir_all(&directory)?;
    let annotations = json!({
        "io.kubernetes.cri.container-name": "shop-web",
        "io.kubernetes.cri.sandbox-name": "shop-0",
        "io.kubernetes.cri.image-name": "nginx:1.27",
    });
    fs::write(directory.join("config.json"), json!({ "annotations": annotations }).to_string())?;
    for asked in ["shop-web", "shop-0", id, &id[..12]] {
        let report = lab.json(&["--container", asked])?;
        same!(report["listeners"].as_array().map(Vec::len), Some(1), "{asked}: {report:#}");
        let listener = on_port(&report, 8621)?;
        same!(listener["container"], "shop-web");
        let details = &listener["processes"][0]["container_details"];
        same!((&details["manager"], &details["id"]), (&json!("containerd"), &json!(id)));
        same!(details["image"], "nginx:1.27");
    }
    let columns = ["--no-header", "--columns", "container,container.image,container.id", "8621"];
    let row = String::from_utf8(lab.portolan(columns).output()?.stdout)?;
    same!(row.split_whitespace().collect::<Vec<_>>(), ["shop-web", "nginx:1.27", id]);
    // A table, which reads fewer facts, shows the name too.
    let table = String::from_utf8(lab.portolan(["8621"]).output()?.stdout)?;
    same!(table.contains(" shop-web "), true, "{table}");
    for target in ["shop-web", "shop-0"] {
        let found = String::from_utf8(lab.portolan([target]).output()?.stdout)?;
        same!(found.lines().count() == 2 && found.contains(" 8621 "), true, "{target}: {found}");
    }
    Ok(())
}

fn no_tree(lab: &Lab) -> Outcome {
    let groups = Groups::new()?;
    lab.alone()?;
    let _owners = groups.listeners(lab)?;
    mount(Some("tmpfs"), TREE, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    let report = lab.json(&["8620", "8621"])?;
    both(&report, &groups, "held")?;
    same!(on_port(&report, 8620)?["cgroup"], Value::Null);
    // A table, which reads fewer facts, shows the group too.
    let table = String::from_utf8(lab.portolan(["8620", "8621"]).output()?.stdout)?;
    let rows: Vec<&str> = table.lines().skip(1).collect();
    same!(rows.len(), 2, "{table}");
    same!(rows[0].contains(" front.service "), true, "{table}");
    let short = format!(" {} ", &groups.container()[..12]);
    same!(rows[1].contains(&short) && !rows[1].contains(groups.container()), true, "{table}");
    // The user nobody cannot read the processes, and the report contains no group for them.
    let (report, _) = lab.json_as_nobody(&["8620", "8621"])?;
    same!(on_port(&report, 8620)?["unit"], Value::Null);
    Ok(())
}
