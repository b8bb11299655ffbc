//! Packets of other machines that come to a listener without being routed by this machine: sent by rules of the family
//! netdev or by traffic control, or through another container that leads outside.

use libtest_mimic::Failed;
use serde_json::Value;

use crate::lab::{Lab, Outcome, Scene, Server};
use crate::published::{answers, has_tools, machine_behind_a_wire, sh};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("packets_that_are_sent_to_a_container", to_a_container),
    ("a_container_that_leads_outside_on_the_same_bridge", through_another_container),
    ("packets_that_are_sent_to_loopback", to_loopback),
    ("elements_of_a_set_that_expire", elements_that_expire),
];

const CONTAINER: &str = "172.31.0.2";
const FORWARDS_NOTHING: &str =
    "echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding";

/// Returns the `reach` of a server's listener on port 80, and whether the machine outside gets an answer there.
fn reach(lab: &Lab, server: &Server, outside: &Server, address: &str) -> Result<(String, bool), Failed> {
    let report = lab.json(&["--netns", "all", "80"])?;
    let mut rows = report["listeners"].as_array().into_iter().flatten();
    let row = rows.find(|row| row["processes"][0]["pid"] == server.pid()).ok_or("no row")?;
    let answered = answers(lab, &outside.pid().to_string(), address)?;
    Ok((row["reach"].as_str().unwrap_or("null").to_owned(), answered.contains_key(&80)))
}

fn server(lab: &Lab, namespace: &Server, place: &str) -> Result<Server, Failed> {
    lab.helper(["in-namespace", &namespace.pid().to_string(), "answer", place])
}

/// This machine forwards nothing by its settings for all interfaces. The addresses of the interfaces let frames pass
/// unchanged between the two wires.
fn to_a_container(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    let outside = machine_behind_a_wire(lab, "wire", "10.30.0.1", "10.30.0.2")?;
    let container = machine_behind_a_wire(lab, "inside", "172.31.0.1", CONTAINER)?;
    // The wire leads to another namespace of this machine, but the device on top of it may lead anywhere.
    sh(&format!(
        "{FORWARDS_NOTHING}; ip address flush dev wire; echo 1 >/proc/sys/net/ipv4/conf/wire/arp_ignore; ip link add outside link wire type macvlan mode bridge && \
         ip link set outside address 02:00:00:00:00:07 up && ip address add 10.30.0.1/24 dev outside && \
         ip address add fd30::1/64 dev outside nodad && ip address add fd31::1/64 dev inside nodad && \
         ip link set inside address 02:00:00:00:00:08 && \
         nsenter -t {} -n sh -c 'ip link set wire0 address 02:00:00:00:00:08; ip address add fd30::2/64 dev wire0 nodad; \
         ip route add fd31::/64 via fd30::1' && \
         nsenter -t {} -n sh -c 'ip link set wire0 address 02:00:00:00:00:07; ip address add fd31::2/64 dev wire0 nodad; \
         ip route add fd30::/64 via fd31::1'",
        outside.pid(),
        container.pid()
    ))?;
    let server = server(lab, &container, "[::]:80")?;
    same!(reach(lab, &server, &outside, CONTAINER)?, ("machine".to_owned(), false));
    let rules = "table netdev own { chain arriving { type filter hook ingress device outside priority 0; \
        ip daddr 172.31.0.2 fwd ip to 172.31.0.2 device inside; }; chain leaving { type filter hook ingress device inside \
        priority 0; ip saddr 172.31.0.2 fwd ip to 10.30.0.2 device outside; }; }";
    sh(&format!("nft '{rules}'"))?;
    same!(reach(lab, &server, &outside, CONTAINER)?, ("unknown".to_owned(), true));
    sh("nft flush ruleset")?;
    let filter = |from: &str, to: &str, address: &str| {
        format!(
            "tc qdisc add dev {from} ingress && tc filter add dev {from} parent ffff: protocol ip u32 match ip {address} \
             action mirred egress redirect dev {to}"
        )
    };
    let filters =
        [filter("outside", "inside", "dst 172.31.0.2/32"), filter("inside", "outside", "src 172.31.0.2/32")];
    match sh(&filters.join(" && ")) {
        Ok(()) => same!(reach(lab, &server, &outside, CONTAINER)?, ("unknown".to_owned(), true)),
        Err(error) => eprintln!("no filter of traffic control was tested: {error:?}"),
    }
    sh("tc qdisc del dev outside ingress; tc qdisc del dev inside ingress; true")?;
    same!(reach(lab, &server, &outside, CONTAINER)?, ("machine".to_owned(), false));
    let forwarding =
        "cd /proc/sys/net/ipv6/conf && echo 1 >outside/force_forwarding && echo 1 >inside/force_forwarding";
    if sh(forwarding).is_err() {
        eprintln!("this kernel has no force_forwarding: it was not tested");
        return Ok(());
    }
    same!(reach(lab, &server, &outside, "[fd31::2]")?, ("open".to_owned(), true));
    Ok(())
}

/// The bridge of the container has no port to the outside, but another container bridges it with an interface of its own.
fn through_another_container(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    let container = machine_behind_a_wire(lab, "inside", "172.31.0.1", CONTAINER)?;
    let router = lab.helper(["in-namespace", "-", "answer"])?;
    let outside = lab.helper(["in-namespace", "-", "answer"])?;
    let (router_pid, outside_pid) = (router.pid(), outside.pid());
    sh(&format!(
        "{FORWARDS_NOTHING}; ip address flush dev inside; ip link add bridge0 type bridge && ip link set bridge0 up && \
         ip link set inside master bridge0 && ip link add second type veth peer name up0 netns {router_pid} && \
         ip link set second master bridge0 up && nsenter -t {router_pid} -n ip link set up0 up && \
         nsenter -t {router_pid} -n ip link add wire type veth peer name wire0 netns {outside_pid} && \
         nsenter -t {outside_pid} -n sh -c 'ip address add 172.31.0.9/24 dev wire0 && ip link set wire0 up'"
    ))?;
    let server = server(lab, &container, "0.0.0.0:80")?;
    same!(reach(lab, &server, &outside, CONTAINER)?, ("machine".to_owned(), false));
    // A pair of devices that may lead anywhere.
    sh(&format!(
        "nsenter -t {router_pid} -n sh -c 'ip link add outer type veth peer name end && ip link set outer up && \
         ip link add bridge1 type bridge && ip link set bridge1 up && ip link set up0 master bridge1 && \
         ip link set wire master bridge1 up && ip link set outer master bridge1'"
    ))?;
    same!(reach(lab, &server, &outside, CONTAINER)?, ("unknown".to_owned(), true));
    Ok(())
}

/// Rules change the addresses of packets to `::1` and send them to the loopback interface, and the answers back.
fn to_loopback(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    let outside = machine_behind_a_wire(lab, "outside", "10.30.0.1", "10.30.0.2")?;
    sh(&format!(
        "ip link set lo up; ip address add fd30::1/64 dev outside nodad && \
         nsenter -t {} -n ip address add fd30::2/64 dev wire0 nodad",
        outside.pid()
    ))?;
    let _server = lab.helper(["in-namespace", "-", "answer", "[::1]:80", "127.0.0.1:80"])?;
    let rows = || -> Result<Vec<(String, String, String)>, Failed> {
        let report = lab.json(&["tcp/80"])?;
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("null").to_owned();
        let of = |row: &Value| (text(row, "address"), text(row, "exposure"), text(row, "reach"));
        let mut rows: Vec<_> = report["listeners"].as_array().into_iter().flatten().map(of).collect();
        rows.sort();
        Ok(rows)
    };
    let row = |address: &str, exposure: &str, reach: &str| (address.into(), exposure.into(), reach.into());
    let four = row("127.0.0.1", "loopback", "null");
    same!(rows()?, vec![four.clone(), row("::1", "loopback", "null")]);
    let rules = "table netdev own { chain arriving { type filter hook ingress device outside priority 0; \
        ip6 daddr fd30::1 tcp dport 80 ether daddr set 00:00:00:00:00:00 ip6 daddr set ::1 ip6 saddr set ::1 fwd to lo; }; \
        chain leaving { type filter hook egress device lo priority 0; ip6 saddr ::1 tcp sport 80 ip6 saddr set fd30::1 \
        ip6 daddr set fd30::2 fwd ip6 to fd30::2 device outside; }; }";
    if sh(&format!("nft '{rules}'")).is_err() {
        eprintln!("this kernel has no chain for packets that leave a device: it was not tested");
        return Ok(());
    }
    same!(answers(lab, &outside.pid().to_string(), "[fd30::1]")?.contains_key(&80), true);
    same!(rows()?, vec![four, row("::1", "any", "unknown")]);
    Ok(())
}

/// A port that a set closes for some time only is not closed.
fn elements_that_expire(lab: &Lab) -> Outcome {
    if !has_tools() {
        return Ok(());
    }
    let _outside = machine_behind_a_wire(lab, "outside", "10.30.0.1", "10.30.0.2")?;
    let _server = lab.helper(["in-namespace", "-", "answer", "0.0.0.0:80"])?;
    for (timeout, verdict, policy, wanted) in [
        ("", "drop", "accept", "filtered"),
        (" timeout 1h", "drop", "accept", "open"),
        (" timeout 1h", "jump closed", "accept", "open"),
        (" timeout 1h", "accept", "drop", "open"),
    ] {
        sh(&format!(
            "nft 'flush ruleset; table ip own {{ set clients {{ type ipv4_addr; flags interval, timeout; elements = {{ \
             0.0.0.0/1{timeout}, 128.0.0.0/1{timeout} }}; }}; chain closed {{ drop; }}; chain input {{ type filter hook \
             input priority 0; policy {policy}; ip saddr @clients {verdict}; }}; }}'"
        ))?;
        let report = lab.json(&["tcp/80"])?;
        same!(report["listeners"][0]["reach"], wanted, "{timeout} {verdict}: {report:#}");
    }
    Ok(())
}
