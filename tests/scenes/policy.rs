//! A policy over the life of a machine: drafted from the current listeners, stable across restarts, and sensitive to
//! every change.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use libtest_mimic::Failed;
use nix::mount::{MsFlags, mount};
use serde_json::Value;

use crate::lab::{Lab, NOBODY, Outcome, Scene, Server, sleep, tcp, udp};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("a_drafted_policy_outlives_restarts_and_names_every_change", every_change),
    ("a_policy_reports_no_finding_for_processes_it_cannot_see", unseen),
    ("a_policy_drafted_without_sight_says_so", drafted_blind),
];

const DAEMON: u32 = 1;

/// A server: the path of its program, its user, and its sockets as `protocol/address:port`.
#[derive(Clone)]
struct Service {
    program: &'static str,
    uid: u32,
    sockets: Vec<&'static str>,
    /// Another program that owns the server's first socket too.
    next_to: Option<&'static str>,
}

fn service(program: &'static str, uid: u32, sockets: &[&'static str]) -> Service {
    Service { program, uid, sockets: sockets.to_vec(), next_to: None }
}

/// Returns the intended state of the machine.
fn intended_services() -> Vec<Service> {
    vec![
        service("/opt/shop/front", 0, &["tcp/0.0.0.0:8080", "tcp/0.0.0.0:8443", "tcp/[::1]:8080"]),
        service("/opt/shop/cart", NOBODY, &["tcp/127.0.0.1:9000"]),
        service("/opt/shop/names", DAEMON, &["tcp/127.0.0.1:5300", "udp/127.0.0.1:5300"]),
        service("/opt/shop/mail", 0, &["tcp/[::1]:9001"]),
        service("/opt/shop/given", 0, &["tcp/127.0.0.1:0", "tcp/127.0.0.1:0", "udp/127.0.0.1:0"]),
    ]
}

const FRONT: usize = 0;
const CART: usize = 1;
const NAMES: usize = 2;
const MAIL: usize = 3;
const GIVEN: usize = 4;

type Change = (&'static str, fn(&mut Vec<Service>), &'static [&'static str]);

/// One change each, and the expected findings of an audit: `*` stands for a port that the kernel chose.
const CHANGES: &[Change] = &[
    (
        "another port",
        |all| all[CART].sockets = vec!["tcp/127.0.0.1:9010"],
        &["unexpected tcp/127.0.0.1:9010", "missing tcp/127.0.0.1:9000"],
    ),
    (
        "from loopback to any address",
        |all| all[CART].sockets = vec!["tcp/0.0.0.0:9000"],
        &["unexpected tcp/0.0.0.0:9000", "missing tcp/127.0.0.1:9000"],
    ),
    (
        "from IPv6 loopback to any address",
        |all| all[MAIL].sockets = vec!["tcp/[::]:9001"],
        &["unexpected tcp/[::]:9001", "missing tcp/[::1]:9001"],
    ),
    (
        "another address of loopback",
        |all| all[CART].sockets = vec!["tcp/127.0.0.2:9000"],
        &["unexpected tcp/127.0.0.2:9000", "missing tcp/127.0.0.1:9000"],
    ),
    (
        "the other family",
        |all| all[MAIL].sockets = vec!["tcp/127.0.0.1:9001"],
        &["unexpected tcp/127.0.0.1:9001", "missing tcp/[::1]:9001"],
    ),
    (
        "the other protocol",
        |all| all[CART].sockets = vec!["udp/127.0.0.1:9000"],
        &["unexpected udp/127.0.0.1:9000", "missing tcp/127.0.0.1:9000"],
    ),
    (
        "another user",
        |all| all[CART].uid = DAEMON,
        &["unexpected tcp/127.0.0.1:9000", "missing tcp/127.0.0.1:9000"],
    ),
    ("root", |all| all[CART].uid = 0, &["unexpected tcp/127.0.0.1:9000", "missing tcp/127.0.0.1:9000"]),
    (
        "no longer root",
        |all| all[MAIL].uid = NOBODY,
        &["unexpected tcp/[::1]:9001", "missing tcp/[::1]:9001"],
    ),
    (
        "another user on a given port",
        |all| all[GIVEN].uid = NOBODY,
        // The UDP socket may belong to a client, so its finding is only information.
        &["unexpected tcp/127.0.0.1:*", "missing tcp/127.0.0.1:*"],
    ),
    (
        "another executable",
        |all| all[CART].program = "/opt/shop/basket",
        &["unexpected tcp/127.0.0.1:9000", "missing tcp/127.0.0.1:9000"],
    ),
    (
        "the same name in another directory",
        |all| all[CART].program = "/opt/other/cart",
        &["unexpected tcp/127.0.0.1:9000", "missing tcp/127.0.0.1:9000"],
    ),
    (
        "another program next to it",
        |all| all[CART].next_to = Some("/opt/other/guest"),
        &["unexpected tcp/127.0.0.1:9000", "missing tcp/127.0.0.1:9000"],
    ),
    (
        "one more of a known program",
        |all| all.push(service("/opt/shop/front", 0, &["tcp/0.0.0.0:8444"])),
        &["unexpected tcp/0.0.0.0:8444"],
    ),
    (
        "one more on a known port",
        |all| all.push(service("/opt/shop/front", 0, &["tcp/[::2]:8443"])),
        &["unexpected tcp/[::2]:8443"],
    ),
    (
        "one more of an unknown program",
        |all| all.push(service("/opt/other/guest", NOBODY, &["tcp/0.0.0.0:4444"])),
        &["unexpected tcp/0.0.0.0:4444"],
    ),
    (
        "an unknown program on a given port",
        |all| all.push(service("/opt/other/guest", 0, &["tcp/127.0.0.1:0"])),
        &["unexpected tcp/127.0.0.1:*"],
    ),
    (
        "a known program on a given port",
        |all| all.push(service("/opt/shop/front", 0, &["tcp/127.0.0.1:0"])),
        &["unexpected tcp/127.0.0.1:*"],
    ),
    (
        "a given port on any address",
        |all| all[GIVEN].sockets[0] = "tcp/0.0.0.0:0",
        &["unexpected tcp/0.0.0.0:*"],
    ),
    (
        "UDP and TCP",
        |all| all.push(service("/opt/shop/cart", NOBODY, &["udp/127.0.0.1:9000"])),
        &["unexpected udp/127.0.0.1:9000"],
    ),
    (
        "one listener less",
        |all| all[FRONT].sockets.retain(|s| !s.ends_with("8443")),
        &["missing tcp/0.0.0.0:8443"],
    ),
    ("one address less", |all| all[FRONT].sockets.truncate(2), &["missing tcp/[::1]:8080"]),
    ("one protocol less", |all| all[NAMES].sockets.truncate(1), &["missing udp/127.0.0.1:5300"]),
    ("one server less", |all| drop(all.remove(MAIL)), &["missing tcp/[::1]:9001"]),
    ("no given port", |all| drop(all.remove(GIVEN)), &["missing tcp/127.0.0.1:*"]),
];

/// Puts the programs into their usual places, in the scene's own mount namespace: the machine is not changed.
fn programs() -> Outcome {
    mount(Some("tmpfs"), "/opt", Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
    for directory in ["/opt/shop", "/opt/other"] {
        fs::create_dir(directory)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    }
    for name in [
        "shop/front",
        "shop/cart",
        "shop/names",
        "shop/mail",
        "shop/given",
        "shop/basket",
        "other/cart",
        "other/guest",
    ] {
        fs::copy(sleep(), Path::new("/opt").join(name))?;
    }
    // This change adds another address of this machine, which other machines cannot reach.
    let done = std::process::Command::new("ip").args(["address", "add", "::2/128", "dev", "lo"]).status()?;
    same!(done.success(), true);
    Ok(())
}

fn bound(spec: &str) -> Result<OwnedFd, Failed> {
    let (protocol, address) = spec.split_once('/').ok_or("no protocol")?;
    if protocol == "tcp" { tcp(address) } else { udp(address) }
}

/// Starts all servers, as after a restart: every pid is new, and so is every port that the kernel chooses.
fn started(services: &[Service]) -> Result<Vec<Server>, Failed> {
    let mut processes = Vec::new();
    for Service { program, uid, sockets, next_to } in services {
        let sockets: Vec<OwnedFd> = sockets.iter().map(|spec| bound(spec)).collect::<Result<_, _>>()?;
        if let (Some(guest), Some(first)) = (next_to, sockets.first()) {
            processes.push(Server::start_as(Path::new(guest), vec![first.try_clone()?], Some(*uid))?);
        }
        processes.push(Server::start_as(Path::new(program), sockets, Some(*uid))?);
    }
    Ok(processes)
}

fn audit(lab: &Lab, policy: &Path) -> Result<(Option<i32>, Value), Failed> {
    let policy = policy.to_str().ok_or("no path")?;
    let output = lab.portolan(["audit", "-o", "json", "--policy", policy]).output()?;
    Ok((output.status.code(), serde_json::from_slice(&output.stdout)?))
}

/// Returns the code and place of each finding at or above warning; `*` stands for a port that the kernel chose.
fn counted(audit: &Value) -> Vec<String> {
    let findings = audit["findings"].as_array().into_iter().flatten();
    let severe = findings.filter(|f| f["severity"] == "warning" || f["severity"] == "critical");
    severe
        .map(|found| {
            let port = found["port"].as_u64().filter(|port| *port < 32_768);
            let address = found["address"].as_str().unwrap_or("-");
            let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
            format!(
                "{} {}/{address}:{}",
                found["code"].as_str().unwrap_or("-"),
                found["protocol"].as_str().unwrap_or("-"),
                port.map_or_else(|| "*".to_owned(), |port| port.to_string()),
            )
        })
        .collect()
}

fn every_change(lab: &Lab) -> Outcome {
    lab.alone()?;
    programs()?;
    let policy = Path::new("/opt/policy.toml");
    let running = started(&intended_services())?;
    let output = lab.portolan(["policy", "init", "--write", "/opt/policy.toml"]).output()?;
    same!(output.status.code(), Some(0), "{output:?}");
    let draft = fs::read_to_string(policy)?;
    let (code, printed) = audit(lab, policy)?;
    same!((code, printed["verdict"].as_str()), (Some(0), Some("clear")), "{printed:#}\n{draft}");
    drop(running);

    for (name, change, expected) in CHANGES {
        let mut services = intended_services();
        change(&mut services);
        let running = started(&services)?;
        let (code, printed) = audit(lab, policy)?;
        same!(code, Some(1), "{name}: {printed:#}");
        let places: BTreeSet<&str> = expected.iter().filter_map(|text| text.split(' ').nth(1)).collect();
        let found = counted(&printed);
        let is_policys = |text: &&String| text.starts_with("unexpected ") || text.starts_with("missing ");
        let by_policy: BTreeSet<&str> = found.iter().filter(is_policys).map(String::as_str).collect();
        same!(by_policy, expected.iter().copied().collect(), "{name}\n{draft}\n{printed:#}");
        // Findings about other listeners must not change.
        let elsewhere =
            found.iter().find(|text| !text.split(' ').nth(1).is_some_and(|place| places.contains(place)));
        same!(elsewhere, None, "{name}");
        drop(running);
    }
    same!(CHANGES.len() >= 20, true);

    // The servers are restarted in the intended state: no finding, and the same policy is drafted.
    for _ in 0..3 {
        let running = started(&intended_services())?;
        let (code, printed) = audit(lab, policy)?;
        same!((code, counted(&printed)), (Some(0), Vec::new()), "{printed:#}");
        let check = lab.portolan(["policy", "check", "--here", "/opt/policy.toml"]).output()?;
        same!(String::from_utf8(check.stdout)?.contains("no remarks"), true);
        let again = String::from_utf8(lab.portolan(["policy", "init"]).output()?.stdout)?;
        let steady = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.starts_with("# Listens on ")).map(str::to_owned).collect()
        };
        same!(steady(&again), steady(&draft));
        drop(running);
    }
    Ok(())
}

/// For the user nobody, the processes of other users are not visible: nothing is allowed, nothing is flagged, and there
/// is no all-clear.
fn unseen(lab: &Lab) -> Outcome {
    lab.alone()?;
    programs()?;
    let _running = started(&intended_services())?;
    same!(lab.portolan(["policy", "init", "--write", "/opt/policy.toml"]).status()?.code(), Some(0));
    let mut command = lab.portolan(["audit", "-o", "json", "--policy", "/opt/policy.toml"]);
    let output = command.uid(NOBODY).gid(NOBODY).output()?;
    let printed: Value = serde_json::from_slice(&output.stdout)?;
    same!((output.status.code(), counted(&printed)), (Some(3), Vec::new()), "{printed:#}");
    let gaps = printed["gaps"].to_string();
    for rule in ["front-8080", "given-ephemeral", "names-5300"] {
        same!(gaps.contains(rule), true, "{rule}: {gaps}");
    }
    // A listener on an address that no rule covers is a finding even if its process is hidden.
    let _guest = started(&[service("/opt/other/guest", 0, &["tcp/0.0.0.0:4444"])])?;
    let mut command = lab.portolan(["audit", "-o", "json", "--policy", "/opt/policy.toml"]);
    let output = command.uid(NOBODY).gid(NOBODY).output()?;
    let printed: Value = serde_json::from_slice(&output.stdout)?;
    same!(
        (output.status.code(), counted(&printed)),
        (Some(1), vec!["unexpected tcp/0.0.0.0:4444".to_owned()])
    );
    Ok(())
}

fn drafted_blind(lab: &Lab) -> Outcome {
    lab.alone()?;
    programs()?;
    let _running = started(&intended_services())?;
    let mut command = lab.portolan(["policy", "init"]);
    let output = command.uid(NOBODY).gid(NOBODY).output()?;
    let (draft, messages) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    same!(output.status.code(), Some(3), "{messages}");
    same!(messages.contains("not seen:"), true, "{messages}");
    same!(
        draft.contains("# INCOMPLETE") && draft.contains("tcp 0.0.0.0:8080, owner (hidden)"),
        true,
        "{draft}"
    );
    // The draft is still a valid policy, and it allows no listener that was not visible.
    fs::write("/opt/blind.toml", &draft)?;
    let (code, printed) = audit(lab, Path::new("/opt/blind.toml"))?;
    same!(code, Some(1));
    same!(counted(&printed).iter().any(|text| text == "unexpected tcp/0.0.0.0:8080"), true, "{printed:#}");
    Ok(())
}
