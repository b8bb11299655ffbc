//! Network namespaces: with a name, of a process, without a process; and a socket that a process in another namespace
//! owns.

use serde_json::{Value, json};

use crate::lab::{Lab, Outcome, Scene, Server, complete, gap, held, listeners, on_port, pids, sleep, tcp};
use crate::published::sh;
use crate::same;

pub const SCENES: &[Scene] = &[
    ("named_namespace", named_namespace),
    ("anonymous_namespace", anonymous_namespace),
    ("held_from_another_namespace", held_from_another_namespace),
    ("known_by_a_descriptor", known_by_a_descriptor),
    ("of_a_thread_alone", of_a_thread_alone),
    ("covered_mount", covered_mount),
    ("read_through_a_process", read_through_a_process),
    ("every_namespace", every_namespace),
    ("namespaces_as_nobody", namespaces_as_nobody),
    ("namespaces_among_many_tasks", among_many_tasks),
    ("a_namespace_inside_the_machine_is_not_reachable_from_others", inside_the_machine),
];

/// Returns the number of namespaces that were not scanned, according to the notes.
fn passed_over(report: &Value) -> u64 {
    let notes = report["notes"].as_array().into_iter().flatten();
    let about = |note: &&Value| note["what"].as_str().is_some_and(|text| text.contains("network namespace"));
    notes.filter(about).filter_map(|note| note["count"].as_u64()).sum()
}

fn refused(lab: &Lab, netns: &str) -> Outcome {
    let output = lab.portolan(["--netns", netns]).output()?;
    same!(output.status.code(), Some(2));
    same!(String::from_utf8(output.stderr)?.contains(netns), true);
    Ok(())
}

/// A namespace that is known only by a mount, with no process in it.
fn named_namespace(lab: &Lab) -> Outcome {
    lab.alone()?;
    let inode: u64 = lab.helper(["elsewhere", "-", &lab.mount_point("blue"), "ends"])?.said[1].parse()?;
    let outside = Server::start(&sleep(), vec![tcp("127.0.0.1:8800")?])?;
    for called in ["blue", &inode.to_string()] {
        let report = lab.json(&["--netns", called])?;
        complete(&report, 0)?;
    }
    let report = lab.json(&["--netns", "all"])?;
    complete(&report, 1)?;
    held(&report, 8800, &[outside.pid()])?;
    same!(on_port(&report, 8800)?["netns"], Value::Null);
    same!(passed_over(&report), 0);
    // Without the option, a note says that there is another namespace.
    let report = lab.json(&[])?;
    complete(&report, 1)?;
    same!(passed_over(&report), 1);
    refused(lab, "green")?;
    Ok(())
}

/// A namespace that is known only by its process.
fn anonymous_namespace(lab: &Lab) -> Outcome {
    lab.alone()?;
    let inside = lab.helper(["elsewhere", "127.0.0.1:8810", "-", "stays"])?;
    let inode: u64 = inside.said[1].parse()?;
    let outside = Server::start(&sleep(), vec![tcp("127.0.0.1:8810")?])?;
    let report = lab.json(&[])?;
    complete(&report, 1)?;
    held(&report, 8810, &[outside.pid()])?;
    same!(passed_over(&report), 1);
    for called in [inside.pid().to_string(), inode.to_string()] {
        let report = lab.json(&["--netns", &called])?;
        complete(&report, 1)?;
        held(&report, 8810, &[inside.pid()])?;
        same!(on_port(&report, 8810)?["netns"], json!({"inode": inode, "name": null}));
    }
    // The pid of a process in the scene's namespace selects this namespace, as if no option were given.
    let report = lab.json(&["--netns", &outside.pid().to_string()])?;
    complete(&report, 1)?;
    held(&report, 8810, &[outside.pid()])?;
    same!(on_port(&report, 8810)?["netns"], Value::Null);
    same!(passed_over(&report), 1);
    refused(lab, "4000000")?;
    Ok(())
}

/// If nothing was found, and this machine has many tasks, the iterator over tasks finds the namespaces.
fn among_many_tasks(lab: &Lab) -> Outcome {
    lab.alone()?;
    let _inside = lab.helper(["elsewhere", "127.0.0.1:8810", "-", "stays"])?;
    let _threads = lab.helper(["threads", "2000"])?;
    for (options, uses_bpf) in [(&[][..], true), (&["--no-bpf"], false)] {
        let output = lab.portolan([&["9", "-v", "-o", "json"], options].concat()).output()?;
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        same!(messages.contains("read with BPF programs"), uses_bpf, "{messages}");
        same!(passed_over(&Lab::parsed(&output)?), 1);
    }
    Ok(())
}

/// The namespace has a name and no process; a process in another namespace owns its socket.
fn held_from_another_namespace(lab: &Lab) -> Outcome {
    lab.alone()?;
    let away = lab.helper(["elsewhere", "127.0.0.1:8820", &lab.mount_point("red"), "back"])?;
    // Nothing listens here, and a note says that there is another namespace.
    same!(passed_over(&lab.json(&[])?), 1);
    let inode: u64 = away.said[1].parse()?;
    same!(listeners(&lab.json(&[])?)?.len(), 0);
    for called in ["red", "all"] {
        let report = lab.json(&["--netns", called])?;
        complete(&report, 1)?;
        held(&report, 8820, &[away.pid()])?;
        same!(on_port(&report, 8820)?["netns"], json!({"inode": inode, "name": "red"}));
    }
    Ok(())
}

/// A namespace without a process and without a mount: only a descriptor keeps it alive.
fn known_by_a_descriptor(lab: &Lab) -> Outcome {
    lab.alone()?;
    let away = lab.helper(["elsewhere", "127.0.0.1:8830", "-", "keeps"])?;
    let inode: u64 = away.said[1].parse()?;
    let _here = Server::start(&sleep(), vec![tcp("127.0.0.1:8831")?])?;
    same!(passed_over(&lab.json(&[])?), 1);
    let report = lab.json(&["--netns", "all"])?;
    complete(&report, 2)?;
    held(&report, 8830, &[away.pid()])?;
    same!(on_port(&report, 8830)?["netns"]["inode"], inode);
    Ok(())
}

/// A namespace with a thread of a process that is in another namespace.
fn of_a_thread_alone(lab: &Lab) -> Outcome {
    lab.alone()?;
    let away = lab.helper(["own-namespace", "127.0.0.1:8832"])?;
    let report = lab.json(&["--netns", "all"])?;
    complete(&report, 1)?;
    held(&report, 8832, &[away.pid()])?;
    same!(on_port(&report, 8832)?["netns"]["inode"].is_u64(), true);
    Ok(())
}

/// A user who may read every process but may not enter namespaces reads the tables through a process in the
/// namespace, and a note says this.
fn read_through_a_process(lab: &Lab) -> Outcome {
    lab.alone()?;
    let inside = lab.helper(["elsewhere", "127.0.0.1:8836", "-", "stays"])?;
    let (report, _) = lab.json_under("nobody-who-may-read", &["--netns", "all"])?;
    same!(listeners(&report)?.len(), 1, "{report:#}");
    held(&report, 8836, &[inside.pid()])?;
    same!(on_port(&report, 8836)?["netns"]["inode"].to_string(), inside.said[1]);
    gap(&report, "sockets", "not permitted")
}

/// Another mount covers the mount of the namespace: the namespace is known but cannot be reached, and it is not
/// confused with the covering namespace.
fn covered_mount(lab: &Lab) -> Outcome {
    lab.alone()?;
    let path = lab.mount_point("covered");
    lab.helper(["elsewhere", "-", &path, "ends"])?;
    let top = lab.helper(["elsewhere", "127.0.0.1:8835", &path, "stays"])?;
    let report = lab.json(&["--netns", "all"])?;
    same!(listeners(&report)?.len(), 1, "{report:#}");
    held(&report, 8835, &[top.pid()])?;
    same!(on_port(&report, 8835)?["netns"]["inode"].to_string(), top.said[1]);
    gap(&report, "namespaces", "")
}

fn every_namespace(lab: &Lab) -> Outcome {
    lab.alone()?;
    let here = Server::start(&sleep(), vec![tcp("127.0.0.1:8840")?])?;
    let anonymous = lab.helper(["elsewhere", "127.0.0.1:8840", "-", "stays"])?;
    let named = lab.helper(["elsewhere", "127.0.0.1:8840", &lab.mount_point("n1"), "stays"])?;
    let report = lab.json(&["--netns", "all"])?;
    complete(&report, 3)?;
    let mut seen: Vec<(Option<u64>, Option<&str>, Vec<u32>)> = listeners(&report)?
        .iter()
        .map(|l| (l["netns"]["inode"].as_u64(), l["netns"]["name"].as_str(), pids(l)))
        .collect();
    seen.sort();
    let mut wanted = vec![
        (None, None, vec![here.pid()]),
        (Some(anonymous.said[1].parse()?), None, vec![anonymous.pid()]),
        (Some(named.said[1].parse()?), Some("n1"), vec![named.pid()]),
    ];
    wanted.sort();
    same!(seen, wanted);
    same!(passed_over(&report), 0);
    same!(passed_over(&lab.json(&[])?), 2);
    Ok(())
}

/// A user who may neither enter nor read a namespace sees this gap in the report.
fn namespaces_as_nobody(lab: &Lab) -> Outcome {
    lab.alone()?;
    let inside = lab.helper(["elsewhere", "127.0.0.1:8850", &lab.mount_point("closed"), "stays"])?;
    let (report, _) = lab.json_as_nobody(&["--netns", "all"])?;
    gap(&report, "namespaces", "not permitted")?;
    drop(inside);
    Ok(())
}

/// A listener in a namespace whose only link leads to this machine, and then also a link that may lead anywhere.
fn inside_the_machine(lab: &Lab) -> Outcome {
    lab.alone()?;
    let inside = lab.helper(["in-namespace", "-", "answer"])?;
    let pid = inside.pid();
    let _server = lab.helper(["in-namespace", &pid.to_string(), "answer", "0.0.0.0:6379"])?;
    sh(&format!(
        "ip link add outer type veth peer name inner netns {pid} && ip link set outer up && \
         nsenter -t {pid} -n sh -c 'ip address add 172.31.0.2/24 dev inner && ip link set inner up'"
    ))?;
    let reach = || -> Result<Value, libtest_mimic::Failed> {
        let report = lab.json(&["--netns", "all"])?;
        let listener = on_port(&report, 6379)?;
        Ok(json!([listener["exposure"], listener["reach"]]))
    };
    same!(reach()?, json!(["any", "machine"]));
    sh(&format!(
        "nsenter -t {pid} -n sh -c 'ip link add one type veth peer name two && ip link set one up'"
    ))?;
    same!(reach()?, json!(["any", "open"]));
    Ok(())
}
