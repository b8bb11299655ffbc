use std::sync::Arc;

use snapbox::str;

use super::super::fixtures::*;
use super::super::*;
use super::listener_card::*;
use super::terminal;
use crate::judge::{ContainerManager, HowToStop, Listener, StartedBy};
use crate::model::*;

#[test]
fn containers_with_names() {
    const ID: &str = "4f1c0b7d9e6a5b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c";
    let mut texts = String::new();
    for (manager, group, name, pod) in [
        ("docker", ID.to_owned(), Some("shop-web"), None),
        ("docker", ID.to_owned(), Some("shop; reboot\n"), None),
        ("docker", ID.to_owned(), None, None),
        ("podman", format!("user@1000.service/{ID}"), Some("user@1000.service/web"), None),
        ("containerd", ID.to_owned(), Some("web"), Some("web-7d9f")),
        ("containerd", ID.to_owned(), Some("web"), None),
    ] {
        let known = |text: &str| Some(text.to_owned());
        let details = Container {
            id: ID.to_owned(),
            manager: manager.to_owned(),
            name: name.and_then(known),
            image: known("nginx:1.27"),
            pod: pod.and_then(known),
            namespace: pod.and_then(|_| known("shop")),
            addresses: Vec::new(),
        };
        let server = Process {
            container: Some(group),
            container_details: Some(Arc::new(details)),
            ..process(35, "server")
        };
        let report = report(&of(vec![socket("tcp/0.0.0.0:80", held(&[35]))], vec![server]));
        let listener = Listener::only(&report.entries).unwrap();
        let why = StartedBy::of(&listener, "linux").map(|why| start_text::started_by(&why)).unwrap();
        let stop = HowToStop::of(&listener, "linux").map(|how| start_text::how_to_stop(&how, "linux"));
        texts += &format!("{why}\n  {}\n", stop.unwrap());
    }
    assert_snapshot(
        texts,
        str![[r#"
docker container shop-web (image nginx:1.27)
  docker stop shop-web
docker container shop; reboot\x0a (image nginx:1.27)
  docker stop 'shop; reboot\x0a'
docker container 4f1c0b7d9e6a (image nginx:1.27)
  docker stop 4f1c0b7d9e6a
podman container user@1000.service/web (image nginx:1.27)
  podman stop web   (as user 1000)
Kubernetes container web (pod shop/web-7d9f, image nginx:1.27)
  kill 35   (Kubernetes may start it again)
container web (image nginx:1.27)
  kill 35

"#]],
    );
}

/// Root and the group of Docker's socket may give commands to Docker. Only root may give commands to systemd and to
/// root's Podman.
#[test]
fn a_command_that_the_user_may_not_run_has_sudo() {
    let container = |manager, name| HowToStop::Container { manager, name, id: "4f1c" };
    let rule = "nft rule ip nat pre, handle 2";
    let mut texts = String::new();
    for how in [
        HowToStop::Units(vec!["nginx.service"]),
        HowToStop::UserUnit { name: "web.service", user: Some("ann") },
        container(ContainerManager::Docker, "shop-web"),
        container(ContainerManager::Podman, "shop-web"),
        container(ContainerManager::Docker, "user@1000.service/web"),
        container(ContainerManager::Podman, "user@1000.service/web"),
        HowToStop::PublishedPort(8080),
        HowToStop::Rule(rule),
        HowToStop::Rule("an IPVS rule"),
        HowToStop::Kernel,
    ] {
        for (user, needs_sudo, may_use_docker) in
            [("root", false, true), ("in docker's group", true, true), ("another user", true, false)]
        {
            let rights = Rights { needs_sudo, may_use_docker };
            texts += &format!("{user}: {}\n", start_text::how_to_stop_with(&how, "linux", rights));
        }
    }
    assert_snapshot(
        texts,
        str![[r#"
root: systemctl stop nginx
in docker's group: sudo systemctl stop nginx
another user: sudo systemctl stop nginx
root: systemctl --user stop web   (as user ann)
in docker's group: systemctl --user stop web   (as user ann)
another user: systemctl --user stop web   (as user ann)
root: docker stop shop-web
in docker's group: docker stop shop-web
another user: sudo docker stop shop-web
root: podman stop shop-web
in docker's group: sudo podman stop shop-web
another user: sudo podman stop shop-web
root: docker stop web   (as user 1000)
in docker's group: docker stop web   (as user 1000)
another user: docker stop web   (as user 1000)
root: podman stop web   (as user 1000)
in docker's group: podman stop web   (as user 1000)
another user: podman stop web   (as user 1000)
root: docker stop $(docker ps -q --filter publish=8080)
in docker's group: docker stop $(docker ps -q --filter publish=8080)
another user: sudo docker stop $(sudo docker ps -q --filter publish=8080)
root: nft delete rule ip nat pre handle 2   (removes the rule that forwards this port)
in docker's group: sudo nft delete rule ip nat pre handle 2   (removes the rule that forwards this port)
another user: sudo nft delete rule ip nat pre handle 2   (removes the rule that forwards this port)
root: remove the kernel rule that forwards this port: an IPVS rule
in docker's group: remove the kernel rule that forwards this port: an IPVS rule
another user: remove the kernel rule that forwards this port: an IPVS rule
root: kill cannot stop it: the socket belongs to the kernel, not to a process
in docker's group: kill cannot stop it: the socket belongs to the kernel, not to a process
another user: kill cannot stop it: the socket belongs to the kernel, not to a process

"#]],
    );
}

/// In the table, the audit and a policy, people see the name of a container, or else the first digits of its ID.
#[test]
fn no_output_for_people_has_a_whole_id() {
    const ID: &str = "4f1c0b7d9e6a5b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c";
    for (name, shown, rule) in [
        (Some("shop-web"), "shop-web", "container = \"shop-web\"\n"),
        (None, "4f1c0b7d9e6a", "# The container has an ID but no name"),
    ] {
        let details = name.map(|name| {
            let name = Some(name.to_owned());
            Arc::new(Container { id: ID.to_owned(), name, ..Container::default() })
        });
        let mut server = socket("tcp/0.0.0.0:6379", held(&[35]));
        Arc::make_mut(&mut server.attributes).container = Some(ID.to_owned());
        let inside = Process {
            container: Some(ID.to_owned()),
            container_details: details.clone(),
            ..process(35, "redis-server")
        };
        let proxy = Process { forwards_to_container: details, ..process(36, "docker-proxy") };
        let proxy = Process {
            cmdline: "docker-proxy -container-ip 172.17.0.2 -container-port 80"
                .split(' ')
                .map(str::to_owned)
                .collect(),
            ..proxy
        };
        let published = socket("tcp/0.0.0.0:8080", held(&[36]));
        let snapshot = of(vec![server, published], vec![inside, proxy]);
        let report = report(&snapshot);
        let table = text(|w| table::listing(&report, true, &terminal(200), w));
        assert!(table.contains(&format!(" {shown} ")), "{table}");
        assert_eq!(table.contains("to shop-web"), name.is_some(), "{table}");
        let words = table.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(" Not judged: the service behind the published port 8080 ("), "{table}");
        let audit = crate::judge::audit::Audit::of(&report);
        let audit = text(|w| audit::table::document(&audit, Severity::Info, &terminal(200), w));
        assert!(audit.contains(&format!("container {shown},")), "{audit}");
        let draft = crate::policy::draft(&report);
        let policy = text(|w| policy::draft(&draft, &report.snapshot, w));
        assert!(policy.contains(rule), "{policy}");
        for output in [table, audit, policy] {
            assert!(!output.contains(ID), "{output}");
        }
    }
}

/// A listener in the network namespace of a container is not reachable on the addresses of this machine.
#[test]
fn a_listener_of_another_namespace_names_it() {
    const ID: &str = "4f1c0b7d9e6a5b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c";
    for (name, netns, place) in [
        (Some("web-cache"), None, "container web-cache"),
        (None, None, "container 4f1c0b7d9e6a"),
        (Some("web-cache"), Some("blue"), "container web-cache"),
    ] {
        let details = Container { id: ID.to_owned(), name: name.map(str::to_owned), ..Container::default() };
        let inside = Process {
            container: Some(ID.to_owned()),
            container_details: Some(Arc::new(details)),
            ..process(35, "busybox")
        };
        let mut server = socket("tcp/0.0.0.0:80", held(&[35]));
        let attributes = Arc::make_mut(&mut server.attributes);
        attributes.container = Some(ID.to_owned());
        attributes.netns = Some(Netns { inode: 4026532345, name: netns.map(str::to_owned) });
        let report = report(&of(vec![server], vec![inside]));
        let listener = Listener::only(&report.entries).unwrap();
        let card = text(|w| listener_card::listing(&listener, 20, &report, &terminal(120), w));
        assert!(card.lines().next().unwrap().ends_with(&format!(", in {place}")), "{card}");
        assert!(card.contains(&format!("on every address of {place}, not of this machine")), "{card}");
        let table = text(|w| table::listing(&report, true, &terminal(200), w));
        let shown = netns.or(place.strip_prefix("container ")).unwrap();
        assert!(table.contains("NETNS") && table.contains(&format!(" {shown} ")), "{table}");
    }
}

/// If the rules of the firewall were not read, the card of a reachable listener says so. On loopback, the firewall does
/// not matter.
#[test]
fn a_firewall_that_was_not_checked() {
    for (address, is_named) in [("tcp/0.0.0.0:80", true), ("tcp/127.0.0.1:80", false)] {
        let mut snapshot = of(vec![socket(address, held(&[35]))], vec![process(35, "server")]);
        snapshot.host.privileged = false;
        snapshot.firewalls = vec![Firewall { is_refused: true, ..Firewall::default() }];
        let report = report(&snapshot);
        let listener = Listener::only(&report.entries).unwrap();
        let card = text(|w| listener_card::listing(&listener, 20, &report, &terminal(120), w));
        assert_eq!(card.contains("the firewall was not checked (run with sudo)"), is_named, "{card}");
    }
}
