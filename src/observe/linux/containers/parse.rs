//! Parses the files in which container managers describe containers. Every parser accepts any bytes. A value that is
//! missing, too long or of another type is unknown.

use std::net::IpAddr;

use serde_json::Value;

use crate::model::Container;

/// Docker, Podman and Kubernetes accept names of up to 253 bytes.
const LONGEST_NAME: usize = 255;
/// The name of an image with a digest has at most about 400 bytes.
const LONGEST_IMAGE: usize = 512;
const MOST_ADDRESSES: usize = 16;
const MOST_CONTAINERS: usize = 10_000;

const MOST_MOUNTS: usize = 1_000;

/// Returns whether a text has the form of a container ID: 64 lower-case hexadecimal digits.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn text(value: Option<&Value>, longest: usize) -> Option<String> {
    let text = value?.as_str()?;
    (!text.is_empty() && text.len() <= longest).then(|| text.to_owned())
}

fn name(value: Option<&Value>) -> Option<String> {
    text(value, LONGEST_NAME)
}

/// Parses `config.v2.json` of Docker. If the container does not run, its addresses are left out, because they can be
/// outdated after a crash of dockerd.
pub(super) fn docker(bytes: &[u8]) -> Option<Container> {
    let file: Value = serde_json::from_slice(bytes).ok()?;
    let id = name(file.get("ID")).filter(|id| is_id(id))?;
    let own = name(file.get("Name")).map(|name| name.trim_start_matches('/').to_owned());
    let is_running = file.pointer("/State/Running").and_then(Value::as_bool) == Some(true);
    let networks = file.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
    let networks = networks.filter(|_| is_running);
    let addresses = networks.into_iter().flat_map(serde_json::Map::values).flat_map(|network| {
        ["IPAddress", "GlobalIPv6Address"].into_iter().filter_map(|key| network.get(key)?.as_str())
    });
    let addresses: Vec<IpAddr> =
        addresses.filter_map(|text| text.parse().ok()).take(MOST_ADDRESSES).collect();
    let image = text(file.pointer("/Config/Image"), LONGEST_IMAGE);
    let container = Container { id, manager: "docker".to_owned(), image, addresses, ..Container::default() };
    Some(with_name(container, own))
}

/// Returns the data directory of Docker, from the OCI configuration of the container `own`. Docker mounts the file
/// `hostname` from its data directory into each container.
pub(super) fn mounted_data_root(bytes: &[u8], own: &str) -> Option<String> {
    let file: Value = serde_json::from_slice(bytes).ok()?;
    let sources = file.get("mounts")?.as_array()?.iter().filter_map(|mount| mount.get("source")?.as_str());
    let data_root = |source: &str| {
        let (root, id) = source.strip_suffix("/hostname")?.rsplit_once("/containers/")?;
        (id == own && root.starts_with('/')).then(|| root.to_owned())
    };
    sources.take(MOST_MOUNTS).find_map(data_root)
}

/// Sets the name of a container. The names that Kubernetes gives also contain the pod and the namespace:
/// `k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT`.
fn with_name(container: Container, own: Option<String>) -> Container {
    let own = own.filter(|own| !own.is_empty());
    let parts: Vec<&str> = own.as_deref().map(|own| own.split('_').collect()).unwrap_or_default();
    match parts[..] {
        ["k8s", name, pod, namespace, _, _] => Container {
            name: Some(name.to_owned()),
            pod: Some(pod.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..container
        },
        _ => Container { name: own, ..container },
    }
}

/// Parses `containers.json`, which Podman and CRI-O write.
pub(super) fn storage(bytes: &[u8]) -> Vec<Container> {
    let Ok(Value::Array(rows)) = serde_json::from_slice(bytes) else { return Vec::new() };
    rows.iter().take(MOST_CONTAINERS).filter_map(storage_row).collect()
}

fn storage_row(row: &Value) -> Option<Container> {
    let id = name(row.get("id")).filter(|id| is_id(id))?;
    let metadata = row.get("metadata").and_then(Value::as_str).unwrap_or_default();
    let metadata: Value = serde_json::from_str(metadata).unwrap_or_default();
    let own = name(row.pointer("/names/0")).or_else(|| name(metadata.get("name")));
    let image = text(metadata.get("image-name"), LONGEST_IMAGE);
    let is_pods = metadata.get("pod-name").is_some_and(|pod| pod.as_str() != Some(""));
    let manager = if is_pods { "cri-o" } else { "podman" };
    Some(with_name(Container { id, manager: manager.to_owned(), image, ..Container::default() }, own))
}

/// Parses the OCI configuration (`config.json`) of the container `id`, with the annotations of containerd and CRI-O.
pub(super) fn runtime(bytes: &[u8], id: &str) -> Option<Container> {
    let file: Value = serde_json::from_slice(bytes).ok()?;
    let annotations = file.get("annotations")?;
    let first = |keys: &[&str], longest| keys.iter().find_map(|key| text(annotations.get(*key), longest));
    let own = first(
        &["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"],
        LONGEST_NAME,
    );
    let image = first(&["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"], LONGEST_IMAGE);
    let pod = first(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"], LONGEST_NAME);
    let namespace =
        first(&["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"], LONGEST_NAME);
    if own.is_none() && pod.is_none() && image.is_none() {
        return None;
    }
    let is_crio = annotations.get("io.kubernetes.pod.name").is_some();
    let manager = if is_crio { "cri-o" } else { "containerd" }.to_owned();
    Some(Container { id: id.to_owned(), manager, name: own, image, pod, namespace, addresses: Vec::new() })
}

/// Parses `POD_NAMESPACE_CONTAINER-ID.log`, the name of a link in `/var/log/containers`.
pub(super) fn log_link(link: &str) -> Option<Container> {
    let (names, id) = link.strip_suffix(".log")?.rsplit_once('-')?;
    let mut parts = names.split('_');
    let (pod, namespace, own) = (parts.next()?, parts.next()?, parts.next()?);
    let is_whole = parts.next().is_none() && [pod, namespace, own].iter().all(|part| !part.is_empty());
    (is_id(id) && is_whole).then(|| Container {
        id: id.to_owned(),
        manager: "kubernetes".to_owned(),
        name: Some(own.to_owned()),
        pod: Some(pod.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..Container::default()
    })
}

/// Returns the data directory that Docker's `daemon.json` names.
pub(super) fn data_root(bytes: &[u8]) -> Option<String> {
    let file: Value = serde_json::from_slice(bytes).ok()?;
    let root = file.get("data-root")?.as_str()?;
    (root.starts_with('/') && root.len() < 4096 && !root.contains('\0')).then(|| root.to_owned())
}

/// For a fuzzer: parses the same bytes as each kind of file that describes containers.
pub(in super::super) fn every_kind(bytes: &[u8]) -> Vec<Container> {
    let mut found = storage(bytes);
    found.extend(docker(bytes));
    found.extend(runtime(bytes, ""));
    found.extend(std::str::from_utf8(bytes).ok().and_then(log_link));
    let _ = data_root(bytes);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f1c0b7d9e6a5b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c";

    fn short(container: &Container) -> [Option<&str>; 5] {
        let Container { manager, name, image, pod, namespace, .. } = container;
        [Some(manager.as_str()), name.as_deref(), image.as_deref(), pod.as_deref(), namespace.as_deref()]
    }

    #[test]
    fn docker_writes_one_file_for_each_container() {
        let file = format!(
            r#"{{"StreamConfig":{{}},"ID":"{ID}","Name":"/shop-web","Config":{{"Image":"nginx:1.27"}},
            "State":{{"Running":true}},"NetworkSettings":{{"Networks":{{"bridge":{{"IPAddress":"172.17.0.2","GlobalIPv6Address":""}}}}}}}}"#
        );
        let found = docker(file.as_bytes()).unwrap();
        assert_eq!(short(&found), [Some("docker"), Some("shop-web"), Some("nginx:1.27"), None, None]);
        assert_eq!(found.addresses, [IpAddr::from([172, 17, 0, 2])]);
        let pod = file.replace("/shop-web", "/k8s_web_shop-0_default_uid_0");
        let found = docker(pod.as_bytes()).unwrap();
        assert_eq!(
            short(&found),
            [Some("docker"), Some("web"), Some("nginx:1.27"), Some("shop-0"), Some("default")]
        );
        assert_eq!(docker(file.replace(ID, "../../etc").as_bytes()), None);
    }

    #[test]
    fn podman_and_crio_share_one_file() {
        let file = format!(
            r#"[{{"id":"{ID}","names":["shop-web"],"metadata":"{{\"image-name\":\"docker.io/nginx\",\"name\":\"shop-web\"}}"}},
            {{"id":"{}","names":["k8s_web_shop-0_default_uid_0"],"metadata":"{{\"pod-name\":\"k8s_POD_x\",\"image-name\":\"nginx\"}}"}},
            {{"id":"x","names":["bad"]}}, 7, {{"id":"{}","names":7,"metadata":7}}]"#,
            ID.replace('4', "5"),
            ID.replace('4', "6"),
        );
        let found = storage(file.as_bytes());
        let found: Vec<_> = found.iter().map(short).collect();
        let wanted = [
            [Some("podman"), Some("shop-web"), Some("docker.io/nginx"), None, None],
            [Some("cri-o"), Some("web"), Some("nginx"), Some("shop-0"), Some("default")],
            [Some("podman"), None, None, None, None],
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn annotations_of_the_runtime() {
        let file = r#"{"annotations":{"io.kubernetes.cri.container-name":"web","io.kubernetes.cri.sandbox-name":"shop-0",
            "io.kubernetes.cri.sandbox-namespace":"default","io.kubernetes.cri.image-name":"nginx"}}"#;
        let found = runtime(file.as_bytes(), ID).unwrap();
        assert_eq!(
            short(&found),
            [Some("containerd"), Some("web"), Some("nginx"), Some("shop-0"), Some("default")]
        );
        assert_eq!(runtime(br#"{"annotations":{}}"#, ID), None);
    }

    #[test]
    fn links_to_logs() {
        let link = format!("shop-0_default_web-{ID}.log");
        let found = log_link(&link).unwrap();
        assert_eq!(short(&found), [Some("kubernetes"), Some("web"), None, Some("shop-0"), Some("default")]);
        for link in
            ["", "-.log", "a_b_c-1.log", "a_b-1.log", &format!("a_b_c_d-{ID}.log"), &format!("__-{ID}.log")]
        {
            assert_eq!(log_link(link), None, "{link}");
        }
    }

    #[test]
    fn moved_data() {
        for (file, root) in [
            (r#"{"data-root":"/srv/docker"}"#, Some("/srv/docker")),
            (r#"{"data-root":"srv"}"#, None),
            (r#"{"data-root":7}"#, None),
            ("{", None),
        ] {
            assert_eq!(data_root(file.as_bytes()).as_deref(), root, "{file}");
        }
    }

    /// Truncated and damaged files cause no error. Only names that are in these files are returned.
    #[test]
    fn damaged_files() {
        let file = format!(r#"[{{"id":"{ID}","names":["web"],"metadata":"{{"}}]"#);
        for end in 0..file.len() {
            let cut = &file.as_bytes()[..end];
            assert!(docker(cut).is_none() && storage(cut).is_empty() && runtime(cut, ID).is_none());
        }
        let deep = "[".repeat(100_000);
        assert!(docker(deep.as_bytes()).is_none() && storage(deep.as_bytes()).is_empty());
        let long = format!(r#"{{"ID":"{ID}","Name":"/{}"}}"#, "x".repeat(300));
        assert_eq!(docker(long.as_bytes()).unwrap().name, None);
    }
}
