//! The commands of the text protocol, meta commands among them, and lines of a client:
//! <https://github.com/memcached/memcached/blob/master/doc/protocol.txt>.

/// How a command is answered, as far as it matters for pairing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By the items that there are, and `END`.
    Get,
    /// Likewise; the first argument is no key.
    GetAndTouch,
    /// A data block follows the line. One line.
    Store,
    /// By the new number.
    Arithmetic,
    Delete,
    Touch,
    /// By lines until one that ends them.
    Lines,
    /// By one line, and then all that happens.
    Watch,
    /// Not at all.
    Silent,
    /// By one line.
    Plain,
    MetaGet,
    /// A data block follows the line.
    MetaSet,
    MetaDelete,
    MetaArithmetic,
    MetaDebug,
    /// By `MN`, or by the binary protocol's no-op, and never by silence: behind it everything before it is answered.
    Barrier,
    /// By a message of the same opcode.
    Binary,
    /// By messages of the same opcode, the last of them empty.
    BinaryStat,
}

/// One command.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) name: &'static str,
    /// What it is called when it asks to be answered only if there is something to say; empty if it cannot.
    pub(super) quiet: &'static str,
    pub(super) kind: Kind,
    /// Its last argument may be `noreply`.
    mutes: bool,
    /// It wants keys that are there.
    pub(super) looks_up: bool,
}

const fn command(name: &'static str, kind: Kind) -> Command {
    Command {
        name,
        quiet: "",
        kind,
        mutes: false,
        looks_up: matches!(
            kind,
            Kind::Get | Kind::GetAndTouch | Kind::Arithmetic | Kind::Touch | Kind::MetaGet | Kind::MetaArithmetic
        ),
    }
}

const fn mutes(name: &'static str, kind: Kind) -> Command {
    Command {
        mutes: true,
        ..command(name, kind)
    }
}

const fn meta(name: &'static str, quiet: &'static str, kind: Kind) -> Command {
    Command {
        quiet,
        ..command(name, kind)
    }
}

/// In the order of the names.
#[rustfmt::skip]
static COMMANDS: &[Command] = &[
    mutes("add", Kind::Store),
    mutes("append", Kind::Store),
    mutes("cache_memlimit", Kind::Plain),
    mutes("cas", Kind::Store),
    mutes("decr", Kind::Arithmetic),
    mutes("delete", Kind::Delete),
    command("extstore", Kind::Plain),
    mutes("flush_all", Kind::Plain),
    command("gat", Kind::GetAndTouch),
    command("gats", Kind::GetAndTouch),
    command("get", Kind::Get),
    command("gets", Kind::Get),
    mutes("incr", Kind::Arithmetic),
    command("lru", Kind::Plain),
    command("lru_crawler", Kind::Lines),
    meta("ma", "ma q", Kind::MetaArithmetic),
    meta("md", "md q", Kind::MetaDelete),
    command("me", Kind::MetaDebug),
    meta("mg", "mg q", Kind::MetaGet),
    command("mn", Kind::Barrier),
    meta("ms", "ms q", Kind::MetaSet),
    mutes("prepend", Kind::Store),
    command("quit", Kind::Silent),
    command("refresh_certs", Kind::Plain),
    mutes("replace", Kind::Store),
    mutes("set", Kind::Store),
    command("shutdown", Kind::Plain),
    command("slabs", Kind::Plain),
    command("stats", Kind::Lines),
    mutes("touch", Kind::Touch),
    mutes("verbosity", Kind::Plain),
    command("version", Kind::Plain),
    command("watch", Kind::Watch),
];

/// Whatever it is, the server answers with a line.
static OTHER: Command = command(crate::exchange::UNKNOWN, Kind::Plain);

impl Command {
    /// One of the binary protocol.
    pub(super) const fn binary(name: &'static str, kind: Kind, looks_up: bool) -> Self {
        Self {
            looks_up,
            ..command(name, kind)
        }
    }

    /// The command of this name.
    pub(super) fn of(name: &[u8]) -> &'static Self {
        Self::known(name).unwrap_or(&OTHER)
    }

    /// The same, if it is known.
    pub(super) fn known(name: &[u8]) -> Option<&'static Self> {
        let place = COMMANDS.binary_search_by(|command| command.name.as_bytes().cmp(name));
        Some(&COMMANDS[place.ok()?])
    }

    /// Does a command's name begin like this?
    pub(super) fn begins(name: &[u8]) -> bool {
        COMMANDS.iter().any(|command| command.name.as_bytes().starts_with(name))
    }

    /// Is it one of meta, which have flags?
    pub(super) fn is_meta(&self) -> bool {
        matches!(
            self.kind,
            Kind::MetaGet | Kind::MetaSet | Kind::MetaDelete | Kind::MetaArithmetic
        )
    }

    pub(super) fn is_get(&self) -> bool {
        matches!(self.kind, Kind::Get | Kind::GetAndTouch)
    }
}

/// Longest key; what a server says to a longer one, and whether it takes the data block behind it, depends on its
/// version.
pub(super) const MAX_KEY: usize = 250;

/// What a client's line says. None of its words is in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) command: &'static Command,
    /// It asks for no answer.
    pub(super) mute: bool,
    /// It asks for an answer only if there is something to say.
    pub(super) quiet: bool,
    /// A word is longer than a key may be.
    pub(super) too_long: bool,
    /// Stands for the opaque token that the answer repeats; 0 if there is none.
    pub(super) opaque: u32,
    /// Stands for the key, if the answer repeats it.
    pub(super) key: u32,
}

/// The words of a line.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

impl Line {
    pub(super) fn of(line: &[u8]) -> Self {
        let mut words = words(line);
        let mut said = Self {
            command: Command::of(words.next().unwrap_or_default()),
            mute: false,
            quiet: false,
            too_long: false,
            opaque: 0,
            key: 0,
        };
        if said.command.is_get() {
            // Its keys are counted elsewhere, since there may be any number of them.
            return said;
        }
        if said.command.is_meta() {
            let key = words.next().unwrap_or_default();
            said.too_long = key.len() > MAX_KEY;
            let mut returns_key = false;
            for flag in words {
                match flag[0] {
                    b'q' => said.quiet = true,
                    b'k' => returns_key = true,
                    b'O' => said.opaque = stands_for(&flag[1..]),
                    _ => {}
                }
            }
            if returns_key {
                said.key = stands_for(key);
            }
            return said;
        }
        let mut last: &[u8] = &[];
        for word in words {
            said.too_long |= word.len() > MAX_KEY;
            last = word;
        }
        // A line that is no command of its kind is answered, by an error.
        let is_one = said.command.kind != Kind::Store || data_bytes(line) > 0;
        said.mute = said.command.mutes && is_one && last == b"noreply";
        said
    }
}

/// Bytes of the data block behind this line, its end included; 0 if there is none. A server takes none behind a line that
/// it does not understand.
pub(super) fn data_bytes(line: &[u8]) -> u64 {
    let mut words = words(line);
    let command = Command::of(words.next().unwrap_or_default());
    let bytes = match command.kind {
        Kind::Store => {
            let arguments = if command.name == "cas" { 5 } else { 4 };
            let count = words.clone().take(8).count();
            let last = words.clone().last();
            let understood = count == arguments || (count == arguments + 1 && last == Some(b"noreply"));
            words.nth(3).filter(|_| understood)
        }
        Kind::MetaSet => words.nth(1),
        _ => None,
    };
    bytes
        .and_then(number)
        .filter(|&bytes| bytes < MAX_DATA)
        .map_or(0, |bytes| bytes + 2)
}

const MAX_DATA: u64 = 1 << 31;

/// A word that is a number.
pub(super) fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 19 {
        return None;
    }
    word.iter().try_fold(0u64, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')))
    })
}

/// A number that stands for these bytes, so that they need not be kept (FNV-1a); never 0.
pub(super) fn stands_for(bytes: &[u8]) -> u32 {
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    hash.max(1)
}

/// Is this a client's line, and no other protocol's? Some of those have commands of the same names (beanstalkd's `delete`,
/// `stats` and `quit`), and HTTP's methods may be in small letters.
pub(super) fn is_request(line: &[u8]) -> bool {
    let is_key = |word: &[u8]| word.len() <= MAX_KEY && !word.is_empty() && word.iter().all(|byte| *byte > b' ');
    let is_number = |word: &[u8]| number(word.strip_prefix(b"-").unwrap_or(word)).is_some();
    if !line.ends_with(b"\r\n") {
        return false;
    }
    let mut words = words(line);
    let Some(command) = words.next().and_then(Command::known) else {
        return false;
    };
    let mut arguments = [&[][..]; 6];
    let mut count = 0;
    for (place, word) in arguments.iter_mut().zip(words.clone()) {
        *place = word;
        count += 1;
    }
    let [first, second, third, fourth, ..] = arguments;
    let with_key = is_key(first);
    match command.kind {
        // Not `get /path`, nor `get /path HTTP/1.1`.
        Kind::Get => with_key && first[0] != b'/' && words.all(is_key),
        Kind::GetAndTouch => is_number(first) && count >= 2 && words.all(is_key),
        Kind::Store => with_key && is_number(second) && is_number(third) && is_number(fourth),
        Kind::Arithmetic | Kind::MetaSet => with_key && is_number(second),
        Kind::Touch => with_key && count >= 2 && is_number(second),
        Kind::Delete => with_key && !is_number(first) && (count == 1 || count == 2 && second == b"noreply"),
        Kind::MetaGet | Kind::MetaDelete | Kind::MetaArithmetic => {
            with_key && words.skip(1).all(|flag| flag[0].is_ascii_alphabetic())
        }
        Kind::MetaDebug => with_key && count <= 2,
        Kind::Barrier => count == 0,
        _ => match command.name {
            "version" => count == 0,
            "flush_all" | "verbosity" => count == 0 || is_number(first) || first == b"noreply",
            "cache_memlimit" => is_number(first),
            "lru_crawler" => with_key,
            "stats" => count == 1 && matches!(first, b"settings" | b"items" | b"slabs" | b"sizes" | b"conns"),
            "watch" => matches!(first, b"fetchers" | b"mutations" | b"evictions"),
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        assert!(COMMANDS.is_sorted_by(|one, other| one.name < other.name));
    }

    #[test]
    fn a_data_block_follows_only_a_line_that_a_server_understands() {
        for (line, bytes) in [
            (&b"set k 0 0 3\r\n"[..], 5),
            (b"set k 0 0 3 noreply\r\n", 5),
            (b"cas k 0 0 0 77\r\n", 2),
            (b"cas k 0 0 3\r\n", 0),
            (b"set k 0 0 -1\r\n", 0),
            (b"set k 0 0 3 4 5\r\n", 0),
            (b"set k 0 0 99999999999999\r\n", 0),
            (b"ms k 2 q\r\n", 4),
            (b"ms k S2\r\n", 0),
            (b"get k\r\n", 0),
            (b"\r\n", 0),
        ] {
            assert_eq!(data_bytes(line), bytes, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn what_other_protocols_say_is_no_request() {
        for line in [
            &b"get a b\r\n"[..],
            b"gats 0 k\r\n",
            b"set k 0 0 1\r\n",
            b"delete key\r\n",
            b"incr k 1 noreply\r\n",
            b"mg k v q O1\r\n",
            b"ms k 5 T0\r\n",
            b"mn\r\n",
            b"version\r\n",
            b"stats items\r\n",
        ] {
            assert!(is_request(line), "{}", line.escape_ascii());
        }
        for line in [
            &b"get /x\r\n"[..],
            b"get / HTTP/1.1\r\n",
            b"get /x HTTP/1.0\r\n",
            b"GET x\r\n",
            b"EHLO host\r\n",
            b"ehlo host\r\n",
            b"user x\r\n",
            b"stat\r\n",
            b"quit\r\n",
            b"noop\r\n",
            b"set k v\r\n",
            b"delete 17\r\n",
            b"touch 17\r\n",
            b"stats\r\n",
            b"watch tube\r\n",
            b"get k\n",
            b"get \r\n",
            b"the quick brown fox\r\n",
            b"\r\n",
        ] {
            assert!(!is_request(line), "{}", line.escape_ascii());
        }
    }
}
