//! Tests about interfaces: bridges, several interfaces, the addresses behind them, and rules that hide clients.

use super::*;

/// An answer names few networks, even if rules exclude some of their addresses. It begins with "anyone but" only if
/// most clients can connect.
#[test]
fn exceptions_in_a_network() {
    let bans = |of: &[&str]| of.iter().map(|one| format!("-A INPUT -s {one} -j DROP\n")).collect::<String>();
    for (banned, wanted, rule) in [
        (bans(&[]), "limited: 10.0.0.0/8", "-s 10.0.0.0/8"),
        (bans(&["10.9.0.1"]), "limited: 10.0.0.0/8 but 10.9.0.1", "-s 10.0.0.0/8"),
        (bans(&["10.0.0.0/16"]), "limited: 10.0.0.0/8 but 10.0.0.0/16", "-s 10.0.0.0/8"),
        (
            bans(&["10.1.0.1", "10.2.0.1", "10.3.0.1", "10.4.0.1", "10.5.0.1"]),
            "limited: 10.0.0.0/8 but 10.1.0.1, 10.2.0.1, 10.3.0.1, 10.4.0.1 and other networks",
            "-s 10.0.0.0/8",
        ),
        (bans(&["10.128.0.0/9"]), "limited: 10.0.0.0/9", "-s 10.0.0.0/8"),
        ("-A INPUT ! -s 10.0.0.0/8 -j DROP\n".to_owned(), "limited: 10.0.0.0/8", "-s 10.0.0.0/8"),
    ] {
        let printed = format!("*filter\n:INPUT DROP\n{banned}-A INPUT -s 10.0.0.0/8 -j ACCEPT\nCOMMIT\n");
        let mut firewall = machine(&[printed]);
        firewall.tables.retain(|table| table.families == [Family::Ipv4]);
        let reach = reach_in(&firewall, &listener("tcp/0.0.0.0:22"));
        assert_eq!(short(&reach), wanted, "{banned}: {reach:?}");
        assert!(reach.rule.as_deref().unwrap().contains(rule), "{reach:?}");
    }
    // The answer must name the rule that excludes clients. The rule that accepts all other clients does not limit
    // anyone.
    let printed = "*filter\n:INPUT DROP\n-A INPUT ! -s 10.0.0.0/8 -j DROP\n-A INPUT -j ACCEPT\nCOMMIT\n";
    let reach = reach_in(&machine(&[printed]), &listener("tcp/0.0.0.0:22"));
    assert!(reach.rule.as_deref().unwrap().contains("! -s 10.0.0.0/8"), "{reach:?}");
}

/// The containers behind a bridge are not other machines.
#[test]
fn a_bridge_of_this_machine() {
    for (interface, wanted) in [("eth0", "open"), ("docker0", "machine"), ("wg0", "limited: anyone on wg0")] {
        let printed = format!("*filter\n:INPUT DROP\n-A INPUT -i {interface} -j ACCEPT\nCOMMIT\n");
        let mut firewall = machine(&[printed]);
        firewall.interfaces[3].is_local_only = true;
        if interface != "wg0" {
            firewall.interfaces.remove(2);
        }
        let reach = reach_in(&firewall, &listener("tcp/0.0.0.0:22"));
        assert_eq!(short(&reach), wanted, "{reach:?}");
        if wanted == "machine" {
            assert_eq!(reach.from, ["this machine".into(), "clients on docker0".into()]);
        }
        // If the bridge is the only interface, other machines may come through the bridge.
        firewall.interfaces.retain(|one| ["lo", "docker0"].contains(&&*one.name));
        let wanted = if interface == "docker0" { "open" } else { "filtered" };
        assert_eq!(short(&reach_in(&firewall, &listener("tcp/0.0.0.0:22"))), wanted, "{interface}");
    }
}

/// Groups of interfaces may have different answers. The text must be true for all interfaces, including the bridges of
/// containers and interfaces that no rule names.
#[test]
fn the_answer_names_every_interface() {
    let rules = |rules: &str| {
        let mut firewall = machine(&[format!("*filter\n:INPUT ACCEPT\n{rules}COMMIT\n")]);
        firewall.tables.retain(|table| table.families == [Family::Ipv4]);
        firewall.interfaces[3].is_local_only = true;
        firewall
    };
    let closed_on_eth0 = rules("-A INPUT -i eth0 -j DROP\n");
    let reach = reach_in(&closed_on_eth0, &listener("tcp/0.0.0.0:22"));
    assert_eq!(short(&reach), "limited: anyone on wg0, docker0");
    let mut down = closed_on_eth0;
    down.interfaces[3].is_up = false;
    assert_eq!(short(&reach_in(&down, &listener("tcp/0.0.0.0:22"))), "limited: anyone on wg0");
    let open = rules("-A INPUT -i eth0 -p tcp --dport 22 -j ACCEPT\n-A INPUT -i eth0 -j DROP\n");
    let reach = reach_in(&open, &listener("tcp/0.0.0.0:22"));
    assert_eq!(short(&reach), "open");
    let rule = reach.rule.unwrap();
    assert!(rule.contains("--dport 22 ") && rule.contains("; policy ACCEPT"), "{rule}");
    let everywhere = rules("-A INPUT -p tcp --dport 22 -j ACCEPT\n");
    let rule = reach_in(&everywhere, &listener("tcp/0.0.0.0:22")).rule.unwrap();
    assert!(!rule.contains("policy"), "{rule}");
}

/// The port is forwarded to port 80 of a container. It does not lead to port 80 of the machine, unless the destination
/// is an address of the machine.
#[test]
fn a_port_published_to_another_address() {
    let firewall = machine(&["*filter\n:INPUT DROP\nCOMMIT\n"]);
    for (to, wanted) in [("172.17.0.2", "filtered"), ("172.17.0.1", "unknown"), ("0.0.0.0", "unknown")] {
        let to = Peer { address: to.parse().unwrap(), port: 80 };
        let forwarded = HashMap::from([(to, "a rule".to_owned())]);
        let mut firewalls = Firewalls::new(std::slice::from_ref(&firewall), forwarded);
        let reach = firewalls.reach(&listener("tcp/0.0.0.0:80"), None).unwrap();
        assert_eq!(short(&reach), wanted, "{to:?}: {reach:?}");
    }
}

/// Source translation hides the clients of a service. It does not count if it applies only to the containers of this
/// machine.
#[test]
fn rules_that_hide_clients() {
    let nat = |rules: &str| {
        format!(
            "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n{rules}\nCOMMIT\n"
        )
    };
    let docker = "-A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:6379\n\
        -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n\
        -A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 6379 -j MASQUERADE";
    let all = format!("{docker}\n-A POSTROUTING -o docker0 -j MASQUERADE");
    let container = published("tcp/0.0.0.0:8080", "172.17.0.2:6379");
    let snat = "-A INPUT -p tcp -m tcp --dport 6379 -j SNAT --to-source 127.0.0.1";
    for (rules, socket, is_hidden) in [
        (snat, listener("tcp/0.0.0.0:6379"), true),
        (snat, listener("tcp/0.0.0.0:80"), false),
        (docker, container.clone(), false),
        (&all, container, true),
    ] {
        let mut firewall = machine(&[nat(rules)]);
        firewall.interfaces[3].is_local_only = true;
        let reach = reach_in(&firewall, &socket);
        assert_eq!((reach.kind, reach.hides_clients), (ReachKind::Open, is_hidden), "{rules}");
    }
}
