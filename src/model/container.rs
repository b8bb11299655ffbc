//! A container, as the files of its manager describe it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A container. A manager writes these files as root, so the names are those that its administrator gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Container {
    /// Its ID: 64 hexadecimal digits.
    pub id: String,
    /// The manager that described it: `docker`, `podman`, `cri-o`, `containerd`, `kubernetes`.
    pub manager: String,
    /// Its name. The name of a container of a user begins with the unit of that user, as `user@1000.service/web`.
    pub name: Option<String>,
    /// The name of its image.
    pub image: Option<String>,
    /// The name of its Kubernetes pod.
    pub pod: Option<String>,
    /// The Kubernetes namespace of that pod.
    pub namespace: Option<String>,
    /// Its addresses, as far as the files show them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}

impl Container {
    /// Returns the names by which a user may ask for it: its own, and that of its pod.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.name.as_deref().into_iter().chain(self.pod.as_deref())
    }
}
