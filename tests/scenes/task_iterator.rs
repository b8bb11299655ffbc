//! The iterators of the kernel and the walk over `/proc` find the same owners; if the kernel refuses the iterators, the
//! walk takes their place.

use std::net::SocketAddr;
use std::path::Path;

use libtest_mimic::Failed;
use nix::mount::{MsFlags, mount, umount};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use serde_json::{Value, json};

use crate::lab::{Lab, Outcome, Scene, Server, held, listeners, shared_tcp, sleep, tcp, udp};
use crate::same;

/// The scenes of this file.
pub const SCENES: &[Scene] = &[
    ("iterators_and_walk_find_the_same_owners", same_owners),
    ("iterators_and_walk_find_the_same_owners_on_a_machine", same_owners_on_a_machine),
    ("iterators_and_walk_find_the_same_owners_of_a_port", same_owners_of_a_port),
    ("bound_and_not_listening_on_a_machine_with_many_sockets", bound_among_many),
    ("iterators_that_are_refused_are_replaced_by_the_walk", refused),
];

/// Starts processes that own sockets in every way, and so many descriptors that the iterators are worthwhile.
fn servers(lab: &Lab) -> Result<Vec<Server>, Failed> {
    let mut servers = servers_with_own_tables(lab)?;
    servers.extend(plain_servers(lab)?);
    Ok(servers)
}

/// Starts processes whose threads have tables of their own.
fn servers_with_own_tables(lab: &Lab) -> Result<Vec<Server>, Failed> {
    Ok(vec![
        lab.helper(["own-table-of", "127.0.0.1:8970"])?,
        lab.helper(["own-table", "127.0.0.1:8971"])?,
        lab.helper(["own-ring-of", "127.0.0.1:8973"])?,
        lab.helper(["zombie-leader", "127.0.0.1:8974"])?,
    ])
}

/// Starts the other processes. The last two share a socket.
fn plain_servers(lab: &Lab) -> Result<Vec<Server>, Failed> {
    let shared = shared_tcp("127.0.0.1:8972".parse()?)?;
    let twin = shared.try_clone()?;
    Ok(vec![
        lab.helper(["many", "3000"])?,
        Server::start(&sleep(), vec![shared, tcp("[::1]:8975")?])?,
        Server::start(&sleep(), vec![twin, udp("0.0.0.0:8976")?])?,
    ])
}

/// Returns the owner and the processes of each listener.
fn owners(report: &Value) -> Result<Vec<Value>, Failed> {
    let owners = listeners(report)?.iter().map(|listener| {
        let pids: Vec<&Value> =
            listener["processes"].as_array().into_iter().flatten().map(|process| &process["pid"]).collect();
        json!([listener["protocol"], listener["address"], listener["port"], listener["owner"], pids])
    });
    Ok(owners.collect())
}

/// Returns whether the iterators were used, and the owners that were found.
fn scan(lab: &Lab, options: &[&str]) -> Result<(bool, Vec<Value>), Failed> {
    let output = lab.portolan([&["-v", "-o", "json"], options].concat()).output()?;
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((messages.contains(USED), owners(&Lab::parsed(&output)?)?))
}

/// What `-v` says if the iterators were used.
const USED: &str = "read with BPF programs";

fn same_owners(lab: &Lab) -> Outcome {
    lab.alone()?;
    let servers = servers(lab)?;
    let (iterated, walked) = (scan(lab, &[])?, scan(lab, &["--no-bpf"])?);
    same!((iterated.0, walked.0), (true, false));
    same!(iterated.1.len() > 3000, true);
    same!(iterated.1, walked.1);
    let servers: Vec<u32> = servers.iter().map(Server::pid).collect();
    let report = lab.json(&[])?;
    held(&report, 8975, &servers[5..6])?;
    held(&report, 8972, &servers[5..])?;
    Ok(())
}

/// For few sockets, the program for the tasks searches the descriptors, and only the descriptors that it names are read.
fn same_owners_of_a_port(lab: &Lab) -> Outcome {
    lab.alone()?;
    let compare = |ports: std::ops::RangeInclusive<u16>| -> Outcome {
        for port in ports {
            let port = port.to_string();
            let (iterated, walked) = (scan(lab, &[&port])?, scan(lab, &["--no-bpf", &port])?);
            same!((iterated.0, walked.0, iterated.1.len()), (true, false, 1), "{port}");
            same!(iterated.1, walked.1);
        }
        Ok(())
    };
    let mut servers = plain_servers(lab)?;
    compare(8972..=8972)?;
    compare(8975..=8976)?;
    let report = lab.json(&["8972"])?;
    let both: Vec<u32> = servers[1..].iter().map(Server::pid).collect();
    held(&report, 8972, &both)?;
    // The walk does not see a process behind a mount if another process has the socket too.
    let directory = format!("/proc/{}", both[1]);
    mount(Some("none"), Path::new(&directory), Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    let report = lab.json(&["8972"]);
    umount(Path::new(&directory))?;
    held(&report?, 8972, &both)?;
    // If a thread has a table of its own, the iterator over files is used.
    servers.extend(servers_with_own_tables(lab)?);
    compare(8970..=8976)
}

/// The scene's processes are in no pid namespace of their own.
fn same_owners_on_a_machine(lab: &Lab) -> Outcome {
    let servers = servers(lab)?;
    let (iterated, walked) = (scan(lab, &[])?, scan(lab, &["--no-bpf"])?);
    same!((iterated.0, walked.0), (true, false));
    same!(iterated.1, walked.1);
    drop(servers);
    Ok(())
}

/// With many TCP sockets, a program first counts the sockets of a port, and the kernel lists the sockets that are bound
/// but do not listen only if the port has one.
fn bound_among_many(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _many = lab.helper(["many", "10500"])?;
    let listener = Server::start(&sleep(), vec![tcp("127.0.0.1:8980")?])?;
    let states = |options: &[&str]| -> Result<Vec<Value>, Failed> {
        let report = lab.json(&[options, &["8980"]].concat())?;
        let found = listeners(&report)?.iter();
        Ok(found.map(|found| json!([found["address"], found["state"], found["owner"]])).collect())
    };
    let listens = json!(["127.0.0.1", "listen", "held"]);
    same!(states(&[])?, std::slice::from_ref(&listens));
    let inactive = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&inactive, &"127.0.0.2:8980".parse::<SocketAddr>()?)?;
    let inactive = Server::start(&sleep(), vec![inactive])?;
    let both = [listens, json!(["127.0.0.2", "bound", "held"])];
    same!(states(&[])?, both);
    same!(states(&["--no-bpf"])?, both);
    drop(listener);
    same!(states(&[])?, both[1..]);
    drop(inactive);
    same!(states(&[])?, Vec::<Value>::new());
    Ok(())
}

fn refused(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _servers = servers(lab)?;
    let (iterated, all) = scan(lab, &[])?;
    same!(iterated, true);
    for circumstance in ["bpf-refused", "pid-namespace-old-proc", "user-namespace"] {
        let (report, messages) = lab.json_under(circumstance, &["-v"])?;
        same!(messages.contains(USED), false, "{circumstance}: {messages}");
        if circumstance == "bpf-refused" {
            same!(owners(&report)?, all);
        }
    }
    Ok(())
}
