//! Scenes on the real kernel: sockets and processes in namespaces that each scene makes.
//!
//! They need root and namespaces. Without these, every scene is reported as ignored, by name and count. On Windows and
//! macOS, which have no namespaces, the scenes of `elsewhere` run on the machine itself.

#![allow(unreachable_pub, reason = "the lab is written as if it were a library")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test may"
)]

#[cfg(target_os = "linux")]
mod addresses;
#[cfg(target_os = "linux")]
mod audit;
#[cfg(target_os = "linux")]
mod audit_rules;
#[cfg(target_os = "linux")]
mod binding;
#[cfg(target_os = "linux")]
mod card;
#[cfg(target_os = "linux")]
mod circumstances;
#[cfg(target_os = "linux")]
mod deep;
#[cfg(target_os = "linux")]
mod diff;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod executables;
#[cfg(target_os = "linux")]
mod firewall_changes;
#[cfg(target_os = "linux")]
mod first;
#[cfg(target_os = "linux")]
mod fuse;
#[cfg(target_os = "linux")]
mod groups;
#[cfg(target_os = "linux")]
mod helpers;
#[cfg(target_os = "linux")]
mod hidden_parts;
#[cfg(target_os = "linux")]
mod holding;
#[cfg(target_os = "linux")]
mod kill;
#[cfg(target_os = "linux")]
mod kill_groups;
#[cfg(target_os = "linux")]
mod kill_safety;
#[cfg(target_os = "linux")]
mod lab;
#[cfg(target_os = "linux")]
mod many;
#[cfg(target_os = "linux")]
mod namespaces;
#[cfg(target_os = "linux")]
mod one_liners;
#[cfg(target_os = "linux")]
mod packet_handlers;
#[cfg(target_os = "linux")]
mod parity;
#[cfg(target_os = "linux")]
mod peers;
#[cfg(target_os = "linux")]
mod policy;
#[cfg(target_os = "linux")]
mod privilege;
#[cfg(target_os = "linux")]
mod probing;
#[cfg(target_os = "linux")]
mod program_rows;
#[cfg(target_os = "linux")]
mod programs;
#[cfg(target_os = "linux")]
mod published;
#[cfg(target_os = "linux")]
mod raw;
#[cfg(target_os = "linux")]
mod reach;
#[cfg(target_os = "linux")]
mod reach_rules;
#[cfg(target_os = "linux")]
mod recorded_rules;
mod report;
#[cfg(target_os = "linux")]
mod ring_helpers;
#[cfg(target_os = "linux")]
mod sent_packets;
#[cfg(target_os = "linux")]
mod starters;
mod task_iterator;
#[cfg(target_os = "linux")]
mod until;
mod uplinks;
#[cfg(target_os = "linux")]
mod verdicts;
#[cfg(target_os = "linux")]
mod watch;
#[cfg(target_os = "linux")]
mod wires;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use libtest_mimic::{Arguments, Trial};

    if let Ok(places) = std::env::var(program_rows::PLACES) {
        return program_rows::serve(&places);
    }
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "--helper") {
        return helpers::run(&arguments.collect::<Vec<_>>());
    }
    let scenes = [
        first::SCENES,
        fuse::SCENES,
        groups::SCENES,
        audit_rules::SCENES,
        executables::SCENES,
        holding::SCENES,
        kill::SCENES,
        kill_groups::SCENES,
        kill_safety::SCENES,
        hidden_parts::SCENES,
        program_rows::SCENES,
        programs::SCENES,
        starters::SCENES,
        sent_packets::SCENES,
        task_iterator::SCENES,
        peers::SCENES,
        privilege::SCENES,
        addresses::SCENES,
        binding::SCENES,
        published::SCENES,
        firewall_changes::SCENES,
        raw::SCENES,
        packet_handlers::SCENES,
        reach::SCENES,
        recorded_rules::SCENES,
        card::SCENES,
        namespaces::SCENES,
        many::SCENES,
        one_liners::SCENES,
        parity::SCENES,
        policy::SCENES,
        verdicts::SCENES,
        watch::SCENES,
        until::SCENES,
        uplinks::SCENES,
        audit::SCENES,
        deep::SCENES,
        diff::SCENES,
    ]
    .concat();
    let available = lab::available();
    if !available {
        eprintln!("scenes need root and network namespaces: all {} are ignored", scenes.len());
    }
    // The stage lives until the last scene is over.
    let _stage = available.then(lab::Stage::set).transpose().expect("programs to run");
    let trials = scenes
        .into_iter()
        .map(|(name, act)| Trial::test(name, move || lab::scene(act)).with_ignored_flag(!available))
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    use libtest_mimic::{Arguments, Trial};

    let mut arguments = std::env::args().skip(1);
    if arguments.next().is_some_and(|first| first == "--helper") {
        return elsewhere::help(&arguments.collect::<Vec<_>>());
    }
    let source = cfg!(any(target_os = "macos", windows));
    if !source {
        eprintln!("there is no source of sockets for this system: every scene is ignored");
    }
    let scenes = elsewhere::SCENES.iter();
    let trials = scenes.map(|(name, act)| Trial::test(*name, act).with_ignored_flag(!source)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
