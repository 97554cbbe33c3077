//! What the user side tells the kernel side before it loads: read-only globals, so that the verifier knows their values
//! and drops what is switched off. Each is a symbol of the BPF object with the name in [`names`].

/// Symbol names of the globals.
pub mod names {
    /// `u32`: the agent's own process, never observed.
    pub const OWN_TGID: &str = "OWN_TGID";
    /// `u32`: bytes of a request message that may be copied.
    pub const REQUEST_BUDGET: &str = "REQUEST_BUDGET";
    /// `u32`: bytes of a response message that may be copied.
    pub const RESPONSE_BUDGET: &str = "RESPONSE_BUDGET";
    /// `u32`: bits of [`super::filter`]: which filters are in use.
    pub const FILTERS: &str = "FILTERS";
    /// `u32`: bits of [`super::feature`]: what this kernel has.
    pub const FEATURES: &str = "FEATURES";
    /// `[u32; CGROUP_LEVELS]`: depths in the control group tree at which filters are.
    pub const CGROUP_DEPTHS: &str = "CGROUP_DEPTHS";
    /// `u32`: the number of ring buffers, a power of two, less one.
    pub const RING_MASK: &str = "RING_MASK";
    /// `u32`: bytes in a ring buffer from which the reader is woken.
    pub const WAKE_BYTES: &str = "WAKE_BYTES";
    /// `[u32; offset::COUNT]`: where fields lie in this kernel's structs, see [`super::offset`].
    pub const OFFSETS: &str = "OFFSETS";
}

/// Most bytes of one segment that are copied, and so the largest useful budget.
pub const MAX_CAPTURE_BYTES: u32 = 16_320;
/// Pieces of an iovec array that are walked. A message in more pieces shows its first ones only.
pub const MAX_PIECES: u64 = 24;
/// Control group filters may name groups at this many different depths.
pub const CGROUP_LEVELS: usize = 4;
/// Bytes of an executable's name in an executable filter.
pub const EXE_NAME_BYTES: usize = 64;

/// Of a question about a process's TLS: one of its connections has gone on for a while, and no call of a probed library
/// belongs to it.
pub const UNSERVED: u64 = 1 << 32;

/// Of such a question: the process runs a program that was not seen before, and speaks no TLS yet.
pub const EXECUTED: u64 = 1 << 33;

/// Of such a question: one of its connections was closed before it had gone on for long, and no call of a probed library
/// belonged to it. The handshake may have failed, or nobody sees what it carried.
pub const PERHAPS_UNSERVED: u64 = 1 << 34;

/// Bits of the `FILTERS` global. Values of one kind add up, kinds narrow each other, excludes win.
pub mod filter {
    /// Only processes marked [`super::mark::PID_INCLUDED`].
    pub const PID_INCLUDE: u32 = 1;
    /// Not processes marked [`super::mark::PID_EXCLUDED`].
    pub const PID_EXCLUDE: u32 = 1 << 1;
    /// Only processes marked [`super::mark::EXE_INCLUDED`].
    pub const EXE_INCLUDE: u32 = 1 << 2;
    /// Not processes marked [`super::mark::EXE_EXCLUDED`].
    pub const EXE_EXCLUDE: u32 = 1 << 3;
    /// Only connections with an included port at either end.
    pub const PORT_INCLUDE: u32 = 1 << 4;
    /// Not connections with an excluded port at either end.
    pub const PORT_EXCLUDE: u32 = 1 << 5;
    /// Only processes in an included control group or below it.
    pub const CGROUP_INCLUDE: u32 = 1 << 6;
    /// Not processes in an excluded control group or below it.
    pub const CGROUP_EXCLUDE: u32 = 1 << 7;
}

/// Marks of a process in the process table, of a port and of a control group in theirs.
pub mod mark {
    /// Named by `--pid`, or descends from one that is.
    pub const PID_INCLUDED: u32 = 1;
    /// Named by `--exclude-pid`, or descends from one that is.
    pub const PID_EXCLUDED: u32 = 1 << 1;
    /// Runs a program named by `--exe`.
    pub const EXE_INCLUDED: u32 = 1 << 2;
    /// Runs a program named by `--exclude-exe`.
    pub const EXE_EXCLUDED: u32 = 1 << 3;
    /// A process record told who it is: its end is reported.
    pub const KNOWN: u32 = 1 << 4;
    /// A port or control group that is included.
    pub const INCLUDED: u32 = 1 << 5;
    /// A port or control group that is excluded.
    pub const EXCLUDED: u32 = 1 << 6;
    /// Its TLS library is probed.
    pub const TLS_COVERED: u32 = 1 << 7;
    /// It was asked about since, because a connection of it is not.
    pub const TLS_DOUBTED: u32 = 1 << 8;
    /// It runs goroutines: what runs on a thread is found below the end of its thread-local storage.
    pub const GOROUTINES: u32 = 1 << 9;
    /// It runs coroutines: a map has where on a thread to find which one.
    pub const COROUTINES: u32 = 1 << 10;
    /// Its loop sends what coroutines wrote before: a map has for which one it sends just now.
    pub const SENDS_LATER: u32 = 1 << 11;
    /// The marks that speak of the program, and not of the process: another one has to earn them itself.
    pub const OF_PROGRAM: u32 = TLS_COVERED | TLS_DOUBTED | GOROUTINES | COROUTINES | SENDS_LATER;
    /// The marks that a child takes over from its parent. What it runs is judged anew at `execve`.
    pub const INHERITED: u32 = PID_INCLUDED | PID_EXCLUDED | EXE_INCLUDED | EXE_EXCLUDED | TLS_COVERED;
}

/// Bits of the `FEATURES` global.
pub mod feature {
    /// `bpf_get_current_task_btf` (5.11) and `bpf_task_pt_regs` (5.15); without them the registers' place is computed.
    pub const TASK_PT_REGS: u32 = 1;
    /// A hook tells when a Unix socket ends; without one its inode number is compared at every segment.
    pub const UNIX_RELEASE: u32 = 1 << 1;
    /// `bpf_skc_to_tcp_sock` in tracing programs (5.10): TCP fields by typed loads instead of probe reads.
    pub const TYPED_TCP: u32 = 1 << 2;
    /// TLS is looked into: who speaks it, and what new programs could.
    pub const TLS: u32 = 1 << 3;
    /// Hooks see what a process moves, also where the kernel encrypts it.
    pub const PLAINTEXT: u32 = 1 << 4;
    /// No kernel has it: what is asked for it stays in the program, and never runs.
    pub const NONE: u32 = 1 << 31;
}

/// Index of each field's byte offset in the `OFFSETS` global. [`FIELDS`](offset::FIELDS) names them in the words of the
/// kernel's BTF.
pub mod offset {
    macro_rules! fields {
        ($($name:ident = $index:literal, $structure:literal, $path:literal;)*) => {
            $(
                #[doc = concat!("`", $structure, ".", $path, "`")]
                pub const $name: usize = $index;
            )*
            /// Structure and path of every field, in the order of the indices.
            pub const FIELDS: [(&str, &str); COUNT] = [$(($structure, $path),)*];
        };
    }
    /// Number of fields.
    pub const COUNT: usize = 67;
    fields! {
        SK_FAMILY = 0, "sock", "__sk_common.skc_family";
        SK_STATE = 1, "sock", "__sk_common.skc_state";
        SK_LOCAL_PORT = 2, "sock", "__sk_common.skc_num";
        SK_REMOTE_PORT = 3, "sock", "__sk_common.skc_dport";
        SK_LOCAL_V4 = 4, "sock", "__sk_common.skc_rcv_saddr";
        SK_REMOTE_V4 = 5, "sock", "__sk_common.skc_daddr";
        SK_LOCAL_V6 = 6, "sock", "__sk_common.skc_v6_rcv_saddr";
        SK_REMOTE_V6 = 7, "sock", "__sk_common.skc_v6_daddr";
        SK_TYPE = 8, "sock", "sk_type";
        SK_PROTOCOL = 9, "sock", "sk_protocol";
        SK_SOCKET = 10, "sock", "sk_socket";
        SK_ERR = 11, "sock", "sk_err";
        SK_QUEUED = 12, "sock", "sk_receive_queue.qlen";
        SOCKET_FILE = 13, "socket", "file";
        FILE_INODE = 14, "file", "f_inode";
        INODE_NUMBER = 15, "inode", "i_ino";
        TCP_WRITE_SEQ = 16, "tcp_sock", "write_seq";
        TCP_COPIED_SEQ = 17, "tcp_sock", "copied_seq";
        TCP_RCV_NXT = 18, "tcp_sock", "rcv_nxt";
        TCP_SND_UNA = 19, "tcp_sock", "snd_una";
        TCP_BYTES_RECEIVED = 20, "tcp_sock", "bytes_received";
        UNIX_ADDRESS = 21, "unix_sock", "addr";
        UNIX_PEER = 22, "unix_sock", "peer";
        UNIX_ADDRESS_LENGTH = 23, "unix_address", "len";
        UNIX_ADDRESS_NAME = 24, "unix_address", "name";
        TASK_FLAGS = 25, "task_struct", "flags";
        TASK_STACK = 26, "task_struct", "stack";
        TASK_IO_URING = 27, "task_struct", "io_uring";
        TASK_TGID = 28, "task_struct", "tgid";
        TASK_FILES = 29, "task_struct", "files";
        FILES_TABLE = 30, "files_struct", "fdt";
        TABLE_FILES = 31, "fdtable", "fd";
        FILE_PRIVATE = 32, "file", "private_data";
        BINPRM_FILE = 33, "linux_binprm", "file";
        FILE_DENTRY = 34, "file", "f_path.dentry";
        DENTRY_NAME = 35, "dentry", "d_name.name";
        SOCKET_SK = 36, "socket", "sk";
        READ_STATE_SOCKET = 37, "unix_stream_read_state", "socket";
        READ_STATE_FLAGS = 38, "unix_stream_read_state", "flags";
        SKB_LENGTH = 39, "sk_buff", "len";
        SKB_DATA_LENGTH = 40, "sk_buff", "data_len";
        SKB_DATA = 41, "sk_buff", "data";
        SKB_CONTROL = 42, "sk_buff", "cb";
        UNIX_CONSUMED = 43, "unix_skb_parms", "consumed";
        TASK_PID = 44, "task_struct", "pid";
        TASK_MEMORY = 45, "task_struct", "mm";
        MEMORY_EXE = 46, "mm_struct", "exe_file";
        FILE_MOUNT = 47, "file", "f_path.mnt";
        DENTRY_PARENT = 48, "dentry", "d_parent";
        MOUNT_ROOT = 49, "vfsmount", "mnt_root";
        MOUNT_SELF = 50, "mount", "mnt";
        MOUNT_PARENT = 51, "mount", "mnt_parent";
        MOUNT_POINT = 52, "mount", "mnt_mountpoint";
        TASK_CGROUPS = 53, "task_struct", "cgroups";
        CGROUPS_DEFAULT = 54, "css_set", "dfl_cgrp";
        CGROUPS_PIDS = 55, "css_set", "subsys[pids_cgrp_id]";
        SUBSYSTEM_CGROUP = 56, "cgroup_subsys_state", "cgroup";
        CGROUP_NODE = 57, "cgroup", "kn";
        NODE_NAME = 58, "kernfs_node", "name";
        NODE_PARENT = 59, "kernfs_node", "parent";
        TASK_SIGNAL = 60, "task_struct", "signal";
        SIGNAL_LIVE = 61, "signal_struct", "live.counter";
        TASK_FSBASE = 62, "task_struct", "thread.fsbase";
        TCP_ULP = 63, "tcp_sock", "inet_conn.icsk_ulp_ops";
        TCP_SRTT = 64, "tcp_sock", "srtt_us";
        TCP_MDEV = 65, "tcp_sock", "mdev_us";
        TCP_RETRANSMITS = 66, "tcp_sock", "total_retrans";
    }
    /// Says that this kernel's BTF has no such field.
    pub const ABSENT: u32 = u32::MAX;

    #[cfg(test)]
    mod tests {
        #[test]
        fn every_field_stands_at_its_index() {
            assert_eq!(super::FIELDS[super::SK_ERR], ("sock", "sk_err"));
            assert_eq!(super::FIELDS[super::TCP_WRITE_SEQ], ("tcp_sock", "write_seq"));
            assert_eq!(super::FIELDS[super::TASK_PID], ("task_struct", "pid"));
            assert_eq!(super::FIELDS[super::SIGNAL_LIVE], ("signal_struct", "live.counter"));
            assert_eq!(super::FIELDS[super::TASK_FSBASE], ("task_struct", "thread.fsbase"));
        }
    }
}
