//! A container, as the files of its manager describe it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A container. Managers write these files as root, so the names are those that the administrator chose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Container {
    /// The ID: 64 hexadecimal digits.
    pub id: String,
    /// The manager that described it: `docker`, `podman`, `cri-o`, `containerd`, `kubernetes`.
    pub manager: String,
    /// The name. The name of a user's container begins with the unit of that user, as `user@1000.service/web`.
    pub name: Option<String>,
    /// The name of the image.
    pub image: Option<String>,
    /// The name of the Kubernetes pod.
    pub pod: Option<String>,
    /// The Kubernetes namespace of that pod.
    pub namespace: Option<String>,
    /// The addresses, as far as the files show them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}

impl Container {
    /// Returns the names with which a filter can select the container: its own name and the name of its pod.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.name.as_deref().into_iter().chain(self.pod.as_deref())
    }
}
