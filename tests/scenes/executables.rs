//! The program files of processes, on the real kernel: deleted, replaced, in memory only, or in world-writable places.

use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use libtest_mimic::Failed;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::{Value, json};

use crate::audit_rules::{flag, severity_and_code};
use crate::lab::{
    Lab, NOBODY, Outcome, Scene, Server, complete, flags, gap, held, listeners, on_port, sleep, tcp,
};
use crate::same;

pub const SCENES: &[Scene] = &[
    ("rules_deleted_and_replaced", deleted_and_replaced),
    ("rules_deleted_old_version", deleted_old_version),
    ("rules_replaced_under_a_jailed_server", replaced_under_a_jail),
    ("rules_deleted_in_a_detached_mount", deleted_in_a_detached_mount),
    ("rules_code_that_was_loaded", loaded_code),
    ("rules_open_jars", open_jars),
    ("rules_deleted_scripts", deleted_scripts),
    ("rules_a_title_hides_a_script", title),
    ("rules_memfd", memfd),
    ("rules_world_writable_directories", world_writable),
    ("rules_world_writable_in_another_mount_namespace", world_writable_elsewhere),
    ("rules_a_hidden_directory_has_no_finding", hidden_directory),
];

fn deleted_and_replaced(lab: &Lab) -> Outcome {
    lab.alone()?;
    let (upgraded, gone) = (lab.sleeper_called(b"upgraded")?, lab.sleeper_called(b"gone")?);
    let first = Server::start(&upgraded, vec![tcp("127.0.0.1:8920")?])?;
    let second = Server::start(&gone, vec![tcp("0.0.0.0:8921")?])?;
    let report = lab.json(&[])?;
    for port in [8920, 8921] {
        same!(flags(on_port(&report, port)?).contains(&"deleted-executable"), false, "{report:#}");
    }
    let newer = upgraded.with_extension("new");
    fs::copy(sleep(), &newer)?;
    fs::rename(&newer, &upgraded)?;
    fs::remove_file(&gone)?;
    let report = lab.json(&[])?;
    complete(&report, 2)?;
    let replaced = flag(on_port(&report, 8920)?, "deleted-executable");
    same!(replaced["severity"], "info");
    same!(replaced["evidence"]["replaced"][0]["pid"], first.pid());
    same!(replaced["evidence"]["replaced"][0]["exe"], upgraded.to_str().unwrap());
    same!(replaced["evidence"]["gone"], json!([]));
    same!(replaced["text"].as_str().unwrap_or_default().contains("for example by an upgrade"), true);
    let gone = flag(on_port(&report, 8921)?, "deleted-executable");
    same!(gone["severity"], "warning");
    same!(gone["evidence"]["gone"][0]["pid"], second.pid());
    same!(gone["evidence"]["replaced"], json!([]));
    same!(gone["text"].as_str().unwrap_or_default().contains("The program file was deleted"), true);
    Ok(())
}

/// An upgrade removed the directory of the former version. Only root could have created the program, so it is what its
/// name says; a user could have created the other one.
fn deleted_old_version(lab: &Lab) -> Outcome {
    lab.alone()?;
    let (server, other) = (lab.sleeper_called(b"redis-server")?, lab.sleeper_called(b"postgres")?);
    let _server = Server::start(&server, vec![tcp("0.0.0.0:6379")?])?;
    chown(&other, Some(NOBODY), None)?;
    let _other = Server::start(&other, vec![tcp("0.0.0.0:5432")?])?;
    for program in [&server, &other] {
        fs::remove_dir_all(program.parent().ok_or("no directory")?)?;
    }
    let report = lab.json(&[])?;
    for (port, severity, is_impostor) in [(6379, "notice", false), (5432, "warning", true)] {
        let listener = on_port(&report, port)?;
        same!(flag(listener, "deleted-executable")["severity"], severity, "{report:#}");
        same!(flags(listener).contains(&"impostor"), is_impostor, "{report:#}");
    }
    Ok(())
}

/// A server with its own root directory: its file is looked up below this root.
fn replaced_under_a_jail(lab: &Lab) -> Outcome {
    lab.alone()?;
    let jail = lab.directory_of_mode("jail", 0o755)?;
    let server =
        lab.helper_called("server", &["jailed", "127.0.0.1:8922", jail.to_str().ok_or("no text")?])?;
    let report = lab.json(&[])?;
    complete(&report, 1)?;
    let process = on_port(&report, 8922)?["processes"][0].clone();
    let path = process["exe"].as_str().ok_or("no file")?.to_owned();
    same!(process["exe_state"], "present");
    let newer = Path::new(&path).with_extension("new");
    fs::copy(&path, &newer)?;
    fs::rename(&newer, &path)?;
    let report = lab.json(&[])?;
    let replaced = flag(on_port(&report, 8922)?, "deleted-executable");
    same!(replaced["evidence"]["replaced"][0]["pid"], server.pid(), "{report:#}");
    Ok(())
}

/// The path of a file in a detached mount begins at the root of that mount: another file of the machine can have the
/// same path. A file that was not deleted is at no path of the machine either.
fn deleted_in_a_detached_mount(lab: &Lab) -> Outcome {
    let place = lab.directory_of_mode("detached", 0o755)?;
    for (path, is_removed) in [(sleep(), true), (Path::new("/nowhere/server").to_owned(), false)] {
        let (place, called) = (place.clone(), path.clone());
        let thread = std::thread::spawn(move || -> Result<Server, Failed> {
            unshare(CloneFlags::CLONE_NEWNS)?;
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
            mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))?;
            let program = place.join(called.strip_prefix("/")?);
            fs::create_dir_all(program.parent().ok_or("no directory")?)?;
            fs::copy(sleep(), &program)?;
            // The working directory is this thread's own since `unshare`.
            std::env::set_current_dir(program.parent().ok_or("no directory")?)?;
            nix::mount::umount2(&place, nix::mount::MntFlags::MNT_DETACH)?;
            let program = Path::new("./").join(program.file_name().ok_or("no name")?);
            let server = Server::start(&program, vec![tcp("0.0.0.0:8925")?])?;
            if is_removed {
                fs::remove_file(&program)?;
            }
            Ok(server)
        });
        let server = thread.join().map_err(|_| "the thread panicked")??;
        let report = lab.json(&["8925"])?;
        let found = flag(on_port(&report, 8925)?, "deleted-executable");
        same!(found["evidence"]["gone"][0]["pid"], server.pid(), "{report:#}");
        same!(found["evidence"]["gone"][0]["exe"], path.to_str().unwrap());
        same!(found["evidence"]["replaced"], json!([]));
    }
    Ok(())
}

/// A library that any user can replace, and a program that the dynamic loader runs. The program file of both belongs
/// to root.
fn loaded_code(lab: &Lab) -> Outcome {
    let mapped = fs::read_to_string("/proc/self/maps")?;
    lab.alone()?;
    let library = |name: &str| {
        let mut paths = mapped.lines().filter_map(|line| line.split_whitespace().nth(5));
        paths.find(|path| path.rsplit('/').next().is_some_and(|file| file.starts_with(name))).map(Path::new)
    };
    let (Some(loader), Some(preloaded)) = (library("ld-"), library("libc.so")) else {
        return Ok(()); // the tests are linked statically
    };
    let open = lab.directory_of_mode("open", 0o777)?;
    let (copy, program) = (open.join("copy.so"), open.join("server"));
    fs::copy(preloaded, &copy)?;
    fs::copy(sleep(), &program)?;
    let start = |command: &mut std::process::Command, port| -> Result<Server, Failed> {
        Server::spawn(command.arg("600").stdin(tcp(&format!("0.0.0.0:{port}"))?))
    };
    let _plain = start(&mut std::process::Command::new(sleep()), 8926)?;
    let _preloaded = start(std::process::Command::new(sleep()).env("LD_PRELOAD", &copy), 8927)?;
    let _loader = start(std::process::Command::new(loader).arg(&program), 8928)?;
    let report = lab.json(&[])?;
    complete(&report, 3)?;
    let writable = |port, key| {
        Ok::<_, Failed>(
            flag(on_port(&report, port)?, "writable-executable")["evidence"]["found"][0][key].clone(),
        )
    };
    same!(writable(8926, "exe")?, json!(null));
    same!(writable(8927, "script")?, json!(copy));
    same!((writable(8928, "exe")?, writable(8928, "script")?), (json!(program), json!(null)), "{report:#}");
    for port in [8926, 8927, 8928] {
        same!(flag(on_port(&report, port)?, "masquerading").is_null(), true);
    }
    Ok(())
}

/// A jar that only the manifest of another jar names: Java keeps the jar open. A server may unpack jars into a directory
/// such as `/tmp`, in which no other user can replace them.
fn open_jars(lab: &Lab) -> Outcome {
    lab.alone()?;
    let java = lab.sleeper_called(b"java")?;
    let mut servers = Vec::new();
    for (mode, port, is_open) in [(0o777, 8961, true), (0o1777, 8962, false)] {
        let jar = lab.directory_of_mode(&format!("jars-{port}"), mode)?.join("lib.jar");
        fs::write(&jar, "")?;
        let mut command = std::process::Command::new(&java);
        command.arg("600").current_dir("/").stdout(fs::File::open(&jar)?);
        servers.push(Server::spawn(command.stdin(tcp(&format!("0.0.0.0:{port}"))?))?);
        let report = lab.json(&[&port.to_string()])?;
        let found = flag(on_port(&report, port)?, "writable-executable");
        let expected = if is_open { json!(jar) } else { json!(null) };
        same!(found["evidence"]["found"][0]["script"], expected, "{report:#}");
    }
    Ok(())
}

/// Scripts that are gone. A world-writable directory is reported even for a script that is gone. A shell reads its
/// script while it runs.
fn deleted_scripts(lab: &Lab) -> Outcome {
    lab.alone()?;
    let mut servers = Vec::new();
    for (directory, mode, port) in [("closed", 0o755, 8941), ("open", 0o777, 8942)] {
        let script = lab.directory_of_mode(directory, mode)?.join("server.sh");
        let started = script.with_extension("started");
        fs::write(&script, format!(": >{}; sleep 600; exit", started.display()))?;
        let mut shell = std::process::Command::new("/bin/sh");
        servers.push(Server::spawn(shell.arg(&script).stdin(tcp(&format!("0.0.0.0:{port}"))?))?);
        for _ in 0..600 {
            if started.exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        fs::remove_file(&script)?;
    }
    let report = lab.json(&[])?;
    let gone = flag(on_port(&report, 8941)?, "deleted-executable");
    let script = gone["evidence"]["scripts"][0]["script"].as_str().unwrap_or_default();
    same!(script.ends_with("/closed/server.sh"), true, "{report:#}");
    same!(gone["severity"], "warning");
    let open = flag(on_port(&report, 8942)?, "writable-executable");
    let script = open["evidence"]["found"][0]["script"].as_str().unwrap_or_default();
    same!(script.ends_with("/open/server.sh"), true, "{report:#}");
    Ok(())
}

/// A script that writes a title over its command line: nothing shows any more which script runs.
fn title(lab: &Lab) -> Outcome {
    lab.alone()?;
    let script = lab.directory_of_mode("open", 0o777)?.join("server.pl");
    fs::write(&script, "$0 = 'shop worker'; sleep 600;")?;
    let mut perl = std::process::Command::new("perl");
    let server = Server::spawn(perl.arg(&script).stdin(tcp("0.0.0.0:8943")?))?;
    let mut report = lab.json(&[])?;
    for _ in 0..100 {
        if on_port(&report, 8943)?["processes"][0]["cmdline"].to_string().contains("shop worker") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        report = lab.json(&[])?;
    }
    same!(on_port(&report, 8943)?["processes"][0]["script"].is_null(), true, "{report:#}");
    gap(&report, "processes", "overwrote its command line")?;
    same!(report["gaps"][0]["pids"], json!([server.pid()]));
    same!(lab.portolan(["audit"]).output()?.status.code(), Some(3));
    Ok(())
}

fn memfd(lab: &Lab) -> Outcome {
    lab.alone()?;
    let memory = memfd_create("payload", MemfdFlags::CLOEXEC)?;
    fs::File::from(memory.try_clone()?).write_all(&fs::read(sleep())?)?;
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let both = vec![tcp("127.0.0.1:8923")?, tcp("0.0.0.0:8924")?];
    let server = Server::start(path.as_ref(), both)?;
    let report = lab.json(&[])?;
    complete(&report, 2)?;
    for (port, severity) in [(8923, "warning"), (8924, "critical")] {
        let listener = on_port(&report, port)?;
        same!(severity_and_code(listener, "runs-from-memory").0, severity);
        same!(flag(listener, "runs-from-memory")["evidence"]["found"][0]["pid"], server.pid());
        same!(flags(listener).contains(&"deleted-executable"), false, "it never had a file");
    }
    Ok(())
}

/// Starts a copy of `sleep` in a directory, and returns the flag of a program that any user can replace.
fn run_in(lab: &Lab, directory: &Path, address: &str) -> Result<Value, Failed> {
    let program = directory.join("server");
    fs::copy(sleep(), &program)?;
    let _owner = Server::start(&program, vec![tcp(address)?])?;
    let report = lab.json(&[])?;
    complete(&report, 1)?;
    let found = flag(&listeners(&report)?[0], "writable-executable").clone();
    let table = String::from_utf8(lab.portolan([""; 0]).output()?.stdout)?;
    same!(table.contains("writable-executable"), !found.is_null(), "{table}");
    Ok(found)
}

fn world_writable(lab: &Lab) -> Outcome {
    lab.alone()?;
    for (mode, odd) in [(0o777, true), (0o1777, true), (0o775, false), (0o755, false), (0o2775, false)] {
        let directory = lab.directory_of_mode("open", mode)?;
        let inner = directory.join("inner");
        fs::create_dir(&inner)?;
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o755))?;
        for directory_of_it in [&directory, &inner] {
            let found = run_in(lab, directory_of_it, "0.0.0.0:8930")?;
            same!(!found.is_null(), odd, "{mode:o} {directory_of_it:?}");
            if odd {
                same!(found["severity"], "critical");
                same!(found["evidence"]["found"][0]["writable"], directory.to_str().unwrap());
            }
        }
    }
    // Below a world-writable directory, a private directory does not help.
    let private = tempfile::tempdir_in("/tmp")?;
    let found = run_in(lab, private.path(), "127.0.0.1:8931")?;
    same!(found["severity"], "warning");
    same!(found["evidence"]["found"][0]["writable"], "/tmp");
    Ok(())
}

/// A directory that only the process itself sees, as in a container.
fn world_writable_elsewhere(lab: &Lab) -> Outcome {
    let open = lab.directory_of_mode("open", 0o755)?;
    let address = "127.0.0.1:8932";
    let start = |mode: &'static str| {
        let place = open.clone();
        let thread = std::thread::spawn(move || -> Result<Server, Failed> {
            unshare(CloneFlags::CLONE_NEWNS)?;
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
            mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), Some(mode))?;
            let program = place.join("server");
            fs::copy(sleep(), &program)?;
            Server::start(&program, vec![tcp(address)?])
        });
        thread.join().map_err(|_| "the thread panicked")?
    };
    for (mode, odd) in [("mode=0777", true), ("mode=0755", false)] {
        let server = start(mode)?;
        let report = lab.json(&["8932"])?;
        held(&report, 8932, &[server.pid()])?;
        let found = flag(on_port(&report, 8932)?, "writable-executable");
        same!(!found.is_null(), odd, "{mode}: {report:#}");
        // The file exists, but not every user can reach it.
        same!(on_port(&report, 8932)?["processes"][0]["exe_state"], "present");
    }
    Ok(())
}

/// `~/.local/bin` is a hidden directory too.
fn hidden_directory(lab: &Lab) -> Outcome {
    lab.alone()?;
    let hidden = lab.directory_of_mode(".hidden", 0o755)?;
    same!(run_in(lab, &hidden, "0.0.0.0:8933")?, Value::Null);
    Ok(())
}
