//! The names of a program file in the tables of dangerous services and of tools.

use super::programs::stem;
use crate::model::file_name;
use crate::model::interpreter::without_build;

/// The file names of each interpreter in the tables, without versions.
const INTERPRETERS: [(&str, &[&str]); 11] = [
    ("python", &["python", "pypy"]),
    ("node", &["node", "nodejs"]),
    ("java", &["java"]),
    ("ruby", &["ruby"]),
    ("perl", &["perl"]),
    ("php", &["php"]),
    ("beam", &["beam.smp"]),
    ("lua", &["lua", "luajit"]),
    ("dotnet", &["dotnet"]),
    ("mono", &["mono", "mono-sgen"]),
    ("busybox", &["busybox", "toybox"]),
];

/// Suffixes that are not a part of a program's name, such as a processor or a kind of build. They follow `-`, `_` or
/// `.`: `chisel_linux_amd64` is `chisel`.
const SUFFIXES: [&str; 39] = [
    "x86_64", "amd64", "x64", "64bit", "64", "i386", "i486", "i586", "i686", "386", "x86", "32", "arm64",
    "aarch64", "armv5", "armv6", "armv7", "armv7l", "armhf", "arm", "riscv64", "ppc64le", "s390x", "mips",
    "mipsel", "linux", "gnu", "musl", "glibc", "unknown", "pc", "static", "notls", "real", "orig", "bin",
    "wrapped", "stripped", "upx",
];

/// Program files that contain many programs, with the names of these programs. An empty list stands for any name.
///
/// If the file is started under the name of one of its programs, it runs this program. Otherwise its first argument
/// names the program.
const MULTI_CALL: [(&str, &[&str]); 7] = [
    ("busybox", &[]),
    ("toybox", &[]),
    ("coreutils", &[]),
    ("dropbearmulti", &["dropbear", "dbclient"]),
    (
        "hyperkube",
        &[
            "kubelet",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kube-proxy",
            "cloud-controller-manager",
            "kubectl",
        ],
    ),
    ("k3s", &["kubectl", "crictl", "ctr"]),
    ("balena-engine", &["balenad", "balena-engine-daemon", "balena-engine-proxy"]),
];

/// Returns the programs in a file of many programs; `None` for any other file. The name of the file may have a suffix:
/// `busybox-extras`, `hyperkube-amd64`.
fn programs_in(file: &str) -> Option<(&'static str, &'static [&'static str])> {
    let is_it = |name: &str| {
        file.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.', '_']))
    };
    MULTI_CALL.into_iter().find(|(name, programs)| is_it(name) && !programs.contains(&file))
}

/// Returns whether `file` contains several programs, one of which is `name`. The kernel may have cut `name`.
pub(crate) fn contains_program(file: &str, name: &str) -> bool {
    let is_it = |program: &&str| *program == name || (name.len() == 15 && program.starts_with(name));
    programs_in(file).is_some_and(|(_, programs)| programs.is_empty() || programs.iter().any(is_it))
}

/// Returns the program that a file of many programs runs. `None` for any other file, or if the command line names no
/// program of the file.
pub(super) fn selected_program<'p>(file: &str, arguments: &'p [String]) -> Option<&'p str> {
    let (own, _) = programs_in(file)?;
    let mut words = arguments.iter().map(|word| file_name(word).trim_start_matches('-'));
    let first = words.next()?;
    let is_own = first == file || programs_in(first).is_some_and(|(name, _)| name == own);
    let selected = if is_own { words.next()? } else { first };
    contains_program(file, selected).then_some(selected)
}

/// Returns the name that the tables use for the interpreter with the file name `file`; `None` for other programs.
pub(super) fn interpreter(file: &str) -> Option<&'static str> {
    let names = [file, stem(file), stem(without_build(file))];
    let found = INTERPRETERS.iter().find(|(_, files)| names.iter().any(|name| files.contains(name)));
    found.map(|(name, _)| *name)
}

/// Returns the file name, and then its shorter forms. Each shorter form lacks one more suffix or version:
/// `chisel_1.9.1_linux_amd64`, `chisel_1.9.1_linux`, `chisel_1.9.1`, `chisel`.
pub(super) fn names_of(file: &str) -> Vec<&str> {
    let mut names = vec![file];
    while let Some(shorter) = names.last().and_then(|name| without_suffix(name)) {
        names.push(shorter);
    }
    names
}

/// Returns a name without its last suffix or its version; `None` if the name has neither.
fn without_suffix(name: &str) -> Option<&str> {
    let without = SUFFIXES.iter().find_map(|suffix| {
        let at = name.len().checked_sub(suffix.len())?;
        let (rest, end) = name.split_at_checked(at)?;
        // A wrapper of Nix has the name `.NAME-wrapped`.
        let rest = if *suffix == "wrapped" { rest.trim_start_matches('.') } else { rest };
        end.eq_ignore_ascii_case(suffix).then(|| rest.strip_suffix(['-', '_', '.']))?
    });
    let without = without.or_else(|| {
        let bare = stem(name);
        let bare = ["-v", "_v", "-", "_"].iter().find_map(|end| bare.strip_suffix(end)).unwrap_or(bare);
        (bare != name).then_some(bare)
    });
    without.filter(|shorter| !shorter.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_in_a_file_of_many_programs() {
        for (file, line, selected) in [
            ("hyperkube", "/usr/local/bin/kubelet --anonymous-auth=true", Some("kubelet")),
            ("hyperkube-amd64", "/hyperkube-amd64 kube-apiserver --v=1", Some("kube-apiserver")),
            ("hyperkube", "sshd", None),
            ("k3s", "/usr/local/bin/k3s server", None),
            ("k3s", "kubectl proxy", Some("kubectl")),
            ("balena-engine", "balenad -H tcp://0.0.0.0:2375", Some("balenad")),
            ("balena-engine-daemon", "balena-engine-daemon", None),
            ("busybox", "busybox httpd -f", Some("httpd")),
            ("busybox.static", "-sh", Some("sh")),
            ("nginx", "kubelet", None),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(selected_program(file, &words), selected, "{file}: {line}");
        }
        assert!(contains_program("hyperkube", "kube-controller") && contains_program("busybox", "sshd"));
        assert!(!contains_program("k3s", "sshd") && !contains_program("nginx", "nginx"));
    }
}
