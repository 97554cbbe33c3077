//! What the commands are: <https://redis.io/docs/latest/commands/>, as far as it matters for pairing them with answers, and for
//! telling one operation from another. A command that is not here is one of a module, and taken as a plain one.

use crate::protocol::words::Words;

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is answered once.
    Plain,
    /// It is answered for each channel, and from the first answer on a stream.
    Subscribe,
    /// It is answered for each channel.
    Unsubscribe,
    /// It is answered once; then the server tells of all commands.
    Monitor,
    /// It is answered once; then comes a copy of the data, and all changes.
    Replicate,
    /// CLIENT REPLY, which may switch answers off.
    Reply,
}

/// Which keys a command asks for, where its answer tells which of them there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// The answer does not tell.
    None,
    /// One: a value or nil.
    One,
    /// All arguments: values and nils, or how many there are.
    All,
    /// All arguments but the first: fields of one hash.
    Fields,
}

/// One command of the table.
#[derive(Debug)]
struct Entry {
    name: &'static str,
    kind: Kind,
    keys: Keys,
    /// The next argument is a part of its name.
    has_subcommand: bool,
    /// It waits for something to happen.
    blocks: bool,
    /// It does if one of its first arguments is BLOCK.
    may_block: bool,
}

const fn plain(name: &'static str) -> Entry {
    Entry {
        name,
        kind: Kind::Plain,
        keys: Keys::None,
        has_subcommand: false,
        blocks: false,
        may_block: false,
    }
}

const fn keys(name: &'static str, keys: Keys) -> Entry {
    Entry { keys, ..plain(name) }
}

const fn kind(name: &'static str, kind: Kind) -> Entry {
    Entry { kind, ..plain(name) }
}

const fn container(name: &'static str) -> Entry {
    Entry {
        has_subcommand: true,
        ..plain(name)
    }
}

const fn blocking(name: &'static str) -> Entry {
    Entry {
        blocks: true,
        ..plain(name)
    }
}

const fn may_block(name: &'static str) -> Entry {
    Entry {
        may_block: true,
        ..plain(name)
    }
}

/// In the order of the names.
#[rustfmt::skip]
static COMMANDS: &[Entry] = &[
    container("ACL"),
    plain("APPEND"),
    plain("ASKING"),
    plain("AUTH"),
    plain("BGREWRITEAOF"),
    plain("BGSAVE"),
    plain("BITCOUNT"),
    plain("BITFIELD"),
    plain("BITFIELD_RO"),
    plain("BITOP"),
    plain("BITPOS"),
    blocking("BLMOVE"),
    blocking("BLMPOP"),
    blocking("BLPOP"),
    blocking("BRPOP"),
    blocking("BRPOPLPUSH"),
    blocking("BZMPOP"),
    blocking("BZPOPMAX"),
    blocking("BZPOPMIN"),
    container("CLIENT"),
    container("CLUSTER"),
    container("COMMAND"),
    container("CONFIG"),
    plain("COPY"),
    plain("DBSIZE"),
    container("DEBUG"),
    plain("DECR"),
    plain("DECRBY"),
    plain("DEL"),
    plain("DISCARD"),
    plain("DUMP"),
    plain("ECHO"),
    plain("EVAL"),
    plain("EVALSHA"),
    plain("EVALSHA_RO"),
    plain("EVAL_RO"),
    plain("EXEC"),
    keys("EXISTS", Keys::All),
    plain("EXPIRE"),
    plain("EXPIREAT"),
    plain("EXPIRETIME"),
    plain("FAILOVER"),
    plain("FCALL"),
    plain("FCALL_RO"),
    plain("FLUSHALL"),
    plain("FLUSHDB"),
    container("FUNCTION"),
    plain("GEOADD"),
    plain("GEODIST"),
    plain("GEOHASH"),
    plain("GEOPOS"),
    plain("GEORADIUS"),
    plain("GEORADIUSBYMEMBER"),
    plain("GEORADIUSBYMEMBER_RO"),
    plain("GEORADIUS_RO"),
    plain("GEOSEARCH"),
    plain("GEOSEARCHSTORE"),
    keys("GET", Keys::One),
    plain("GETBIT"),
    keys("GETDEL", Keys::One),
    keys("GETEX", Keys::One),
    plain("GETRANGE"),
    plain("GETSET"),
    plain("HDEL"),
    plain("HELLO"),
    keys("HEXISTS", Keys::One),
    plain("HEXPIRE"),
    plain("HEXPIREAT"),
    plain("HEXPIRETIME"),
    keys("HGET", Keys::One),
    keys("HGETALL", Keys::One),
    plain("HGETDEL"),
    plain("HGETEX"),
    plain("HINCRBY"),
    plain("HINCRBYFLOAT"),
    plain("HKEYS"),
    plain("HLEN"),
    keys("HMGET", Keys::Fields),
    plain("HMSET"),
    plain("HPERSIST"),
    plain("HPEXPIRE"),
    plain("HPEXPIREAT"),
    plain("HPTTL"),
    plain("HRANDFIELD"),
    plain("HSCAN"),
    plain("HSET"),
    plain("HSETEX"),
    plain("HSETNX"),
    plain("HSTRLEN"),
    plain("HTTL"),
    plain("HVALS"),
    plain("INCR"),
    plain("INCRBY"),
    plain("INCRBYFLOAT"),
    plain("INFO"),
    keys("JSON.GET", Keys::One),
    plain("KEYS"),
    plain("LASTSAVE"),
    container("LATENCY"),
    plain("LCS"),
    plain("LINDEX"),
    plain("LINSERT"),
    plain("LLEN"),
    plain("LMOVE"),
    plain("LMPOP"),
    plain("LOLWUT"),
    plain("LPOP"),
    plain("LPOS"),
    plain("LPUSH"),
    plain("LPUSHX"),
    plain("LRANGE"),
    plain("LREM"),
    plain("LSET"),
    plain("LTRIM"),
    container("MEMORY"),
    keys("MGET", Keys::All),
    plain("MIGRATE"),
    container("MODULE"),
    kind("MONITOR", Kind::Monitor),
    plain("MOVE"),
    plain("MSET"),
    plain("MSETNX"),
    plain("MULTI"),
    container("OBJECT"),
    plain("PERSIST"),
    plain("PEXPIRE"),
    plain("PEXPIREAT"),
    plain("PEXPIRETIME"),
    plain("PFADD"),
    plain("PFCOUNT"),
    plain("PFDEBUG"),
    plain("PFMERGE"),
    plain("PFSELFTEST"),
    plain("PING"),
    plain("PSETEX"),
    kind("PSUBSCRIBE", Kind::Subscribe),
    kind("PSYNC", Kind::Replicate),
    plain("PTTL"),
    plain("PUBLISH"),
    container("PUBSUB"),
    kind("PUNSUBSCRIBE", Kind::Unsubscribe),
    plain("QUIT"),
    plain("RANDOMKEY"),
    plain("READONLY"),
    plain("READWRITE"),
    plain("RENAME"),
    plain("RENAMENX"),
    plain("REPLCONF"),
    plain("REPLICAOF"),
    plain("RESET"),
    plain("RESTORE"),
    plain("RESTORE-ASKING"),
    plain("ROLE"),
    plain("RPOP"),
    plain("RPOPLPUSH"),
    plain("RPUSH"),
    plain("RPUSHX"),
    plain("SADD"),
    plain("SAVE"),
    plain("SCAN"),
    plain("SCARD"),
    container("SCRIPT"),
    plain("SDIFF"),
    plain("SDIFFSTORE"),
    plain("SELECT"),
    plain("SET"),
    plain("SETBIT"),
    plain("SETEX"),
    plain("SETNX"),
    plain("SETRANGE"),
    plain("SHUTDOWN"),
    plain("SINTER"),
    plain("SINTERCARD"),
    plain("SINTERSTORE"),
    plain("SISMEMBER"),
    plain("SLAVEOF"),
    container("SLOWLOG"),
    plain("SMEMBERS"),
    plain("SMISMEMBER"),
    plain("SMOVE"),
    plain("SORT"),
    plain("SORT_RO"),
    plain("SPOP"),
    plain("SPUBLISH"),
    plain("SRANDMEMBER"),
    plain("SREM"),
    plain("SSCAN"),
    kind("SSUBSCRIBE", Kind::Subscribe),
    plain("STRLEN"),
    kind("SUBSCRIBE", Kind::Subscribe),
    plain("SUBSTR"),
    plain("SUNION"),
    plain("SUNIONSTORE"),
    kind("SUNSUBSCRIBE", Kind::Unsubscribe),
    plain("SWAPDB"),
    kind("SYNC", Kind::Replicate),
    plain("TIME"),
    keys("TOUCH", Keys::All),
    plain("TTL"),
    plain("TYPE"),
    plain("UNLINK"),
    kind("UNSUBSCRIBE", Kind::Unsubscribe),
    plain("UNWATCH"),
    blocking("WAIT"),
    blocking("WAITAOF"),
    plain("WATCH"),
    plain("XACK"),
    plain("XADD"),
    plain("XAUTOCLAIM"),
    plain("XCLAIM"),
    plain("XDEL"),
    container("XGROUP"),
    container("XINFO"),
    plain("XLEN"),
    plain("XPENDING"),
    plain("XRANGE"),
    may_block("XREAD"),
    may_block("XREADGROUP"),
    plain("XREVRANGE"),
    plain("XSETID"),
    plain("XTRIM"),
    plain("ZADD"),
    plain("ZCARD"),
    plain("ZCOUNT"),
    plain("ZDIFF"),
    plain("ZDIFFSTORE"),
    plain("ZINCRBY"),
    plain("ZINTER"),
    plain("ZINTERCARD"),
    plain("ZINTERSTORE"),
    plain("ZLEXCOUNT"),
    plain("ZMPOP"),
    plain("ZMSCORE"),
    plain("ZPOPMAX"),
    plain("ZPOPMIN"),
    plain("ZRANDMEMBER"),
    plain("ZRANGE"),
    plain("ZRANGEBYLEX"),
    plain("ZRANGEBYSCORE"),
    plain("ZRANGESTORE"),
    plain("ZRANK"),
    plain("ZREM"),
    plain("ZREMRANGEBYLEX"),
    plain("ZREMRANGEBYRANK"),
    plain("ZREMRANGEBYSCORE"),
    plain("ZREVRANGE"),
    plain("ZREVRANGEBYLEX"),
    plain("ZREVRANGEBYSCORE"),
    plain("ZREVRANK"),
    plain("ZSCAN"),
    keys("ZSCORE", Keys::One),
    plain("ZUNION"),
    plain("ZUNIONSTORE"),
];

/// In order.
#[rustfmt::skip]
static SUBCOMMANDS: &[&str] = &[
    "ADDSLOTS", "ADDSLOTSRANGE", "BUMPEPOCH", "CACHING", "CAT", "CHANNELS", "CONSUMERS", "COUNT",
    "COUNT-FAILURE-REPORTS", "COUNTKEYSINSLOT", "CREATE", "CREATECONSUMER", "DEBUG", "DELCONSUMER", "DELETE",
    "DELSLOTS", "DELSLOTSRANGE", "DELUSER", "DESTROY", "DOCS", "DOCTOR", "DRYRUN", "DUMP", "ENCODING", "EXISTS",
    "FAILOVER", "FLUSH", "FLUSHSLOTS", "FORGET", "FREQ", "GENPASS", "GET", "GETKEYS", "GETKEYSANDFLAGS",
    "GETKEYSINSLOT", "GETNAME", "GETREDIR", "GETUSER", "GRAPH", "GROUPS", "HELP", "HISTOGRAM", "HISTORY", "ID",
    "IDLETIME", "INFO", "KEYSLOT", "KILL", "LATEST", "LEN", "LINKS", "LIST", "LOAD", "LOADEX", "LOG",
    "MALLOC-STATS", "MEET", "MYID", "MYSHARDID", "NO-EVICT", "NO-TOUCH", "NODES", "NUMPAT", "NUMSUB", "OBJECT",
    "PAUSE", "PURGE", "REFCOUNT", "REPLICAS", "REPLICATE", "REPLY", "RESET", "RESETSTAT", "RESTORE", "REWRITE",
    "SAVE", "SAVECONFIG", "SET", "SET-CONFIG-EPOCH", "SETID", "SETINFO", "SETNAME", "SETSLOT", "SETUSER",
    "SHARDCHANNELS", "SHARDNUMSUB", "SHARDS", "SLAVES", "SLEEP", "SLOTS", "STATS", "STREAM", "TRACKING",
    "TRACKINGINFO", "UNBLOCK", "UNLOAD", "UNPAUSE", "USAGE", "USERS", "WHOAMI",
];

static OTHER: Entry = plain("");

/// A command, as far as its arguments were read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command {
    entry: &'static Entry,
    /// The name of one that is not in the table, in capitals.
    name: [u8; Self::MAX_NAME],
    name_bytes: u8,
    subcommand: &'static str,
    blocks: bool,
}

impl Default for Command {
    fn default() -> Self {
        Self {
            entry: &OTHER,
            name: [0; Self::MAX_NAME],
            name_bytes: 0,
            subcommand: "",
            blocks: false,
        }
    }
}

/// Places of [`COMMANDS`].
static BY_NAME: Words<u16, 512> = {
    let mut words = Words::new();
    let mut place = 0;
    while place < COMMANDS.len() {
        #[expect(clippy::cast_possible_truncation, reason = "there are some hundred commands")]
        words.add(COMMANDS[place].name.as_bytes(), place as u16);
        place += 1;
    }
    words
};

impl Command {
    /// Longest name of a command or subcommand.
    pub(super) const MAX_NAME: usize = 24;
    /// Longest operation.
    pub(super) const MAX_OPERATION: usize = 64;

    /// The command of this name; `None` if it is not in the table.
    #[inline]
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        let entry = |place: u16| {
            let entry = &COMMANDS[usize::from(place)];
            (entry.name, entry)
        };
        let entry = BY_NAME.find(name, entry)?;
        Some(Self {
            entry,
            ..Self::default()
        })
    }

    /// A command of this name, whether it is in the table or not.
    pub(super) fn named(name: &[u8]) -> Self {
        Self::of(name).unwrap_or_else(|| {
            let mut command = Self::default();
            if Self::is_name(name) {
                command.name[..name.len()].copy_from_slice(name);
                command.name.make_ascii_uppercase();
                command.name_bytes = u8::try_from(name.len()).unwrap_or(0);
            }
            command
        })
    }

    /// Could a command be called like this?
    pub(super) fn is_name(name: &[u8]) -> bool {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        name.len() <= Self::MAX_NAME && name.iter().all(is_part)
    }

    /// Is its next argument, which begins like this, a part of its name, as far as can be told?
    pub(super) fn is_part(&self, word: &[u8]) -> bool {
        let begins = |name: &&str| {
            let begin = name.as_bytes().get(..word.len());
            begin.is_some_and(|begin| begin.eq_ignore_ascii_case(word))
        };
        self.entry.has_subcommand && SUBCOMMANDS.iter().any(begins)
    }

    /// With its next argument, which is a part of its name if it is a subcommand.
    pub(super) fn with(self, word: &[u8]) -> Self {
        let known = |name: &&&str| name.as_bytes().eq_ignore_ascii_case(word);
        let subcommand = match SUBCOMMANDS.iter().find(known) {
            Some(name) if self.entry.has_subcommand => name,
            _ => "",
        };
        Self { subcommand, ..self }
    }

    /// It was asked to wait.
    pub(super) fn blocks(self) -> Self {
        Self { blocks: true, ..self }
    }

    pub(super) fn kind(&self) -> Kind {
        if self.subcommand == "REPLY" {
            Kind::Reply
        } else {
            self.entry.kind
        }
    }

    pub(super) fn keys(&self) -> Keys {
        self.entry.keys
    }

    pub(super) fn has_subcommand(&self) -> bool {
        self.entry.has_subcommand
    }

    pub(super) fn may_block(&self) -> bool {
        self.entry.may_block
    }

    /// What it is called; written to `room` where it is more than one word.
    pub(super) fn operation<'a>(&'a self, room: &'a mut [u8; Self::MAX_OPERATION]) -> &'a str {
        let name = match str::from_utf8(&self.name[..usize::from(self.name_bytes)]) {
            _ if !self.entry.name.is_empty() => self.entry.name,
            Ok(name) if !name.is_empty() => name,
            _ => crate::exchange::UNKNOWN,
        };
        let suffix = if self.blocks { BLOCK } else { self.subcommand };
        if suffix.is_empty() {
            return name;
        }
        let bytes = name.bytes().chain([b' ']).chain(suffix.bytes());
        let mut length = 0;
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = from;
            length += 1;
        }
        str::from_utf8(&room[..length]).unwrap_or(name)
    }
}

const BLOCK: &str = "BLOCK";

/// Does a command of this name wait for something to happen? Then its time says nothing of the server.
pub(crate) fn is_blocking(operation: &str) -> bool {
    operation.ends_with(" BLOCK")
        || COMMANDS
            .binary_search_by(|entry| entry.name.cmp(operation))
            .is_ok_and(|place| COMMANDS[place].blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_in_order() {
        assert!(COMMANDS.is_sorted_by(|one, other| one.name < other.name));
        assert!(SUBCOMMANDS.is_sorted());
    }

    #[track_caller]
    fn check(words: &[&str], operation: &str) {
        let mut command = Command::named(words[0].as_bytes());
        for word in &words[1..] {
            command = command.with(word.as_bytes());
        }
        assert_eq!(command.operation(&mut [0; Command::MAX_OPERATION]), operation);
    }

    #[test]
    fn a_command_is_called_by_its_name_and_subcommand_and_never_by_an_argument() {
        check(&["get"], "GET");
        check(&["config", "get"], "CONFIG GET");
        check(&["CLIENT", "SetInfo"], "CLIENT SETINFO");
        check(&["config", "secret"], "CONFIG");
        check(&["get", "set"], "GET");
        check(&["ft.search"], "FT.SEARCH");
        check(&["no command"], "(unknown)");
    }

    #[test]
    fn commands_that_wait_are_told_apart() {
        for waits in ["BLPOP", "XREAD BLOCK", "WAIT"] {
            assert!(is_blocking(waits), "{waits}");
        }
        assert!(!is_blocking("XREAD") && !is_blocking("GET") && !is_blocking(""));
    }
}
