//! The BPF object changes nothing: it only calls functions of the kernel that look, and only hangs where one looks.
//!
//! Both are lists of what is allowed, so that a helper or program type that nobody thought of fails too.

use object::{Object as _, ObjectSection as _, SectionFlags};
use perf_agent_tests::need;

/// Helpers that may be called: numbers of `enum bpf_func_id` in `<linux/bpf.h>`.
const ALLOWED: &[(i32, &str)] = &[
    (1, "map_lookup_elem"),
    (2, "map_update_elem"),
    (3, "map_delete_elem"),
    (4, "probe_read"),
    (5, "ktime_get_ns"),
    (8, "get_smp_processor_id"),
    (12, "tail_call"),
    (14, "get_current_pid_tgid"),
    (15, "get_current_uid_gid"),
    (16, "get_current_comm"),
    (35, "get_current_task"),
    (37, "current_task_under_cgroup"),
    (45, "probe_read_str"),
    (46, "get_socket_cookie"),
    (80, "get_current_cgroup_id"),
    (112, "probe_read_user"),
    (113, "probe_read_kernel"),
    (114, "probe_read_user_str"),
    (115, "probe_read_kernel_str"),
    (118, "jiffies64"),
    (120, "get_ns_current_pid_tgid"),
    (122, "get_netns_cookie"),
    (123, "get_current_ancestor_cgroup_id"),
    (125, "ktime_get_boot_ns"),
    (130, "ringbuf_output"),
    (131, "ringbuf_reserve"),
    (132, "ringbuf_submit"),
    (133, "ringbuf_discard"),
    (134, "ringbuf_query"),
    // The casts of a socket to its own type.
    (136, "skc_to_tcp6_sock"),
    (137, "skc_to_tcp_sock"),
    (178, "skc_to_unix_sock"),
    (158, "get_current_task_btf"),
    (160, "ktime_get_coarse_ns"),
    (164, "for_each_map_elem"),
    (173, "get_func_ip"),
    (174, "get_attach_cookie"),
    (175, "task_pt_regs"),
    (181, "loop"),
    (183, "get_func_arg"),
    (184, "get_func_ret"),
    (185, "get_func_arg_cnt"),
    (195, "map_lookup_percpu_elem"),
];

/// Names for the ones that would be worst, so that the failure speaks for itself.
const FORBIDDEN: &[(i32, &str)] = &[
    (9, "skb_store_bytes"),
    (23, "redirect"),
    (36, "probe_write_user"),
    (49, "setsockopt"),
    (51, "redirect_map"),
    (52, "sk_redirect_map"),
    (53, "sock_map_update"),
    (58, "override_return"),
    (60, "msg_redirect_map"),
    (70, "sock_hash_update"),
    (71, "msg_redirect_hash"),
    (72, "sk_redirect_hash"),
    (90, "msg_push_data"),
    (91, "msg_pop_data"),
    (109, "send_signal"),
    (117, "send_signal_thread"),
    (166, "sys_bpf"),
];

/// Where programs may hang: beginnings of section names. `fmod_ret`, `lsm`, `xdp`, `tc`, `sockops`, `sk_msg`, `sk_skb`,
/// `struct_ops` and the like can change what happens, so they are not here.
const SECTIONS: &[&str] = &[
    "tp_btf",
    "raw_tp",
    "raw_tracepoint",
    "tp/",
    "tracepoint",
    "kprobe",
    "kretprobe",
    "fentry",
    "fexit",
    "uprobe",
    "uretprobe",
    "iter/",
];

/// Bytes of an instruction; `BPF_LD | BPF_DW | BPF_IMM` takes two.
const INSTRUCTION: usize = 8;
const LOAD_64: u8 = 0x18;
const CALL: u8 = 0x85;

/// What an instruction calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// A helper of the kernel, by number.
    Helper(i32),
    /// A function in the same object.
    Own,
    /// A function of the kernel, by its type information (kfunc), or something newer.
    Other(u8),
}

/// The calls in a program's bytes.
fn calls(code: &[u8]) -> Vec<Call> {
    let mut calls = vec![];
    let mut instructions = code.chunks_exact(INSTRUCTION);
    while let Some(instruction) = instructions.next() {
        match instruction[0] {
            LOAD_64 => {
                instructions.next();
            }
            CALL => {
                let number = i32::from_le_bytes([instruction[4], instruction[5], instruction[6], instruction[7]]);
                // The upper half of the second byte says what kind of call: `BPF_PSEUDO_CALL` is 1.
                calls.push(match instruction[1] >> 4 {
                    0 => Call::Helper(number),
                    1 => Call::Own,
                    kind => Call::Other(kind),
                });
            }
            _ => {}
        }
    }
    calls
}

/// What is wrong with a section of programs.
fn complaints(section: &str, code: &[u8]) -> Vec<String> {
    let mut wrong = vec![];
    let is_program = section != ".text";
    if is_program && !SECTIONS.iter().any(|allowed| section.starts_with(allowed)) {
        wrong.push(format!("{section}: not a kind of program that only looks"));
    }
    for call in calls(code) {
        match call {
            Call::Own => {}
            Call::Helper(number) if ALLOWED.iter().any(|(allowed, _)| *allowed == number) => {}
            Call::Helper(number) => {
                let name = FORBIDDEN.iter().find(|(forbidden, _)| *forbidden == number);
                let name = name.map_or("not known to be harmless", |(_, name)| name);
                wrong.push(format!("{section}: calls helper {number} ({name})"));
            }
            Call::Other(kind) => wrong.push(format!("{section}: a call of kind {kind}, to a function of the kernel")),
        }
    }
    wrong
}

#[test]
fn the_object_only_looks() {
    need!(BpfObject);
    let path = perf_agent_tests::need::bpf_object().expect("it was asked for");
    let bytes = std::fs::read(&path).expect("the object can be read");
    let object = object::File::parse(&*bytes).expect("the object is an ELF file");
    let mut wrong = vec![];
    let (mut programs, mut helpers) = (0, 0);
    for section in object.sections() {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
            continue;
        };
        let code = section.data().expect("a section has its bytes");
        if sh_flags & u64::from(object::elf::SHF_EXECINSTR) == 0 || code.is_empty() {
            continue;
        }
        let name = section.name().expect("a section has a name");
        programs += usize::from(name != ".text");
        helpers += calls(code)
            .iter()
            .filter(|call| matches!(call, Call::Helper(_)))
            .count();
        wrong.extend(complaints(name, code));
    }
    wrong.dedup();
    assert!(programs > 0 && helpers > 0, "no programs found: this looked at nothing");
    assert!(wrong.is_empty(), "{}:\n{}", path.display(), wrong.join("\n"));
}

#[test]
fn what_writes_is_found() {
    // call 36; a 64-bit load whose second half looks like a call; call 14; call to an own function; a kfunc.
    let code = [
        [CALL, 0, 0, 0, 36, 0, 0, 0],
        [LOAD_64, 0, 0, 0, 0, 0, 0, 0],
        [CALL, 0, 0, 0, 109, 0, 0, 0],
        [CALL, 0, 0, 0, 14, 0, 0, 0],
        [CALL, 0x10, 0, 0, 255, 255, 255, 255],
        [CALL, 0x20, 0, 0, 7, 0, 0, 0],
    ]
    .concat();
    let expected = [
        "fentry/f: calls helper 36 (probe_write_user)",
        "fentry/f: a call of kind 2, to a function of the kernel",
    ];
    assert_eq!(complaints("fentry/f", &code), expected);
    assert_eq!(complaints("xdp", &[]), ["xdp: not a kind of program that only looks"]);
    assert_eq!(complaints(".text", &[]), [] as [&str; 0]);
}
