//! Links for static probes that stand behind a counter (a semaphore): the program looks at it, and passes the probe by
//! unless somebody raised it. The kernel raises it in every process that maps the file, as long as there is a link that
//! names it. The loader's own links cannot name one, so this system call is made here.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya::programs::UProbe;

/// `BPF_LINK_CREATE` of `enum bpf_cmd`.
const LINK_CREATE: libc::c_int = 28;
/// `BPF_TRACE_UPROBE_MULTI` of `enum bpf_attach_type`.
const TRACE_UPROBE_MULTI: u32 = 48;

/// The part of `union bpf_attr` that makes a link of many uprobes (include/uapi/linux/bpf.h), since Linux 6.6.
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    counters: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    pid: u32,
    reserved: u32,
}
const _: () = assert!(size_of::<LinkCreate>() == 64);

/// Hangs a program that is loaded for many places on these places of a file, each with the place of its counter (0 for
/// none), and tells it this number at each. Detached when the descriptor is closed.
///
/// # Errors
/// If the kernel refuses one of them; then the program hangs on none.
pub(crate) fn hang_counted(program: &UProbe, file: &Path, places: &[(u64, u64)], told: u64) -> io::Result<OwnedFd> {
    let descriptor = program.fd().map_err(io::Error::other)?.as_fd().as_raw_fd();
    let path = CString::new(file.as_os_str().as_bytes())?;
    let (offsets, counters): (Vec<u64>, Vec<u64>) = places.iter().copied().unzip();
    let cookies = vec![told; places.len()];
    let attributes = LinkCreate {
        program: u32::try_from(descriptor).map_err(io::Error::other)?,
        target: 0,
        attach_type: TRACE_UPROBE_MULTI,
        flags: 0,
        path: path.as_ptr() as u64,
        offsets: offsets.as_ptr() as u64,
        counters: counters.as_ptr() as u64,
        cookies: cookies.as_ptr() as u64,
        count: u32::try_from(places.len()).map_err(io::Error::other)?,
        multi_flags: 0,
        pid: 0,
        reserved: 0,
    };
    let size = size_of::<LinkCreate>();
    // SAFETY: the structure is laid out as the kernel's, and lives through the call, as do the path, which ends with a NUL,
    // and the three arrays of `count` numbers that it points to. The kernel only reads them.
    let made = unsafe { libc::syscall(libc::SYS_bpf, LINK_CREATE, &raw const attributes, size) };
    let made = i32::try_from(made).map_err(io::Error::other)?;
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made by the kernel, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}
