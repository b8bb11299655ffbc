//! A second source on Linux for the tests. It is independent of the main source, because it uses only netstat2 and
//! sysinfo.

use std::sync::Arc;

pub(super) use super::netstat::sockets;
pub(super) use super::owners::is_user;

use super::EphemeralSettings;
use crate::model::{Gap, PortRange, Process, Socket, Stage};
use crate::observe::Scope;

pub(super) const NOTES: &[&str] =
    &["connected UDP sockets are listed as if they accepted traffic from anyone"];

/// Returns whether sysinfo shows root as the user of portolan.
pub(super) fn privileged() -> bool {
    let me = sysinfo::Pid::from_u32(std::process::id());
    let Ok(mut system) = sysinfo::System::new() else { return false };
    let kind = sysinfo::ProcessRefreshKind::nothing().without_tasks().with_user(sysinfo::UpdateKind::Always);
    system.refresh_processes_specifics(sysinfo::ProcessesToUpdate::Some(&[me]), false, kind);
    let user =
        system.process(me).and_then(|process| process.effective_user_id().or(process.user_id()).cloned());
    user.is_some_and(|uid| *uid == 0)
}

/// Adds the user names to the sockets. For an ordinary user, also adds the gap about the sockets of other users.
pub(super) fn add_system_details(
    _: &Scope,
    privileged: bool,
    sockets: &mut [Socket],
    _: &mut [Process],
    gaps: &mut Vec<Gap>,
) {
    let name = names();
    for socket in sockets {
        let user = socket.uid.and_then(&name);
        Arc::make_mut(&mut socket.attributes).user = user;
    }
    if !privileged {
        gaps.push(
            Gap::new(Stage::Owners, "sockets of other users' processes", "permission denied")
                .with_remedy("run as root"),
        );
    }
}

/// Returns the default of `net.ipv4.ip_local_port_range`, because only the main source reads the setting.
pub(super) fn ephemeral() -> EphemeralSettings {
    EphemeralSettings::default_of(PortRange { low: 32768, high: 60999 }, None)
}

fn names() -> impl Fn(u32) -> Option<String> {
    let users = sysinfo::Users::new_with_refreshed_list().ok();
    move |uid| users.as_ref()?.iter().find(|user| **user.id() == uid).map(|user| user.name().to_owned())
}
