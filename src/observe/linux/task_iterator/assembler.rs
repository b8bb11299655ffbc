//! Assembles the instructions of a BPF program (linux/bpf.h).

use std::os::fd::RawFd;

/// `BPF_FUNC_probe_read_kernel`, `BPF_FUNC_seq_write`, `BPF_FUNC_get_current_task_btf` and `BPF_FUNC_sock_from_file`
/// (linux/bpf.h).
const PROBE_READ: i32 = 113;
const SEQ_WRITE: i32 = 127;
pub(super) const CURRENT_TASK: i32 = 158;
pub(super) const SOCK_FROM_FILE: i32 = 162;
/// `BPF_PSEUDO_MAP_VALUE` (linux/bpf.h). It replaces the descriptor of an array with the address of the array's value.
const MAP_VALUE: Register = 2;

/// The offset of a pointer on the stack.
pub(super) const POINTER: i16 = -8;

/// R0 is the result of a call, R1 to R5 are its arguments, and R10 is the end of the stack.
pub(super) type Register = u8;
pub(super) const R0: Register = 0;
pub(super) const R1: Register = 1;
pub(super) const R2: Register = 2;
pub(super) const R3: Register = 3;
pub(super) const R6: Register = 6;
pub(super) const R7: Register = 7;
pub(super) const R8: Register = 8;
pub(super) const R9: Register = 9;
pub(super) const STACK: Register = 10;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Descriptors,
    NextDescriptor,
    Found,
    Unfinished,
    FirstSocket,
    Socket,
    NoSocket,
    Inactive,
    Address,
    Next,
    Finished,
    Wanted,
    Other,
    Write,
    End,
}

#[derive(Default)]
pub(super) struct Assembler {
    code: Vec<u64>,
    jumps: Vec<(usize, Label)>,
    labels: Vec<(Label, usize)>,
}

impl Assembler {
    pub(super) fn add(&mut self, operation: u8, to: Register, from: Register, offset: i16, value: i32) {
        self.code.push(
            u64::from(operation)
                | u64::from(to) << 8
                | u64::from(from) << 12
                | u64::from(offset.cast_unsigned()) << 16
                | u64::from(value.cast_unsigned()) << 32,
        );
    }

    pub(super) fn copy(&mut self, to: Register, from: Register) {
        self.add(0xbf, to, from, 0, 0);
    }

    pub(super) fn set(&mut self, to: Register, value: i32) {
        self.add(0xb7, to, 0, 0, value);
    }

    /// Adds code that sets a register to 8 bytes.
    pub(super) fn set_bytes(&mut self, to: Register, bytes: [u8; 8]) {
        let value = u64::from_ne_bytes(bytes);
        self.code.push(0x18 | u64::from(to) << 8 | value << 32);
        self.code.push(value & 0xffff_ffff_0000_0000);
    }

    /// Adds code that sets a register to the address of the first byte of an array's value.
    pub(super) fn set_array(&mut self, to: Register, array: RawFd) {
        self.add(0x18, to, MAP_VALUE, 0, array);
        self.code.push(0);
    }

    pub(super) fn add_value(&mut self, to: Register, value: i32) {
        self.add(0x07, to, 0, 0, value);
    }

    pub(super) fn load8(&mut self, to: Register, from: Register, offset: i16) {
        self.add(0x79, to, from, offset, 0);
    }

    pub(super) fn load4(&mut self, to: Register, from: Register, offset: i16) {
        self.add(0x61, to, from, offset, 0);
    }

    pub(super) fn load2(&mut self, to: Register, from: Register, offset: i16) {
        self.add(0x69, to, from, offset, 0);
    }

    pub(super) fn load1(&mut self, to: Register, from: Register, offset: i16) {
        self.add(0x71, to, from, offset, 0);
    }

    pub(super) fn multiply(&mut self, to: Register, value: i32) {
        self.add(0x27, to, 0, 0, value);
    }

    pub(super) fn and(&mut self, to: Register, value: i32) {
        self.add(0x57, to, 0, 0, value);
    }

    pub(super) fn and_register(&mut self, to: Register, from: Register) {
        self.add(0x5f, to, from, 0, 0);
    }

    pub(super) fn add_register(&mut self, to: Register, from: Register) {
        self.add(0x0f, to, from, 0, 0);
    }

    pub(super) fn store8(&mut self, offset: i16, from: Register) {
        self.add(0x7b, STACK, from, offset, 0);
    }

    pub(super) fn store4(&mut self, offset: i16, from: Register) {
        self.add(0x63, STACK, from, offset, 0);
    }

    pub(super) fn store4_value(&mut self, offset: i16, value: u32) {
        self.add(0x62, STACK, 0, offset, value.cast_signed());
    }

    /// Adds code that adds 1 to a number of 4 bytes on the stack.
    pub(super) fn increment(&mut self, offset: i16) {
        self.load4(R1, STACK, offset);
        self.add_value(R1, 1);
        self.store4(offset, R1);
    }

    pub(super) fn call(&mut self, function: i32) {
        self.add(0x85, 0, 0, 0, function);
    }

    pub(super) fn jump(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.add(0x05, 0, 0, 0, 0);
    }

    pub(super) fn jump_if(&mut self, register: Register, value: i32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.add(0x15, register, 0, 0, value);
    }

    pub(super) fn jump_unless(&mut self, register: Register, value: i32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.add(0x55, register, 0, 0, value);
    }

    pub(super) fn jump_if_equal(&mut self, one: Register, other: Register, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.add(0x1d, one, other, 0, 0);
    }

    pub(super) fn jump_unless_equal(&mut self, one: Register, other: Register, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.add(0x5d, one, other, 0, 0);
    }

    pub(super) fn label(&mut self, label: Label) {
        self.labels.push((label, self.code.len()));
    }

    pub(super) fn jump_if_not_below(&mut self, one: Register, other: Register, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.add(0x3d, one, other, 0, 0);
    }

    /// Adds a jump by which the kernel leaves a loop that takes too long (`may_goto`, Linux 6.9). Without this jump,
    /// the verifier refuses a loop whose end it cannot prove.
    pub(super) fn leave_long_loop(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.add(0xe5, 0, 0, 0, 0);
    }

    pub(super) fn shift_left(&mut self, to: Register, bits: i32) {
        self.add(0x67, to, 0, 0, bits);
    }

    pub(super) fn shift_right(&mut self, to: Register, bits: i32) {
        self.add(0x77, to, 0, 0, bits);
    }

    /// Adds code that copies `size` bytes from the address `base` + `at` to the stack at `offset`. If the bytes cannot
    /// be read, for example because the process has ended, the BPF program ends.
    ///
    /// A load with a known type (BTF) would be faster, but the verifier needs up to a millisecond to check it.
    pub(super) fn copy_to_stack(&mut self, offset: i16, size: i32, base: Register, at: i16) {
        self.copy_to_stack_or(offset, size, base, at, Label::End);
    }

    /// Like `copy_to_stack`, but the code jumps to `failed` if the bytes cannot be read.
    pub(super) fn copy_to_stack_or(
        &mut self,
        offset: i16,
        size: i32,
        base: Register,
        at: i16,
        failed: Label,
    ) {
        self.copy(R3, base);
        self.add_value(R3, at.into());
        self.copy(R1, STACK);
        self.add_value(R1, offset.into());
        self.set(R2, size);
        self.call(PROBE_READ);
        self.jump_unless(R0, 0, failed);
    }

    /// Adds code that loads the pointer at the address `base` + `at`.
    pub(super) fn follow(&mut self, to: Register, base: Register, at: i16) {
        self.follow_or(to, base, at, Label::End);
    }

    /// Like `follow`, but the code jumps to `failed` if the pointer cannot be read.
    pub(super) fn follow_or(&mut self, to: Register, base: Register, at: i16, failed: Label) {
        self.copy_to_stack_or(POINTER, 8, base, at, failed);
        self.load8(to, STACK, POINTER);
    }

    /// Adds code that replaces the context in R6 by the output. This is done once, because the verifier needs long for
    /// each load with a known type.
    pub(super) fn load_output(&mut self) {
        self.load8(R6, R6, 0);
        self.load8(R6, R6, 0);
    }

    /// Adds code that writes the record on the stack to the output, which is in R6.
    pub(super) fn write_record(&mut self, offset: i16, length: usize) {
        self.copy(R1, R6);
        self.copy(R2, STACK);
        self.add_value(R2, offset.into());
        self.set(R3, i32::try_from(length).unwrap_or_default());
        self.call(SEQ_WRITE);
    }

    /// Like `write_record`, but then ends the BPF program. Returns the whole program.
    pub(super) fn write(mut self, offset: i16, length: usize) -> Vec<u64> {
        self.write_record(offset, length);
        self.label(Label::End);
        self.set(R0, 0);
        self.add(0x95, 0, 0, 0, 0);
        for (at, label) in self.jumps {
            let to = self.labels.iter().find(|(own, _)| *own == label).map_or(at, |(_, to)| *to);
            // The distance counts from the next instruction. It is negative for the jump of a loop.
            let distance =
                to.checked_signed_diff(at + 1).and_then(|far| i16::try_from(far).ok()).unwrap_or(0);
            if let Some(jump) = self.code.get_mut(at) {
                *jump |= u64::from(distance.cast_unsigned()) << 16;
            }
        }
        self.code
    }
}
