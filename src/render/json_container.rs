//! Containers in JSON, and the places to which programs forward ports.

use std::net::IpAddr;

use serde::Serialize;

use crate::model::{Container, ForwardTarget, Pid};

#[derive(Serialize)]
pub(super) struct Forwarding<'a> {
    address: IpAddr,
    port: u16,
    container: Option<ContainerRow<'a>>,
    pids: &'a [Pid],
}

impl<'a> Forwarding<'a> {
    pub(super) fn new(to: &'a ForwardTarget) -> Self {
        let container = to.container.as_deref().map(ContainerRow::new);
        Forwarding { address: to.address, port: to.port, container, pids: &to.pids }
    }
}

#[derive(Serialize)]
pub(super) struct ContainerRow<'a> {
    id: &'a str,
    manager: &'a str,
    name: Option<&'a str>,
    image: Option<&'a str>,
    pod: Option<&'a str>,
    namespace: Option<&'a str>,
}

impl<'a> ContainerRow<'a> {
    pub(super) fn new(container: &'a Container) -> Self {
        ContainerRow {
            id: &container.id,
            manager: &container.manager,
            name: container.name.as_deref(),
            image: container.image.as_deref(),
            pod: container.pod.as_deref(),
            namespace: container.namespace.as_deref(),
        }
    }
}
