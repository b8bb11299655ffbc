//! Running programs whose file is deleted, was replaced or never existed, and deceptive names.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use libtest_mimic::Failed;
use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::{Value, json};

use crate::audit_rules::flag;
use crate::lab::{Lab, Outcome, Scene, Server, complete, flags, held, on_port, sleep, tcp};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("deleted_executable", deleted_executable),
    ("replaced_executable", replaced_executable),
    ("memfd_executable", memfd_executable),
    ("really_called_deleted", really_called_deleted),
    ("really_called_deleted_and_deleted", really_called_deleted_and_deleted),
    ("names_that_forge_fields", names_that_forge_fields),
    ("a_program_that_the_dynamic_loader_runs", loaded_program),
];

/// Asserts a complete report of one listener that this process owns, and returns the report's data about this
/// process.
fn one(lab: &Lab, port: u16, server: &Server) -> Result<(Value, Vec<String>), Failed> {
    let report = lab.json(&[])?;
    complete(&report, 1)?;
    held(&report, port, &[server.pid()])?;
    let listener = on_port(&report, port)?;
    Ok((listener["processes"][0].clone(), flags(listener).into_iter().map(str::to_owned).collect()))
}

fn deleted_executable(lab: &Lab) -> Outcome {
    lab.alone()?;
    let path = lab.sleeper_called(b"gone")?;
    let server = Server::start(&path, vec![tcp("127.0.0.1:8500")?])?;
    let (process, _) = one(lab, 8500, &server)?;
    same!((&process["exe_state"], &process["exe_deleted"]), (&"present".into(), &false.into()));
    fs::remove_file(&path)?;
    let (process, _) = one(lab, 8500, &server)?;
    same!(process["exe"], path.to_str().unwrap());
    same!((&process["exe_state"], &process["exe_deleted"]), (&"deleted".into(), &true.into()));
    same!(process["name"], "gone");
    Ok(())
}

fn replaced_executable(lab: &Lab) -> Outcome {
    lab.alone()?;
    let path = lab.sleeper_called(b"upgraded")?;
    let server = Server::start(&path, vec![tcp("127.0.0.1:8501")?])?;
    let newer = path.with_extension("new");
    fs::copy(sleep(), &newer)?;
    fs::rename(&newer, &path)?;
    let (process, _) = one(lab, 8501, &server)?;
    same!(process["exe"], path.to_str().unwrap());
    same!((&process["exe_state"], &process["exe_deleted"]), (&"replaced".into(), &true.into()));
    Ok(())
}

fn memfd_executable(lab: &Lab) -> Outcome {
    lab.alone()?;
    let memory = memfd_create("payload", MemfdFlags::CLOEXEC)?;
    fs::File::from(memory.try_clone()?).write_all(&fs::read(sleep())?)?;
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&memory));
    let server = Server::start(path.as_ref(), vec![tcp("127.0.0.1:8502")?])?;
    let (process, _) = one(lab, 8502, &server)?;
    same!(process["exe"], "/memfd:payload");
    same!((&process["exe_state"], &process["exe_deleted"]), (&"memfd".into(), &true.into()));
    Ok(())
}

fn really_called_deleted(lab: &Lab) -> Outcome {
    lab.alone()?;
    let path = lab.sleeper_called(b"x (deleted)")?;
    let server = Server::start(&path, vec![tcp("127.0.0.1:8503")?])?;
    let (process, _) = one(lab, 8503, &server)?;
    same!(process["exe"], path.to_str().unwrap());
    same!((&process["exe_state"], &process["exe_deleted"]), (&"present".into(), &false.into()));
    same!(process["name"], "x (deleted)");
    Ok(())
}

/// The link of the process ends in " (deleted) (deleted)", and the file with the shorter name belongs to another
/// program.
fn really_called_deleted_and_deleted(lab: &Lab) -> Outcome {
    lab.alone()?;
    let path = lab.sleeper_called(b"y (deleted)")?;
    let server = Server::start(&path, vec![tcp("127.0.0.1:8504")?])?;
    fs::remove_file(&path)?;
    let decoy = path.with_file_name("y");
    fs::copy(sleep(), &decoy)?;
    fs::set_permissions(&decoy, fs::Permissions::from_mode(0o755))?;
    let (process, _) = one(lab, 8504, &server)?;
    same!(process["exe"], path.to_str().unwrap());
    same!((&process["exe_state"], &process["exe_deleted"]), (&"deleted".into(), &true.into()));
    Ok(())
}

/// Names that look like other fields of `/proc/PID/stat`, like a separator, or like an empty name.
fn names_that_forge_fields(lab: &Lab) -> Outcome {
    lab.alone()?;
    for name in ["x) S 1 1 1 (", "a b\tc", ")", "(", "1", "-", "users:((\"x\",1"] {
        let server = Server::start(&lab.sleeper_called(name.as_bytes())?, vec![tcp("127.0.0.1:8510")?])?;
        let (process, _) = one(lab, 8510, &server)?;
        // The kernel keeps 15 bytes.
        same!(process["name"], name.get(..15).unwrap_or(name), "{name:?}");
        same!(process["parents"].as_array().unwrap().iter().any(|p| p["pid"] == 1), false, "{process}");
        same!(process["started"].is_string(), true, "{name:?}");
    }
    Ok(())
}

/// The dynamic loader runs a server, and a shell with a script. Portolan judges the server and the script as without the
/// loader. A program that is not found is a gap.
fn loaded_program(lab: &Lab) -> Outcome {
    let mapped = fs::read_to_string("/proc/self/maps")?;
    let mut files = mapped.lines().filter_map(|line| line.split_whitespace().nth(5));
    let Some(loader) = files.find(|path| path.rsplit('/').next().is_some_and(|file| file.starts_with("ld-")))
    else {
        return Ok(()); // the tests are linked statically
    };
    lab.alone()?;
    let directory = lab.directory_of_mode("programs", 0o755)?;
    let start = |port: u16, arguments: &[&str]| -> Result<Server, Failed> {
        let mut command = Command::new(loader);
        command.args(arguments);
        let server = Server::spawn(command.stdin(tcp(&format!("0.0.0.0:{port}"))?))?;
        // The process first runs the loader, which then maps the C library after the program.
        let maps = format!("/proc/{}/maps", server.pid());
        for _ in 0..600 {
            if fs::read_to_string(&maps)?.contains("libc.so") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Ok(server)
    };
    let redis = lab.sleeper_called(b"redis-server")?;
    let redis = redis.to_str().ok_or("no text")?;
    let _redis = start(6379, &["--argv0", "redis-server", redis, "600"])?;
    let report = lab.json(&["6379"])?;
    let listener = on_port(&report, 6379)?;
    let process = &listener["processes"][0];
    same!((&process["exe"], &process["loader"]), (&json!(redis), &json!(loader)));
    same!((&process["name"], &process["cmdline"]), (&json!("redis-server"), &json!(["redis-server", "600"])));
    same!(flag(listener, "exposed")["severity"], "critical", "{report:#}");

    let script = |name: &str| -> Result<String, Failed> {
        let path = directory.join(name);
        fs::write(&path, "sleep 600 </dev/null; exit\n")?;
        Ok(path.to_str().ok_or("no text")?.to_owned())
    };
    let (good, other) = (script("good.sh")?, script("other.sh")?);
    let server = start(8511, &["/bin/sh", &good])?;
    let (before, policy) = (lab.path("before.json"), lab.path("policy.toml"));
    fs::write(&before, lab.portolan(["capture"]).output()?.stdout)?;
    let draft = lab.portolan(["policy", "init"]).output()?.stdout;
    same!(String::from_utf8_lossy(&draft).contains("good.sh"), true, "{}", String::from_utf8_lossy(&draft));
    fs::write(&policy, draft)?;
    drop(server);
    fs::set_permissions(&other, PermissionsExt::from_mode(0o666))?;
    let _other = start(8511, &["/bin/sh", &other])?;
    let audit = lab.portolan(["audit", "8511", "--baseline", &before, "--policy", &policy]).output()?.stdout;
    let audit = String::from_utf8(audit)?;
    for code in ["writable-executable", "unexpected", "changed"] {
        same!(audit.contains(code), true, "{code}: {audit}");
    }

    // The loader runs a file that nobody may execute. The file is then removed.
    let hidden = directory.join("hidden");
    fs::copy(sleep(), &hidden)?;
    fs::set_permissions(&hidden, PermissionsExt::from_mode(0o644))?;
    let server = start(8512, &[hidden.to_str().ok_or("no text")?, "600"])?;
    fs::remove_file(&hidden)?;
    let report = lab.json(&["8512"])?;
    let gap = report["gaps"]
        .as_array()
        .and_then(|gaps| gaps.iter().find(|gap| gap["pids"] == json!([server.pid()])));
    same!(gap.is_some(), true, "{report:#}");
    Ok(())
}
