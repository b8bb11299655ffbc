//! The BPF programs that the kernel calls for every task, or for every descriptor. The kernel checks that the programs
//! only read.

use std::os::fd::RawFd;

use super::assembler::{
    Assembler, CURRENT_TASK, Label, POINTER, R0, R1, R2, R3, R6, R7, R8, R9, SOCK_FROM_FILE, STACK,
};
use super::layout::{DescriptorTable, Layout};

/// `ANON_INODE_FS_MAGIC`, `NSFS_MAGIC` and `SOCKFS_MAGIC` (linux/magic.h).
const ANONYMOUS_FILES: i32 = 0x0904_1934;
const NAMESPACES: i32 = 0x6e73_6673;
const SOCKET_FILES: i32 = 0x534f_434b;
/// The first 8 bytes of the names of the anonymous files whose link must be read.
const WANTED_NAMES: [[u8; 8]; 2] = [*b"[io_urin", *b"bpf_link"];
/// A mask for the level of a pid namespace, which is below `MAX_PID_NS_LEVEL` (linux/pid_namespace.h). The mask proves
/// to the BPF verifier that the level has a limit.
const LEVELS: i32 = 31;
/// The size of `struct upid` (linux/pid.h): a number and a pointer.
const UPID: i32 = 16;

/// A record for a socket.
pub(super) const SOCKET: u32 = 1;
/// A record for another file whose link in `/proc` must be read.
pub(super) const OTHER: u32 = 2;

/// The size of a record of the file iterator: inode, process, thread, descriptor, kind.
pub(super) const FILE_RECORD: usize = 24;
/// The size of a record of the task iterator. Its fields are the process, the network namespace, whether the process
/// has an io_uring, the level, the result of the descriptor search, a descriptor and its inode. The inode is 0 unless
/// the descriptor is a socket. Each task has one record, and one more for each descriptor that was found.
pub(super) const TASK_RECORD: usize = 32;
/// The search of the task has ended.
pub(super) const FINISHED: u32 = 0;
/// A descriptor that the walk needs was found.
pub(super) const WANTED: u32 = 1;
/// Not every descriptor was searched, or a thread has its own table.
pub(super) const UNFINISHED: u32 = 2;

/// The lowest bits of an inode number are the index of its byte in a [`wanted`] array. This is the number of these bits.
const SLOT_BITS: i32 = 16;
/// The mask for the lowest [`SLOT_BITS`] bits. It also proves to the BPF verifier that no byte after the end of the array
/// is read.
const SLOT: i32 = 0xffff;
/// The value of a byte without a wanted inode.
const FREE: u8 = 0;
/// The value of a byte with several wanted inodes whose tags differ.
const SHARED: u8 = 1;
/// The first value of a tag. A tag is made from the bits of an inode above the lowest [`SLOT_BITS`] bits.
const FIRST_TAG: u8 = 2;
/// The mask for the bits of a tag.
const TAG: i32 = 0x7f;

impl Assembler {
    /// Adds a jump that is taken if the inode in R1 is not in the array of wanted inodes (see [`wanted`]).
    fn jump_unless_wanted(&mut self, array: RawFd, to: Label) {
        self.copy(R3, R1);
        self.and(R1, SLOT);
        self.set_array(R2, array);
        self.add_register(R2, R1);
        self.load1(R1, R2, 0);
        self.jump_if(R1, FREE.into(), to);
        self.jump_if(R1, SHARED.into(), Label::Wanted);
        self.shift_right(R3, SLOT_BITS);
        self.and(R3, TAG);
        self.add_value(R3, FIRST_TAG.into());
        self.jump_unless_equal(R1, R3, to);
        self.label(Label::Wanted);
    }

    /// Adds a jump that is taken if R1 contains the first 8 bytes of a wanted name.
    fn jump_if_name_is_wanted(&mut self, to: Label) {
        for name in WANTED_NAMES {
            self.set_bytes(R2, name);
            self.jump_if_equal(R1, R2, to);
        }
    }
}

/// Returns an array in which the BPF programs search an inode. The last bits of the inode select a byte, which contains
/// the tag of the wanted inode. A few unwanted sockets are reported too, because their inodes have the same last bits
/// and the same tag.
pub(super) fn wanted(inodes: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut slots = vec![FREE; 1 << SLOT_BITS];
    for inode in inodes {
        let tag = FIRST_TAG + u8::try_from(inode >> SLOT_BITS & u64::from(TAG.cast_unsigned())).unwrap_or(0);
        let slot = usize::try_from(inode & u64::from(SLOT.cast_unsigned())).ok();
        if let Some(slot) = slot.and_then(|slot| slots.get_mut(slot)) {
            *slot = if [FREE, tag].contains(slot) { tag } else { SHARED };
        }
    }
    slots
}

/// Returns the program for descriptors. It reports files whose link must be read, and the sockets in the array
/// `wanted`. Without an array, it reports all sockets. The reported pids belong to the pid namespace at this `level`.
pub(super) fn of_files(layout: &Layout, level: u32, wanted: Option<RawFd>) -> Vec<u64> {
    const INODE: i16 = -32;
    const PROCESS: i16 = -24;
    const THREAD: i16 = -20;
    const DESCRIPTOR: i16 = -16;
    const KIND: i16 = -12;
    let mut program = Assembler::default();
    program.copy(R6, R1);
    program.load8(R7, R6, 24); // the file
    program.jump_if(R7, 0, Label::End);
    program.load8(R8, R6, 8); // the task
    program.jump_if(R8, 0, Label::End);
    program.copy(R1, R7);
    program.call(SOCK_FROM_FILE);
    program.load8(R9, R7, layout.file_inode);
    program.jump_if(R0, 0, Label::NoSocket);
    program.store4_value(KIND, SOCKET);
    if let Some(array) = wanted {
        program.load8(R1, R9, layout.inode_number);
        program.jump_unless_wanted(array, Label::End);
    }
    program.jump(Label::Write);
    program.label(Label::NoSocket);
    // The superblock is read from the mount, not from the inode. Many files share a mount, so the mount is more often
    // in the processor's cache.
    program.load8(R1, R7, layout.file_mount);
    program.load8(R1, R1, layout.mount_superblock);
    program.load8(R1, R1, layout.superblock_magic);
    program.jump_if(R1, NAMESPACES, Label::Other);
    program.jump_unless(R1, ANONYMOUS_FILES, Label::End);
    program.follow(R1, R7, layout.file_dentry);
    program.follow(R1, R1, layout.dentry_name);
    program.follow(R1, R1, 0); // the first 8 bytes of the name
    program.jump_if_name_is_wanted(Label::Other);
    program.jump(Label::End);
    program.label(Label::Other);
    program.store4_value(KIND, OTHER);
    program.label(Label::Write);
    program.load8(R1, R9, layout.inode_number);
    program.store8(INODE, R1);
    program.load4(R1, R6, 16); // the descriptor
    program.store4(DESCRIPTOR, R1);
    program.load_output();
    let number = i32::from(layout.pid_numbers) + (level.cast_signed() & LEVELS) * UPID;
    let number = i16::try_from(number).unwrap_or_default();
    program.follow(R7, R8, layout.task_leader);
    program.follow(R7, R7, layout.task_pid);
    program.copy_to_stack(PROCESS, 4, R7, number);
    program.follow(R7, R8, layout.task_pid);
    program.copy_to_stack(THREAD, 4, R7, number);
    program.write(INODE, FILE_RECORD)
}

/// The offset on the stack of the needed part of a file's structure.
const FILE: i16 = POINTER - FILE_PART;
/// The maximum size of the needed part of a file's structure.
const FILE_PART: i16 = 128;

/// The record of a task on the stack.
const PROCESS: i16 = FILE - 32;
const NAMESPACE: i16 = PROCESS + 4;
const RING: i16 = PROCESS + 8;
const LEVEL: i16 = PROCESS + 12;
const RESULT: i16 = PROCESS + 16;
const FOUND: i16 = PROCESS + 20;
const FOUND_INODE: i16 = PROCESS + 24;

/// Returns the BPF program of the iterator over tasks. For each task, it reports the pid, the network namespace, and
/// whether the task has an io_uring. `wanted` is a layout and an array of inodes. If `wanted` is given, the program
/// also reports the descriptors that [`of_files`] would report with this array.
pub(super) fn of_tasks(layout: &Layout, wanted: Option<(&DescriptorTable, RawFd)>) -> Vec<u64> {
    let mut program = Assembler::default();
    program.copy(R6, R1);
    program.load8(R8, R6, 8); // the task
    program.jump_if(R8, 0, Label::End);
    program.load_output();
    program.store4_value(NAMESPACE, 0);
    program.store4_value(RING, 0);
    program.store4_value(RESULT, FINISHED);
    program.store4_value(FOUND, 0);
    program.set(R1, 0);
    program.store8(FOUND_INODE, R1);
    program.call(CURRENT_TASK);
    program.follow(R7, R0, layout.task_pid);
    program.copy_to_stack(LEVEL, 4, R7, layout.pid_level);
    program.follow(R7, R8, layout.task_leader);
    program.follow(R7, R7, layout.task_pid);
    program.load4(R9, STACK, LEVEL);
    program.and(R9, LEVELS);
    program.multiply(R9, UPID);
    program.add_register(R7, R9);
    program.copy_to_stack(PROCESS, 4, R7, layout.pid_numbers);
    program.follow(R7, R8, layout.task_namespaces);
    program.jump_if(R7, 0, Label::Write); // the process has ended
    program.follow(R7, R7, layout.namespaces_net);
    program.copy_to_stack(NAMESPACE, 4, R7, layout.net_inode);
    if let Some([rings, head]) = layout.task_rings {
        program.follow(R7, R8, rings);
        program.jump_if(R7, 0, Label::Descriptors);
        program.follow(R7, R7, head);
        program.jump_if(R7, 0, Label::Descriptors);
        program.store4_value(RING, 1);
    }
    program.label(Label::Descriptors);
    if let Some((table, array)) = wanted {
        search_descriptors(&mut program, layout, table, array);
    }
    program.label(Label::Write);
    program.write(PROCESS, TASK_RECORD)
}

/// Adds code that searches the task for descriptors that the walk needs. The kernel does not lock the files during the
/// search, so a result is only a hint. The link of each descriptor that is found must be read in `/proc`.
fn search_descriptors(program: &mut Assembler, layout: &Layout, table: &DescriptorTable, array: RawFd) {
    /// The number of entries of the table.
    const SIZE: i16 = PROCESS - 8;
    const TABLE: i16 = PROCESS - 16;
    /// The pointer to the file operations of sockets. It comes from the first socket that was found; before that, it is
    /// 0. Every file with the same pointer is a socket. So its mount, which is in another cache line, need not be read.
    const SOCKET_OPERATIONS: i16 = PROCESS - 24;
    /// The mount of the last file that the walk does not need, or 0.
    const OTHER_MOUNT: i16 = PROCESS - 32;
    let first = table.file_operations.min(layout.file_inode).min(layout.file_mount);
    let end = table.file_operations.max(layout.file_inode).max(layout.file_mount) + 8;
    if end - first > FILE_PART {
        return; // no task then has a wanted descriptor, not even portolan, so the answer is not used
    }
    let field = |offset: i16| FILE + offset - first;
    program.follow(R7, R8, table.task_files);
    program.jump_if(R7, 0, Label::Write);
    program.follow(R9, R8, layout.task_leader);
    program.jump_if_equal(R9, R8, Label::Other);
    // A thread usually shares the table of the first thread.
    program.follow(R9, R9, table.task_files);
    program.jump_if_equal(R9, R7, Label::Write);
    program.jump(Label::Unfinished);
    program.label(Label::Other);
    program.follow(R7, R7, table.files_table);
    program.copy_to_stack(SIZE, 4, R7, table.table_size);
    program.follow(R7, R7, table.table_files);
    program.store8(TABLE, R7);
    program.set(R7, 0);
    program.store8(SOCKET_OPERATIONS, R7);
    program.store8(OTHER_MOUNT, R7);
    program.label(Label::NextDescriptor);
    program.leave_long_loop(Label::Unfinished);
    program.load4(R1, STACK, SIZE);
    program.jump_if_not_below(R7, R1, Label::Write);
    program.load8(R9, STACK, TABLE);
    program.copy(R1, R7);
    program.shift_left(R1, 3);
    program.add_register(R9, R1);
    program.add_value(R7, 1);
    program.follow_or(R9, R9, 0, Label::Found);
    program.jump_if(R9, 0, Label::NextDescriptor);
    program.copy_to_stack_or(FILE, i32::from(end - first), R9, first, Label::Found);
    program.load8(R1, STACK, field(table.file_operations));
    program.load8(R2, STACK, SOCKET_OPERATIONS);
    program.jump_if_equal(R1, R2, Label::Socket);
    program.load8(R1, STACK, field(layout.file_mount));
    program.load8(R2, STACK, OTHER_MOUNT);
    program.jump_if_equal(R1, R2, Label::NextDescriptor);
    program.follow_or(R1, R1, layout.mount_superblock, Label::Found);
    program.follow_or(R1, R1, layout.superblock_magic, Label::Found);
    program.jump_if(R1, NAMESPACES, Label::Found);
    program.jump_if(R1, ANONYMOUS_FILES, Label::NoSocket);
    program.jump_if(R1, SOCKET_FILES, Label::FirstSocket);
    program.load8(R1, STACK, field(layout.file_mount));
    program.store8(OTHER_MOUNT, R1);
    program.jump(Label::NextDescriptor);
    program.label(Label::FirstSocket);
    program.load8(R1, STACK, field(table.file_operations));
    program.store8(SOCKET_OPERATIONS, R1);
    program.label(Label::Socket);
    program.load8(R1, STACK, field(layout.file_inode));
    program.follow_or(R1, R1, layout.inode_number, Label::Found);
    program.jump_unless_wanted(array, Label::NextDescriptor);
    program.load8(R1, STACK, POINTER); // the inode, which was followed last
    program.store8(FOUND_INODE, R1);
    program.jump(Label::Found);
    program.label(Label::NoSocket);
    program.follow_or(R1, R9, layout.file_dentry, Label::Found);
    program.follow_or(R1, R1, layout.dentry_name, Label::Found);
    program.follow_or(R1, R1, 0, Label::Found);
    program.jump_if_name_is_wanted(Label::Found);
    program.jump(Label::NextDescriptor);
    program.label(Label::Found);
    program.store4_value(RESULT, WANTED);
    program.add_value(R7, -1);
    program.store4(FOUND, R7);
    program.add_value(R7, 1);
    program.write_record(PROCESS, TASK_RECORD);
    // With the same values as before, the verifier need not check the loop again.
    program.store4_value(RESULT, FINISHED);
    program.store4_value(FOUND, 0);
    program.set(R1, 0);
    program.store8(FOUND_INODE, R1);
    program.jump(Label::NextDescriptor);
    program.label(Label::Unfinished);
    program.store4_value(RESULT, UNFINISHED);
}
