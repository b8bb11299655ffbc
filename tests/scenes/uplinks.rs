//! Listeners in network namespaces inside this machine, such as containers: which of them other machines reach through the
//! namespace that leads there.

use crate::lab::{Lab, Outcome, Scene};
use crate::published::{answers, has_tools, machine_behind_a_wire, sh};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("a_container_that_machines_with_a_route_reach", a_container_with_a_route),
    ("a_namespace_behind_the_tap_device_of_a_process", behind_a_tap_device),
];

const CONTAINER: &str = "172.31.0.2";

/// A machine outside has a route to the containers of this machine. The reach of a port is `machine` exactly if that
/// machine gets no answer.
fn a_container_with_a_route(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    let outside = machine_behind_a_wire(lab, "outside", "10.30.0.1", "10.30.0.2")?;
    let container = machine_behind_a_wire(lab, "inside", "172.31.0.1", CONTAINER)?;
    sh(
        "ip address del 172.31.0.1/24 dev inside; ip link add bridge0 type bridge && ip link set inside master bridge0 && \
        ip address add 172.31.0.1/24 dev bridge0 && ip link set bridge0 up",
    )?;
    let inside = container.pid().to_string();
    // Two other namespaces, whose link has the same indices.
    let decoys = [lab.helper(["in-namespace", "-", "answer"])?, lab.helper(["in-namespace", "-", "answer"])?];
    sh(&format!(
        "index() {{ ip -o link show dev $1 | cut -d: -f1; }}; outer=$(index inside); \
         inner=$(nsenter -t {inside} -n ip -o link show dev wire0 | cut -d: -f1); \
         nsenter -t {} -n sh -c \"ip link add decoy index $outer type veth peer name decoy index $inner netns {} && \
         ip link set decoy up && ip address add 10.33.0.1/24 dev decoy && echo 1 >/proc/sys/net/ipv4/ip_forward\"",
        decoys[0].pid(),
        decoys[1].pid()
    ))?;
    let places = ["0.0.0.0:80", "0.0.0.0:81"].map(str::to_owned);
    let server =
        lab.helper(["in-namespace", &inside, "answer"].map(str::to_owned).into_iter().chain(places))?;
    for (name, command, ports) in [
        ("this machine forwards nothing", "echo 0 >/proc/sys/net/ipv4/ip_forward", vec![]),
        (
            "two interfaces forward",
            "cd /proc/sys/net/ipv4/conf; echo 1 >outside/forwarding; echo 1 >bridge0/forwarding",
            vec![80, 81],
        ),
        ("it forwards everything", "echo 1 >/proc/sys/net/ipv4/ip_forward", vec![80, 81]),
        (
            "it forwards nothing to a port that is not published",
            "iptables -w -P FORWARD DROP; iptables -w -A FORWARD -d 172.31.0.2 ! -i bridge0 -o bridge0 -p tcp --dport 80 \
             -j ACCEPT; iptables -w -A FORWARD -i bridge0 -j ACCEPT",
            vec![80],
        ),
        ("it forwards what the container requests", "iptables -w -D FORWARD 1", vec![]),
        (
            "it forwards for one network",
            "iptables -w -A FORWARD -s 10.30.0.0/24 -o bridge0 -j ACCEPT",
            vec![80, 81],
        ),
    ] {
        sh(command)?;
        let report = lab.json(&["--netns", "all", "80", "81"])?;
        let rows = report["listeners"].as_array().ok_or("no rows")?;
        let rows: Vec<_> = rows.iter().filter(|row| row["processes"][0]["pid"] == server.pid()).collect();
        let listed = rows.iter().filter(|row| row["reach"] != "machine");
        let listed: Vec<u64> = listed.filter_map(|row| row["port"].as_u64()).collect();
        let answered = answers(lab, &outside.pid().to_string(), CONTAINER)?;
        let answered: Vec<u64> = answered.into_keys().map(u64::from).collect();
        same!((rows.len(), &listed), (2, &answered), "{name}: {report:#}");
        same!(answered, ports, "{name}");
    }
    // The namespace that leads there is not scanned, so nothing is known about the way.
    let report = lab.json(&["--netns", &inside, "80"])?;
    same!(report["listeners"][0]["reach"], "unknown", "{report:#}");
    Ok(())
}

/// The process that has the tap device open decides which clients reach the namespace, as slirp4netns does for a rootless
/// container. The same holds for a container inside such a namespace.
fn behind_a_tap_device(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    let rootless = lab.helper(["in-namespace", "-", "answer"])?;
    let namespace = rootless.pid().to_string();
    let tap = "ip link set lo up; ip tuntap add dev tap0 mode tap && ip address add 10.0.2.100/24 dev tap0 && \
        ip link set tap0 up && echo 1 >/proc/sys/net/ipv4/ip_forward";
    if sh(&format!("nsenter -t {namespace} -n sh -c '{tap}'")).is_err() {
        eprintln!("this kernel has no tap devices: no such namespace was tested");
        return Ok(());
    }
    let container = lab.helper(["in-namespace", "-", "answer"])?;
    let inside = container.pid().to_string();
    sh(&format!(
        "nsenter -t {namespace} -n sh -c 'ip link add inner type veth peer name wire0 netns {inside} && \
         ip address add 10.88.0.1/16 dev inner && ip link set inner up' && \
         nsenter -t {inside} -n sh -c 'ip address add 10.88.0.2/16 dev wire0 && ip link set wire0 up'"
    ))?;
    for (namespace, port) in [(&namespace, "80"), (&inside, "81")] {
        let server = lab.helper(["in-namespace", namespace, "answer", &format!("0.0.0.0:{port}")])?;
        let report = lab.json(&["--netns", "all", port])?;
        let mut rows = report["listeners"].as_array().into_iter().flatten();
        let row = rows.find(|row| row["processes"][0]["pid"] == server.pid()).ok_or("no row")?;
        let why = row["reach_rule"].as_str().unwrap_or_default();
        same!(row["reach"], "unknown", "{row:#}");
        // The first namespace also has the link to the container, which is not its way out.
        same!(why.contains("tap0") || port == "80", true, "{row:#}");
    }
    // Another namespace leads outside and forwards packets, so the process does not decide alone.
    let router = lab.helper(["in-namespace", "-", "answer"])?;
    let pid = router.pid();
    sh(&format!(
        "nsenter -t {namespace} -n sh -c 'ip link add further type veth peer name up0 netns {pid} && \
         ip link set further up' && nsenter -t {pid} -n sh -c 'ip link set up0 up && \
         ip link add outer type veth peer name end && ip link set outer up && echo 1 >/proc/sys/net/ipv4/ip_forward'"
    ))?;
    let server = lab.helper(["in-namespace", &inside, "answer", "0.0.0.0:82"])?;
    let report = lab.json(&["--netns", "all", "82"])?;
    let mut rows = report["listeners"].as_array().into_iter().flatten();
    let row = rows.find(|row| row["processes"][0]["pid"] == server.pid()).ok_or("no row")?;
    same!(row["reach_rule"].to_string().contains("another network namespace leads"), true, "{row:#}");
    Ok(())
}
