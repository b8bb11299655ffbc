//! Finds the probable owner of a hidden socket: any user can read the processes of a control group, but not their
//! descriptors.

use rustix::fs::{CWD, Mode, openat};

use super::owners::DIRECTORY;
use super::process::Reader;
use super::reading::ReadRequest;
use super::{cgroup, name_users, users};
use crate::model::interpreter::is_interpreter;
use crate::model::{InferredOwner, Pid, Process};

/// Returns the process that probably owns a hidden socket of this control group; `None` if the group has several
/// programs or a process that cannot be seen.
pub(in crate::observe) fn inferred_owner(group: &str) -> Option<InferredOwner> {
    // A process whose descriptors can be read was already searched.
    let was_searched = |pid: &Pid| openat(CWD, format!("/proc/{pid}/fd"), DIRECTORY, Mode::empty()).is_ok();
    let pids = cgroup::processes(group)?.into_iter().filter(|pid| !was_searched(pid));
    let mut reader = Reader::default();
    let mut read = |pid| {
        let request = ReadRequest {
            pid,
            everything: true,
            unit_known: true,
            project: false,
            cmdline: true,
            maps: false,
        };
        reader.process(request)
    };
    let mut owner = only_program(pids.map(&mut read).collect::<Option<_>>()?)?;
    name_users(std::slice::from_mut(&mut owner.process), &mut users::Users::load());
    Some(owner)
}

/// If all processes run one program, returns the process that started the others.
fn only_program(processes: Vec<Process>) -> Option<InferredOwner> {
    let first = processes.first()?;
    let program = first.name.as_deref()?;
    // Two scripts of one interpreter are two programs.
    let is_same = |other: &Process| {
        other.name.as_deref() == Some(program) && (!is_interpreter(program) || other.cmdline == first.cmdline)
    };
    if !processes.iter().all(is_same) {
        return None;
    }
    let pids: Vec<Pid> = processes.iter().map(|process| process.pid).collect();
    let is_first = |process: &Process| !process.parents.iter().any(|parent| pids.contains(&parent.pid));
    let mut first = processes.into_iter().filter(is_first);
    let process = first.next()?;
    first.next().is_none().then_some(InferredOwner { process, count: pids.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Parent;

    fn process(pid: Pid, name: &str, cmdline: &[&str], parents: &[Pid]) -> Process {
        Process {
            name: Some(name.to_owned()),
            cmdline: cmdline.iter().map(|&word| word.to_owned()).collect(),
            parents: parents.iter().map(|pid| Parent::new(*pid, "x".to_owned())).collect(),
            ..Process::unknown(pid)
        }
    }

    #[test]
    fn the_only_program_of_a_control_group() {
        let nginx = |pid, title, parents: &[Pid]| process(pid, "nginx", &[title], parents);
        let python = |pid, script, parents: &[Pid]| process(pid, "python3", &["python3", script], parents);
        for (name, processes, expected) in [
            ("one process", vec![nginx(812, "nginx: master process", &[1])], Some((812, 1))),
            (
                "workers",
                vec![nginx(811, "nginx: worker", &[812, 1]), nginx(812, "nginx", &[1])],
                Some((812, 2)),
            ),
            ("two programs", vec![process(7, "sh", &[], &[1]), nginx(8, "nginx", &[7, 1])], None),
            ("two instances", vec![nginx(7, "nginx", &[1]), nginx(8, "nginx", &[1])], None),
            ("workers of a script", vec![python(7, "a.py", &[1]), python(8, "a.py", &[7, 1])], Some((7, 2))),
            ("two scripts", vec![python(7, "a.py", &[1]), python(8, "b.py", &[7, 1])], None),
            ("no name", vec![Process::unknown(7)], None),
            ("no process", Vec::new(), None),
        ] {
            let owner = only_program(processes);
            assert_eq!(owner.map(|owner| (owner.process.pid, owner.count)), expected, "{name}");
        }
    }
}
