//! Running programs whose file is deleted, was replaced or never existed, and deceptive names.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::Value;

use crate::lab::{Lab, Outcome, Scene, Server, complete, flags, held, on_port, sleep, tcp};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("deleted_executable", deleted_executable),
    ("replaced_executable", replaced_executable),
    ("memfd_executable", memfd_executable),
    ("really_called_deleted", really_called_deleted),
    ("really_called_deleted_and_deleted", really_called_deleted_and_deleted),
    ("names_that_forge_fields", names_that_forge_fields),
];

/// Asserts a complete report of one listener that this process owns, and returns the report's data about this
/// process.
fn one(lab: &Lab, port: u16, server: &Server) -> Result<(Value, Vec<String>), libtest_mimic::Failed> {
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
