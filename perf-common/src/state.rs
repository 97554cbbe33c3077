//! What the kernel side keeps per connection, keyed by the socket's address. The user side reads it only for open bulk
//! messages (see [`flags::FOLDING`]) and writes it only to say that a connection is of no interest any more.

use crate::record::TAIL_BYTES;

/// Bits of [`ConnectionState::flags`].
pub mod flags {
    /// Of no interest: costs one lookup per segment from now on.
    pub const IGNORED: u32 = 1;
    /// An [`crate::record::OpenRecord`] was emitted.
    pub const OPENED: u32 = 1 << 1;
    /// The process received the request.
    pub const SERVER: u32 = 1 << 2;
    /// The process sent the request.
    pub const CLIENT: u32 = 1 << 3;
    /// Segments of the current message are being folded; the user side polls.
    pub const FOLDING: u32 = 1 << 4;
    /// Created by data that arrived; no process has touched it yet.
    pub const ARRIVED_ONLY: u32 = 1 << 5;
    /// The last segment was sent (else received): the current direction.
    pub const LAST_SENT: u32 = 1 << 6;
    /// A segment was seen, so `LAST_SENT` means something.
    pub const MOVED: u32 = 1 << 7;
    /// A Unix stream socket: positions are counts of bytes, since it has none.
    pub const UNIX: u32 = 1 << 8;
    /// Ignored because of the process in `tgid`: judged anew when another process uses the socket.
    pub const FILTERED: u32 = 1 << 9;
    /// The record of the last bytes received was lost. (A later one would show the gap.)
    pub const LOST_RECEIVED: u32 = 1 << 10;
    /// The record of the last bytes sent was lost.
    pub const LOST_SENT: u32 = 1 << 11;
    /// HTTP/2: of its bytes only frame headers and header blocks are captured, see [`super::FrameCursor`].
    pub const FRAMES: u32 = 1 << 12;
    /// A socket that carries TLS: its bytes say nothing, see [`SESSION`].
    pub const TLS: u32 = 1 << 13;
    /// No socket but the plaintext of a TLS session, as the process's library is given and gives it. Its key is made of
    /// the process and of where its object lies there; positions are counts of bytes.
    pub const SESSION: u32 = 1 << 14;
    /// Of a session: its handshake was seen.
    pub const HANDSHAKE: u32 = 1 << 15;
    /// Of a session: the lengths spoke against the socket that it was bound to. It is not bound by them again.
    pub const MISBOUND: u32 = 1 << 18;
    /// Of a socket that carries TLS: its process closed it.
    pub const CLOSED: u32 = 1 << 19;
    /// Of a socket that carries TLS: its session's object lies elsewhere after a move. Where, each call tells anew.
    pub const MOVABLE: u32 = 1 << 20;
    /// The kernel encrypts and decrypts: what the process moves is plaintext, and the socket's positions are not its.
    pub const KERNEL_TLS: u32 = 1 << 17;
    /// Messages are taken whole, in both directions, see [`crate::sniff::looks::MESSAGES`].
    pub const WHOLE: u32 = 1 << 21;
    /// A TCP socket that has sent its SYN and is not connected yet.
    pub const CONNECTING: u32 = 1 << 22;
    /// Of a session: it was bound to its socket by order and lengths alone.
    pub const INFERRED: u32 = 1 << 16;
}

/// What a [`FrameCursor`] is in.
pub mod part {
    /// Bytes that are not captured: the payload of most frames.
    pub const SKIPPED: u32 = 0;
    /// A frame's header.
    pub const HEADER: u32 = 1;
    /// Bytes that are captured: header blocks.
    pub const COPIED: u32 = 2;
    /// It is not known where the next frame begins.
    pub const LOST: u32 = 3;
}

/// Streams whose runs of frames can be kept at once, a power of two.
pub const RUNS: usize = 16;

/// How far the frames of one direction of an HTTP/2 connection are known (RFC 9113, 4.1). By twice the connection's
/// id, and 1 more for what is sent.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameCursor {
    /// See [`ConnectionState::connection`].
    pub connection: u64,
    /// Of the segment at hand, see [`crate::record::DataRecord::arrival_ns`].
    pub arrival_ns: u64,
    /// When something was told last.
    pub told_ns: u64,
    /// When the last bytes of a run had moved.
    pub run_ns: u64,
    /// Position of the next byte.
    pub expected: u32,
    /// Position up to which it was told of.
    pub told: u32,
    /// One of [`part`].
    pub part: u32,
    /// Bytes that are left of that part.
    pub left: u32,
    /// Bytes that are skipped behind it.
    pub after: u32,
    /// The end of what is skipped is to be told of at once.
    pub loud: u32,
    /// Of the segment at hand, bits of [`crate::record::flag`].
    pub flags: u32,
    /// See [`ConnectionState::ring`].
    pub ring: u32,
    /// The header of the frame, as far as it came.
    pub header: [u8; 32],
    /// Of the segment at hand: where its next byte lies in the process's memory, 0 if that is not known.
    pub from: u64,
    /// Bytes that lie there in one piece.
    pub there: u32,
    /// Index of the next piece of its vector.
    pub index: u32,
    /// Bytes of it that were walked over.
    pub walked: u32,
    /// Bytes at its beginning that were walked over as part of an older one.
    pub again: u32,
    /// Bytes of its record's payload.
    pub out: u32,
    /// Where in that payload the last piece stands.
    pub piece_at: u32,
    /// Position behind that piece.
    pub piece_end: u32,
    /// Process and thread that moved it.
    pub tgid: u32,
    /// See `tgid`.
    pub tid: u32,
    /// Bytes of all runs: frames that were walked over and not told of yet, whole, headers included.
    pub run_bytes: u32,
    /// The run that the newest frame of them belongs to.
    pub run: u32,
    /// Explicit padding, 0.
    pub reserved: u32,
    /// The stream of each run; 0 is for frames that are of no stream, or say nothing of theirs.
    pub run_stream: [u32; RUNS],
    /// Its bytes; with 0 there is none.
    pub run_length: [u32; RUNS],
    /// Frames of that stream that were told of one by one.
    pub run_before: [u32; RUNS],
}
const _: () = assert!(size_of::<FrameCursor>() == 344);

/// One connection, as the kernel side knows it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionState {
    /// The connection's id, in every record of it.
    pub connection: u64,
    /// When the oldest unread byte became readable, 0 if nothing is unread or it is not known.
    pub arrival_ns: u64,
    /// When the newest unread byte became readable.
    pub last_arrival_ns: u64,
    /// Time of the last folded segment.
    pub folded_ns: u64,
    /// Bits of [`flags`].
    pub flags: u32,
    /// Bytes of the current message that may still be copied.
    pub budget: u32,
    /// Light records of the current message so far; folding begins at a limit.
    pub continuations: u32,
    /// Turns of direction seen without anything known; at a limit the connection is ignored.
    pub misses: u16,
    /// The ring buffer of its records: of the processor that its process first used it on.
    pub ring: u16,
    /// Bytes folded since the last report.
    pub folded_bytes: u32,
    /// Position behind the last folded segment.
    pub folded_position: u32,
    /// Bytes received, modulo 2^32, where the socket has no position.
    pub received: u32,
    /// Bytes sent, likewise.
    pub sent: u32,
    /// Process that used it last, once an open record was emitted; for a filtered connection, the process that it was
    /// judged by.
    pub tgid: u32,
    /// Thread of the last folded segment.
    pub tid: u32,
    /// Low half of the socket's inode number: tells a new socket at an old address, where no hook tells of the end.
    pub inode: u32,
    /// Index of the next message in a `sendmmsg` or `recvmmsg` vector.
    pub vector_next: u32,
    /// Address of that vector.
    pub vector: u64,
    /// Last bytes of the last folded segment.
    pub folded_tail: [u8; TAIL_BYTES],
    /// Of a socket that carries TLS, the key of its session's state; of a session, of its socket's. 0 while not known.
    pub link: u64,
    /// Of a socket that carries TLS: when what was read since the session's last call became readable.
    pub held_arrival_ns: u64,
    /// Likewise: when ciphertext was moved last, in the direction of [`flags::LAST_SENT`], since that call.
    pub moved_ns: u64,
    /// Of a session with [`flags::INFERRED`]: its socket's position behind what was received before the session's first
    /// plaintext.
    pub received_before: u32,
    /// Likewise of what was sent.
    pub sent_before: u32,
    /// Of a TCP socket: when its [`crate::record::NetworkRecord`] was told last; while it connects, when that began.
    pub network_ns: u64,
    /// How long it took to connect, microseconds; 0 if that was not seen.
    pub connect_us: u32,
    /// Explicit padding, 0.
    pub reserved: u32,
}

/// Bytes of a state, as the map holds it.
pub const STATE_BYTES: usize = size_of::<ConnectionState>();
const _: () = assert!(STATE_BYTES == 144);

/// What the user side reads of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateView {
    /// See [`ConnectionState::connection`].
    pub connection: u64,
    /// See [`ConnectionState::folded_ns`].
    pub folded_ns: u64,
    /// See [`ConnectionState::flags`].
    pub flags: u32,
    /// See [`ConnectionState::folded_bytes`].
    pub folded_bytes: u32,
    /// See [`ConnectionState::folded_position`].
    pub folded_position: u32,
    /// See [`ConnectionState::tgid`].
    pub tgid: u32,
    /// See [`ConnectionState::tid`].
    pub tid: u32,
    /// See [`ConnectionState::inode`].
    pub inode: u32,
    /// See [`ConnectionState::folded_tail`].
    pub folded_tail: [u8; TAIL_BYTES],
    /// See [`ConnectionState::link`].
    pub link: u64,
}

/// Where `flags` lies in a state's bytes.
pub const FLAGS_OFFSET: usize = core::mem::offset_of!(ConnectionState, flags);

/// Reads a state from the bytes of its map value.
pub fn view(bytes: &[u8; STATE_BYTES]) -> StateView {
    use core::mem::offset_of;
    fn at<const N: usize>(bytes: &[u8; STATE_BYTES], offset: usize) -> [u8; N] {
        let mut value = [0; N];
        value.copy_from_slice(&bytes[offset..offset + N]);
        value
    }
    StateView {
        connection: u64::from_le_bytes(at(bytes, offset_of!(ConnectionState, connection))),
        folded_ns: u64::from_le_bytes(at(bytes, offset_of!(ConnectionState, folded_ns))),
        flags: u32::from_le_bytes(at(bytes, FLAGS_OFFSET)),
        folded_bytes: u32::from_le_bytes(at(bytes, offset_of!(ConnectionState, folded_bytes))),
        folded_position: u32::from_le_bytes(at(bytes, offset_of!(ConnectionState, folded_position))),
        tgid: u32::from_le_bytes(at(bytes, offset_of!(ConnectionState, tgid))),
        tid: u32::from_le_bytes(at(bytes, offset_of!(ConnectionState, tid))),
        inode: u32::from_le_bytes(at(bytes, offset_of!(ConnectionState, inode))),
        folded_tail: at(bytes, offset_of!(ConnectionState, folded_tail)),
        link: u64::from_le_bytes(at(bytes, offset_of!(ConnectionState, link))),
    }
}
