use std::sync::Arc;

use super::super::fixtures::*;
use super::super::*;
use crate::judge::{HowToStop, Listener, StartedBy};
use crate::model::*;

#[test]
fn a_container_is_shown_by_its_name_and_image() {
    let id = "4f1c0b7d9e6a5b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c";
    for (name, cgroup, pod, why_is, stop_is) in [
        (
            "Docker",
            format!("/system.slice/docker-{id}.scope"),
            None,
            "docker container shop-web (image nginx:1.27)",
            "docker stop shop-web",
        ),
        (
            "Kubernetes",
            format!("/kubepods.slice/pod1/cri-containerd-{id}.scope"),
            Some("shop-0".to_owned()),
            "container of Kubernetes shop-web of pod shop-0 (image nginx:1.27)",
            "kill 35",
        ),
    ] {
        let details = Container {
            id: id.to_owned(),
            name: Some("shop-web".to_owned()),
            image: Some("nginx:1.27".to_owned()),
            pod,
            ..Container::default()
        };
        let mut one = socket("tcp/0.0.0.0:80", Owner::Held(vec![35].into()));
        one.home = Arc::new(Home { cgroup: Some(cgroup), ..(*one.home).clone() });
        let container = Some(id.to_owned());
        let server =
            Process { container, container_details: Some(Arc::new(details)), ..process(35, "server") };
        let report = report(&Snapshot { sockets: vec![one], processes: vec![server], ..empty() });
        let listener = Listener::only(&report.entries).unwrap();
        let why = StartedBy::of(&listener, "linux").map(|why| start_text::started_by(&why));
        let stop = HowToStop::of(&listener, "linux").map(|how| start_text::how_to_stop(&how, "linux"));
        assert_eq!((why.as_deref(), stop.as_deref()), (Some(why_is), Some(stop_is)), "{name}");
    }
}
