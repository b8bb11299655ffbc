//! Programs that hold a socket and start another program, which serves it only for an instant.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::audit_rules::{flag, severity_and_code};
use crate::lab::{Lab, Outcome, Scene, Server, flags, on_port, tcp};
use crate::same;

pub const SCENES: &[Scene] = &[("a_program_that_only_starts_others_is_named", starters)];

/// The started program closes the socket, so that only the starter holds it between two connections.
fn starters(lab: &Lab) -> Outcome {
    lab.alone()?;
    let open = lab.directory_of_mode("open", 0o777)?;
    let closes = open.join("server");
    fs::write(&closes, "#!/bin/sh\nexec sleep 600 <&-\n")?;
    let keeps = lab.directory_of_mode("bin", 0o755)?.join("server");
    fs::write(&keeps, "#!/bin/sh\nexec sleep 600\n")?;
    for program in [&closes, &keeps] {
        fs::set_permissions(program, fs::Permissions::from_mode(0o755))?;
    }
    let mut servers = Vec::new();
    for (port, program) in [(8960, &closes), (8961, &keeps)] {
        let mut command = Command::new("flock");
        command
            .arg(lab.path(&format!("lock-{port}")))
            .arg(program)
            .stdin(tcp(&format!("0.0.0.0:{port}"))?)
            .stdout(Stdio::null());
        servers.push(Server::spawn(&mut command)?);
    }
    // flock starts its program a moment after itself, and the program closes the socket a moment later.
    let mut report = lab.json(&[])?;
    for _ in 0..100 {
        if crate::lab::pids(on_port(&report, 8961)?).len() == 2
            && crate::lab::pids(on_port(&report, 8960)?) == [servers[0].pid()]
        {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        report = lab.json(&[])?;
    }
    let alone = on_port(&report, 8960)?;
    same!(crate::lab::pids(alone), [servers[0].pid()], "{report:#}");
    same!(severity_and_code(alone, "ad-hoc").0, "warning", "{alone:#}");
    let text = flag(alone, "ad-hoc")["text"].as_str().unwrap_or_default().to_owned();
    same!(
        text.contains(closes.to_str().ok_or("no text")?) && text.contains("starts another program"),
        true,
        "{text}"
    );
    let writable = flag(alone, "writable-executable");
    same!(writable["evidence"]["found"][0]["script"], closes.to_str().ok_or("no text")?, "{alone:#}");
    same!(flags(on_port(&report, 8961)?).contains(&"ad-hoc"), false, "the started program is judged");
    // What is started is part of who the process is.
    let before = lab.path("before.json");
    fs::write(&before, lab.portolan(["capture"]).output()?.stdout)?;
    servers.clear();
    let mut command = Command::new("flock");
    command.arg(lab.path("lock")).arg(&keeps).stdin(tcp("0.0.0.0:8960")?).stdout(Stdio::null());
    let _other = Server::spawn(&mut command)?;
    let after = String::from_utf8(lab.portolan(["diff", &before]).output()?.stdout)?;
    same!(after.contains(keeps.to_str().ok_or("no text")?), true, "{after}");
    Ok(())
}
