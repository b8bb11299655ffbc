//! Counts the TCP sockets of one port in the kernel's table of bound ports (`struct inet_bind_bucket`).
//!
//! `sock_diag` lists the sockets that are bound but neither listen nor are connected. For this, the kernel visits every
//! bound socket of the machine, even if only one port is requested. A BPF program visits only the sockets of the port.

use rustix::thread::gettid;

use super::assembler::{
    Assembler, CURRENT_TASK, Label, POINTER, R0, R1, R2, R6, R7, R8, R9, Register, STACK,
};
use super::bpf_syscall::{self, field4, records};
use super::layout::{self, BindTable, Layout};

/// The state of a socket that neither listens nor is connected (net/tcp_states.h).
const CLOSE: i32 = 7;

/// The size of a record: the numbers of inactive and of other sockets, and whether all sockets were visited.
const RECORD: usize = 16;

/// The TCP sockets of a port, in the network namespace of the calling thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct PortSockets {
    /// The number of sockets that are bound, but neither listen nor are connected.
    pub(in super::super) inactive: u32,
    pub(in super::super) others: u32,
}

/// Counts the sockets of a port. Returns `None` if the kernel refuses the program or does not describe the table
/// (before Linux 6.8), or if the table changed while it was read.
pub(in super::super) fn sockets_on(port: u16) -> Option<PortSockets> {
    // Reading the layout is slow, so an array is made first as a test. For a user who may not load the program, this
    // step fails at once.
    let _array = bpf_syscall::array(&[0]).ok()?;
    let layout = layout::of_running_kernel()?;
    let table = layout.bind_table.as_ref()?;
    let thread = u32::try_from(gettid().as_raw_nonzero().get()).ok()?;
    let program = program(layout, table, port);
    let iterator = bpf_syscall::iterator_of_thread(&program, layout.task_iterator, thread).ok()?;
    let mut answers = Vec::new();
    records(&iterator, |record: &[u8; RECORD]| {
        let sockets = PortSockets { inactive: field4(record, 0), others: field4(record, 4) };
        answers.push((field4(record, 8) != 0).then_some(sockets));
    })
    .ok()?;
    match *answers {
        [answer] => answer,
        _ => None,
    }
}

/// Returns the program, which visits all sockets of `port`. A bucket of the table has a list of ports, a port has a list
/// of addresses, and an address has a list of sockets. The kernel does not lock these lists. An object of another port
/// in a list of this port shows that the list has changed. Then, not all sockets were visited.
fn program(layout: &Layout, table: &BindTable, port: u16) -> Vec<u64> {
    const INACTIVE: i16 = POINTER - 16;
    const OTHERS: i16 = POINTER - 12;
    const IS_COMPLETE: i16 = POINTER - 8;
    const NAMESPACE: i16 = POINTER - 24;
    const NEXT: i16 = POINTER - 32;
    let mut program = Assembler::default();
    program.copy(R6, R1);
    program.load8(R1, R6, 8); // the task
    program.jump_if(R1, 0, Label::End);
    program.load_output();
    for field in [INACTIVE, OTHERS, IS_COMPLETE, IS_COMPLETE + 4] {
        program.store4_value(field, 0);
    }
    program.call(CURRENT_TASK);
    program.follow(R7, R0, layout.task_namespaces);
    program.jump_if(R7, 0, Label::End);
    program.follow(R7, R7, layout.namespaces_net);
    program.store8(NAMESPACE, R7);
    program.copy_to_stack(POINTER, 4, R7, table.net_hash);
    program.load4(R9, STACK, POINTER);
    program.add_value(R9, port.into());
    program.follow(R8, R7, table.net_table);
    program.copy_to_stack(POINTER, 4, R8, table.table_size);
    program.load4(R1, STACK, POINTER);
    program.add_value(R1, -1);
    program.and_register(R9, R1);
    program.multiply(R9, i32::from(table.bucket_chain) + 8); // the chain, a pointer, is the end of a bucket
    program.follow(R8, R8, table.table_buckets);
    program.add_register(R8, R9);
    program.follow(R7, R8, table.bucket_chain);
    // R7 is the next port, R8 is the next address of the last port, and R9 is the next socket of the last address.
    program.set(R8, 0);
    program.set(R9, 0);
    program.label(Label::Next);
    program.leave_long_loop(Label::Write);
    program.jump_unless(R9, 0, Label::Socket);
    program.jump_unless(R8, 0, Label::Address);
    program.jump_if(R7, 0, Label::Finished);
    program.follow(R1, R7, table.port_net - table.port_node);
    program.load8(R2, STACK, NAMESPACE);
    program.jump_unless_equal(R1, R2, Label::Other);
    program.jump_unless_port(port, R7, table.port_number - table.port_node, Label::Other);
    program.follow(R8, R7, table.port_addresses - table.port_node);
    program.label(Label::Other);
    program.follow(R7, R7, 0);
    program.jump(Label::Next);
    program.label(Label::Address);
    program.jump_unless_port(port, R8, table.address_port - table.address_node, Label::Write);
    program.follow(R9, R8, table.address_sockets - table.address_node);
    program.follow(R8, R8, 0);
    program.jump(Label::Next);
    program.label(Label::Socket);
    // The port is compared before and after the next socket is read, because the kernel may use the socket again.
    let at = |field: i16| field - table.socket_node;
    program.jump_unless_port(port, R9, at(table.socket_port), Label::Write);
    program.copy_to_stack(NEXT, 8, R9, 0);
    program.jump_unless_port(port, R9, at(table.socket_port), Label::Write);
    program.copy_to_stack(POINTER, 1, R9, at(table.socket_state));
    program.load8(R9, STACK, NEXT);
    program.load1(R1, STACK, POINTER);
    program.jump_if(R1, CLOSE, Label::Inactive);
    program.increment(OTHERS);
    program.jump(Label::Next);
    program.label(Label::Inactive);
    program.increment(INACTIVE);
    program.jump(Label::Next);
    program.label(Label::Finished);
    program.store4_value(IS_COMPLETE, 1);
    program.label(Label::Write);
    program.write(INACTIVE, RECORD)
}

impl Assembler {
    /// Adds a jump that is taken if the two bytes at the address `base` + `at` are not `port`.
    fn jump_unless_port(&mut self, port: u16, base: Register, at: i16, to: Label) {
        self.copy_to_stack(POINTER, 2, base, at);
        self.load2(R1, STACK, POINTER);
        self.jump_unless(R1, port.into(), to);
    }
}
