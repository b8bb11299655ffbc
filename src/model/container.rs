//! A container, according to the files of its manager.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A container, as the files of its manager describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Container {
    /// The ID: 64 hexadecimal digits.
    pub id: String,
    /// The manager that wrote the files: `docker`, `podman`, `cri-o`, `containerd`, `kubernetes`.
    pub manager: String,
    /// The name. If the container belongs to an ordinary user, the name begins with the systemd unit of this user:
    /// `user@1000.service/web`.
    pub name: Option<String>,
    /// The name of the image.
    pub image: Option<String>,
    /// The name of the Kubernetes pod.
    pub pod: Option<String>,
    /// The Kubernetes namespace of that pod.
    pub namespace: Option<String>,
    /// The addresses of the container, according to these files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}

/// Container managers print only this many digits of an ID.
pub const SHORT_ID: usize = 12;

/// Returns whether the last part of a container's name is an ID.
#[must_use]
pub fn is_container_id(name: &str) -> bool {
    let id = name.rsplit('/').next().unwrap_or(name);
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the name of a container as container managers print it. An ID is cut to its first 12 digits.
#[must_use]
pub fn short_container(name: &str) -> &str {
    let rest = if is_container_id(name) { 64 - SHORT_ID } else { 0 };
    name.get(..name.len() - rest).unwrap_or(name)
}

impl Container {
    /// Returns the names by which a filter selects the container: its own name and the name of its pod.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.name.as_deref().into_iter().chain(self.pod.as_deref())
    }
}
