//! Who holds a port, and whether they belong there: *usual* and *impostor*.
//!
//! A program on its usual port makes an otherwise unassigned, reserved, dormant or obscure port unremarkable, and
//! one that commonly serves any port is never remarkable for the port alone. Neither quiets what is wrong for
//! another reason: a port of dead software stays one, and the kernel's own range does not ask who listens in it.

use crate::join::Listener;
use crate::model::{Evidence, Finding, Flag, Process, Protocol, State, Stranger, Usual};
use crate::registry::identity::{Identity, identify};
use crate::registry::programs;

/// A holder and what it is taken for.
pub(super) struct Tenant<'o> {
    process: &'o Process,
    identity: Option<Identity>,
}

/// The holders of a socket.
pub(super) fn of<'o>(listener: &Listener<'o>) -> Vec<Tenant<'o>> {
    let identified = |process: &'o Process| Tenant { process, identity: identify(process) };
    if !listener.socket.state.holds_port() {
        return Vec::new();
    }
    listener.processes.iter().map(|process| identified(process)).collect()
}

/// The flags that say no more than that the port is not the registry's.
pub(super) const fn quiets(flag: Flag) -> bool {
    matches!(flag, Flag::Unassigned | Flag::Reserved | Flag::Dormant | Flag::OtherProtocol)
}

/// The program that belongs here. Every holder must: a stranger beside it makes the port remarkable again.
pub(super) fn usual(listener: &Listener<'_>, tenants: &[Tenant<'_>]) -> Option<Usual> {
    let local = &listener.socket.local;
    if listener.socket.owner.pids().len() != tenants.len() {
        return None; // one of them could not be read
    }
    let all = tenants.iter().map(|tenant| belongs(tenant, local.port, local.protocol));
    let found: Vec<Usual> = all.collect::<Option<_>>()?;
    // Its own port says more than any port, and a tenant more than the program that holds it for one.
    found.iter().find(|usual| !usual.any_port).or(found.first()).copied()
}

fn belongs(tenant: &Tenant<'_>, port: u16, protocol: Protocol) -> Option<Usual> {
    let identity = tenant.identity.as_ref()?;
    let usual = |program: programs::Program, any_port| Usual {
        program: program.name,
        product: program.product,
        rests_on: identity.rests_on,
        any_port,
        pid: tenant.process.pid,
    };
    if let Some(program) = identity.serving(port, protocol) {
        return Some(usual(program, false));
    }
    let anywhere = usual(identity.anywhere()?, true);
    let unit = (tenant.process.pid == 1).then(|| programs::socket_unit(port, protocol)).flatten();
    Some(unit.map_or(anywhere, |unit| Usual { product: unit, any_port: false, ..anywhere }))
}

/// A guarded port that nobody holds who is known to serve it. Whoever holds sockets for others is not accused, nor
/// is anyone whose file could not be read and whose name says nothing.
pub(super) fn impostor(listener: &Listener<'_>, tenants: &[Tenant<'_>]) -> Option<Finding> {
    let local = &listener.socket.local;
    if matches!(listener.socket.state, State::Bound) || listener.socket.owner.pids().len() != tenants.len() {
        return None; // a client may bind before it connects; a holder that was not read may be the right one
    }
    let rows: Vec<_> = programs::guarded(local.port, local.protocol).collect();
    let first = rows.first()?;
    let mut found = Vec::new();
    for Tenant { process, identity } in tenants {
        let identity = identity.as_ref()?;
        // sshd holds ports for others and its own.
        if identity.holds_for_others() && identity.serving(local.port, local.protocol).is_none() {
            continue;
        }
        let answers: Vec<_> = rows.iter().map(|row| identity.belongs(row)).collect();
        if answers.contains(&Some(true)) {
            return None; // a socket may be inherited; that it is shared is another question
        }
        if answers.contains(&Some(false)) {
            found.push(Stranger {
                pid: process.pid,
                program: identity.name.clone(),
                products: identity.programs.iter().map(|program| program.product).collect(),
                rests_on: identity.rests_on,
            });
        }
    }
    if found.is_empty() {
        return None;
    }
    let evidence = Evidence::Impostor {
        service: first.service,
        expected: rows.iter().flat_map(programs::Guarded::programs).collect(),
        found,
        why: first.why,
    };
    Some(Finding { severity: Flag::Impostor.severity(local.protocol, listener.exposure), evidence })
}
