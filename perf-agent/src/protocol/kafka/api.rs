//! What can be asked of a broker, <https://kafka.apache.org/protocol.html#protocol_api_keys>.

/// Numbers of those that more is done about.
pub(super) const PRODUCE: i16 = 0;
pub(super) const FETCH: i16 = 1;
pub(super) const SASL_HANDSHAKE: i16 = 17;
pub(super) const API_VERSIONS: i16 = 18;

/// Numbers beyond are no API; those up to it which have no name here may be one day.
const MAX_KEY: i16 = 127;
/// No API has so many versions.
const MAX_VERSION: i16 = 31;

/// Where an answer holds its error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errors {
    /// It is not known.
    Untold,
    /// At its beginning, behind the time of throttling from this version on.
    Top {
        throttled_from: i16,
    },
    /// Elsewhere, each in a way of its own.
    Produce,
    Fetch,
    ListOffsets,
    Metadata,
    OffsetCommit,
    OffsetFetch,
    FindCoordinator,
    CreateTopics,
    DeleteTopics,
    AddPartitionsToTxn,
    TxnOffsetCommit,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) name: &'static str,
    /// The first version of which the layout is flexible. Of `ApiVersions` it is never that for the answer's header, and its
    /// error comes before anything that could differ.
    flexible_from: i16,
    /// The newest version whose layout is known here.
    latest: i16,
    errors: Errors,
}

const NEVER: i16 = i16::MAX;
const FIRST: Errors = Errors::Top { throttled_from: NEVER };

const fn throttled(from: i16) -> Errors {
    Errors::Top { throttled_from: from }
}

const fn named(name: &'static str) -> Api {
    known(name, NEVER, -1, Errors::Untold)
}

const fn known(name: &'static str, flexible_from: i16, latest: i16, errors: Errors) -> Api {
    Api {
        name,
        flexible_from,
        latest,
        errors,
    }
}

/// In the order of their keys.
#[rustfmt::skip]
static APIS: &[Api] = &[
    known("Produce", 9, 13, Errors::Produce),
    known("Fetch", 12, 18, Errors::Fetch),
    known("ListOffsets", 6, 11, Errors::ListOffsets),
    known("Metadata", 9, 13, Errors::Metadata),
    named("LeaderAndIsr"),
    named("StopReplica"),
    named("UpdateMetadata"),
    named("ControlledShutdown"),
    known("OffsetCommit", 8, 10, Errors::OffsetCommit),
    known("OffsetFetch", 6, 10, Errors::OffsetFetch),
    known("FindCoordinator", 3, 6, Errors::FindCoordinator),
    known("JoinGroup", 6, 9, throttled(2)),
    known("Heartbeat", 4, 4, throttled(1)),
    known("LeaveGroup", 4, 5, throttled(1)),
    known("SyncGroup", 4, 5, throttled(1)),
    named("DescribeGroups"),
    known("ListGroups", 3, 5, throttled(1)),
    known("SaslHandshake", NEVER, 1, FIRST),
    known("ApiVersions", NEVER, 4, FIRST),
    known("CreateTopics", 5, 7, Errors::CreateTopics),
    known("DeleteTopics", 4, 6, Errors::DeleteTopics),
    named("DeleteRecords"),
    known("InitProducerId", 2, 6, throttled(0)),
    named("OffsetForLeaderEpoch"),
    known("AddPartitionsToTxn", 3, 5, Errors::AddPartitionsToTxn),
    known("AddOffsetsToTxn", 3, 4, throttled(0)),
    known("EndTxn", 3, 5, throttled(0)),
    named("WriteTxnMarkers"),
    known("TxnOffsetCommit", 3, 5, Errors::TxnOffsetCommit),
    named("DescribeAcls"),
    named("CreateAcls"),
    named("DeleteAcls"),
    named("DescribeConfigs"),
    named("AlterConfigs"),
    named("AlterReplicaLogDirs"),
    named("DescribeLogDirs"),
    known("SaslAuthenticate", 2, 2, FIRST),
    named("CreatePartitions"),
    named("CreateDelegationToken"),
    named("RenewDelegationToken"),
    named("ExpireDelegationToken"),
    named("DescribeDelegationToken"),
    named("DeleteGroups"),
    named("ElectLeaders"),
    named("IncrementalAlterConfigs"),
    named("AlterPartitionReassignments"),
    named("ListPartitionReassignments"),
    named("OffsetDelete"),
    named("DescribeClientQuotas"),
    named("AlterClientQuotas"),
    named("DescribeUserScramCredentials"),
    named("AlterUserScramCredentials"),
    named("Vote"),
    named("BeginQuorumEpoch"),
    named("EndQuorumEpoch"),
    named("DescribeQuorum"),
    named("AlterPartition"),
    named("UpdateFeatures"),
    named("Envelope"),
    named("FetchSnapshot"),
    known("DescribeCluster", 0, 2, throttled(0)),
    named("DescribeProducers"),
    named("BrokerRegistration"),
    named("BrokerHeartbeat"),
    named("UnregisterBroker"),
    named("DescribeTransactions"),
    named("ListTransactions"),
    named("AllocateProducerIds"),
    known("ConsumerGroupHeartbeat", 0, 1, throttled(0)),
    named("ConsumerGroupDescribe"),
    named("ControllerRegistration"),
    known("GetTelemetrySubscriptions", 0, 0, throttled(0)),
    known("PushTelemetry", 0, 0, throttled(0)),
    named("AssignReplicasToDirs"),
    named("ListConfigResources"),
    named("DescribeTopicPartitions"),
    named("ShareGroupHeartbeat"),
    named("ShareGroupDescribe"),
    named("ShareFetch"),
    named("ShareAcknowledge"),
    named("AddRaftVoter"),
    named("RemoveRaftVoter"),
    named("UpdateRaftVoter"),
    named("InitializeShareGroupState"),
    named("ReadShareGroupState"),
    named("WriteShareGroupState"),
    named("DeleteShareGroupState"),
    named("ReadShareGroupStateSummary"),
    named("StreamsGroupHeartbeat"),
    named("StreamsGroupDescribe"),
    named("DescribeShareGroupOffsets"),
    named("AlterShareGroupOffsets"),
    named("DeleteShareGroupOffsets"),
];

/// The API of this key, if it has a name.
pub(super) fn of(key: i16) -> Option<&'static Api> {
    APIS.get(usize::try_from(key).ok()?)
}

/// Could there be such a request?
pub(super) fn is_plausible(key: i16, version: i16) -> bool {
    (0..=MAX_KEY).contains(&key) && (0..=MAX_VERSION).contains(&version)
}

impl Api {
    /// Has this version compact lengths and tagged fields?
    pub(super) fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }

    /// Is this version's layout known?
    pub(super) fn knows(&self, version: i16) -> bool {
        version <= self.latest
    }

    /// Where an answer of this version holds its errors.
    pub(super) fn errors(&self, version: i16) -> Errors {
        if self.knows(version) {
            self.errors
        } else {
            Errors::Untold
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_names() {
        for (key, name) in [
            (PRODUCE, "Produce"),
            (FETCH, "Fetch"),
            (3, "Metadata"),
            (SASL_HANDSHAKE, "SaslHandshake"),
            (API_VERSIONS, "ApiVersions"),
            (36, "SaslAuthenticate"),
            (68, "ConsumerGroupHeartbeat"),
            (92, "DeleteShareGroupOffsets"),
        ] {
            assert_eq!(of(key).map(|api| api.name), Some(name));
        }
        assert!(of(93).is_none() && of(-1).is_none());
    }
}
