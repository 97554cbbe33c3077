//! The table of endpoints, and how a request finds its own.
//!
//! A **scope** is a service in a role and, as a client, with one peer: what a connection's requests have in common. Below
//! it, method and route make the endpoint. Endpoints are numbered in the order in which they were seen; when a place in
//! the routes collapses, those that became one are merged, and the numbers change: [`Moved`].

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::sync::Arc;

use compact_str::CompactString;
use hashbrown::{DefaultHashBuilder, HashMap, HashSet, HashTable};

use super::cache::PathCache;
use super::codes::CodeNames;
use super::log::Named;
use super::remembered::RememberedEndpoint;
use super::text::{METHOD, PATH, first};
use crate::aggregate::stored::Interrupted;
use crate::aggregate::{Aggregate, Gaps};
use crate::endpoint::route::{BY_PATTERN, Template, Tree};
use crate::endpoint::{EndpointKey, Operation, Peer, RouteReason, Routes, UNSEEN};
use crate::exchange::{Protocol, Request, Role};
use crate::process::Services;
use crate::snapshot::{EndpointSnapshot, PeerSeen};

/// Scopes kept apart; the peers of what exceeds them are not told apart.
const SCOPES: usize = 4_096;
/// Peers of one service that are told apart by name; others are told apart by address.
const NAMES: usize = 128;
/// Requests below a place that collapses, from which on a value that has its share of them is kept.
const KEPT_FROM: u64 = 50;
/// That share: one part in so many.
const KEPT_SHARE: u64 = 20;
/// Endpoints of which it is remembered what they became.
const RENAMED: usize = 65_536;

/// A service, its role, and whether it spoke through TLS.
pub(super) type Side = (u32, Role, bool);

/// New number of each endpoint, by its old one.
pub(super) type Moved = Vec<u32>;

#[derive(Debug)]
struct Scope {
    service: u32,
    role: Role,
    tls: bool,
    peer: Option<Peer>,
    peer_seen: PeerSeen,
    tree: Tree,
    pool: Pool,
}

/// The connections of a scope.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pool {
    pub(super) open: u32,
    pub(super) in_use: u32,
    pub(super) max_in_use: u32,
    pub(super) opened: u64,
}

impl Pool {
    /// A connection has requests in flight now, or has none any more.
    pub(super) fn used(&mut self, is_used: bool) {
        if is_used {
            self.in_use += 1;
            self.max_in_use = self.max_in_use.max(self.in_use);
        } else {
            self.in_use = self.in_use.saturating_sub(1);
        }
    }
}

/// One endpoint. The aggregate comes first, at the beginning of a cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Endpoint {
    pub(super) aggregate: Aggregate,
    scope: u32,
    named: Named,
    reason: RouteReason,
    by_pattern: bool,
    /// Takes what exceeds the number of endpoints.
    other: bool,
    shared: Option<Arc<EndpointSnapshot>>,
}

/// The table.
#[derive(Debug)]
pub(super) struct Endpoints {
    all: Vec<Endpoint>,
    /// By scope, protocol, method and route.
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
    scopes: Vec<Scope>,
    scope_numbers: HashMap<(Side, Option<Peer>), u32>,
    /// Peers known by name, per service.
    names: HashMap<u32, usize>,
    cache: PathCache,
    /// Room for the path that the cache is asked with.
    room: String,
    routes: Routes,
    limit: usize,
    /// Endpoints that are not `(other)`.
    apart: usize,
    /// Endpoints that became another one: old and new id; at most [`RENAMED`].
    renamed: Arc<Vec<(u64, u64)>>,
    /// When no agent ran, and when this one began.
    gaps: Gaps,
    resumed_ns: u64,
}

impl Endpoints {
    pub(super) fn new(routes: Routes, limit: usize) -> Self {
        Self {
            all: Vec::new(),
            numbers: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            scopes: Vec::new(),
            scope_numbers: HashMap::new(),
            names: HashMap::new(),
            cache: PathCache::default(),
            room: String::new(),
            routes,
            limit: limit.max(1),
            apart: 0,
            renamed: Arc::default(),
            gaps: Gaps::default(),
            resumed_ns: 0,
        }
    }

    /// When no agent ran, and when this one began.
    pub(super) fn resume(&mut self, interrupted: &Interrupted) {
        self.gaps = interrupted.gaps.clone();
        self.resumed_ns = interrupted.resumed_ns;
    }

    /// Adds an endpoint that an earlier run had. False if there are too many of something.
    pub(super) fn restore(
        &mut self,
        remembered: &RememberedEndpoint,
        interrupted: &Interrupted,
        services: &mut Services,
    ) -> bool {
        let key = &remembered.key;
        let other = key.operation.is_other();
        if self.apart >= self.limit && !other {
            return false;
        }
        let Some(service) = services.restore(&key.service) else {
            return false;
        };
        let seen = remembered.peer_seen.clone();
        let scope = self.scope((service, key.role, key.tls), key.peer.clone(), seen);
        let operation = &key.operation;
        if self.scopes[scope as usize].peer != key.peer
            || self
                .known(scope, key.protocol, &operation.method, &operation.route)
                .is_some()
        {
            return false;
        }
        let number = number_of(self.all.len());
        let key = EndpointKey {
            service: Arc::clone(&services.get(service).key),
            ..key.clone()
        };
        let by_pattern = remembered.reason.parts.iter().any(|(_, why)| why == BY_PATTERN);
        self.all.push(Endpoint {
            scope,
            reason: remembered.reason.clone(),
            by_pattern,
            other,
            aggregate: Aggregate::restored(key.role, &remembered.slots, interrupted),
            shared: None,
            named: Named::new(key),
        });
        self.enter(number);
        self.apart += usize::from(!other);
        let endpoint = &self.all[number as usize];
        if endpoint.is_learnt(scope) {
            self.scopes[scope as usize].tree.restore(endpoint.route());
        }
        true
    }

    /// Endpoints that became another one: old and new id, oldest first.
    pub(super) fn renamed(&self) -> &Arc<Vec<(u64, u64)>> {
        &self.renamed
    }

    /// The scope of a service in a role with a peer.
    pub(super) fn scope(&mut self, side: Side, peer: Option<Peer>, seen: PeerSeen) -> u32 {
        let (service, role, tls) = side;
        let mut peer = peer;
        let known = |numbers: &HashMap<_, u32>, peer: &Option<Peer>| numbers.get(&(side, peer.clone())).copied();
        let mut number = known(&self.scope_numbers, &peer);
        if number.is_none() && matches!(peer, Some(Peer::Name { .. })) {
            let names = self.names.entry(service).or_default();
            if *names < NAMES {
                *names += 1;
            } else {
                peer = seen.address.map(Peer::Address);
                number = known(&self.scope_numbers, &peer);
            }
        }
        if number.is_none() && self.scopes.len() >= SCOPES {
            peer = None;
            number = known(&self.scope_numbers, &peer);
        }
        let number = number.unwrap_or_else(|| {
            let number = number_of(self.scopes.len());
            self.scope_numbers.insert((side, peer.clone()), number);
            self.scopes.push(Scope {
                service,
                role,
                tls,
                peer,
                peer_seen: PeerSeen::default(),
                tree: Tree::default(),
                pool: Pool::default(),
            });
            number
        });
        let scope = &mut self.scopes[number as usize];
        if scope.peer.is_some() && seen.address.is_some() {
            // What was asked before by name stays, where this connection's is not known.
            scope.peer_seen.address = seen.address;
            scope.peer_seen.name = seen.name.or(scope.peer_seen.name.take());
        }
        number
    }

    /// The connections of a scope.
    pub(super) fn pool(&mut self, scope: u32) -> Option<&mut Pool> {
        Some(&mut self.scopes.get_mut(scope as usize)?.pool)
    }

    /// The connections of every client scope whose peer is known.
    pub(super) fn pools(&self, services: &Services) -> Vec<crate::snapshot::Pool> {
        let pool = |scope: &Scope| {
            let pool = scope.pool;
            Some(crate::snapshot::Pool {
                service: Arc::clone(services.get(scope.service)),
                tls: scope.tls,
                peer: scope
                    .peer
                    .clone()
                    .filter(|_| scope.role == Role::Client && pool.opened > 0)?,
                open: pool.open,
                in_use: pool.in_use,
                max_in_use: pool.max_in_use,
                opened: pool.opened,
            })
        };
        self.scopes.iter().filter_map(pool).collect()
    }

    /// The endpoint of a request. `moved` is set if others were merged on the way.
    #[inline]
    pub(super) fn find(
        &mut self,
        scope: u32,
        (protocol, method, path): (Protocol, &str, &str),
        services: &Services,
        started_ns: u64,
        moved: &mut Option<Moved>,
    ) -> u32 {
        if !protocol.has_routes() {
            return self.as_said(scope, protocol, path, services, started_ns);
        }
        let mut room = std::mem::take(&mut self.room);
        let alike = self.routes.alike(path, &mut room);
        let asked = self.cache.key(scope, protocol, method, alike);
        if let Some(endpoint) = self.cache.get(&asked) {
            self.room = room;
            return endpoint;
        }
        let mut template = self.routes.template(&mut self.scopes[scope as usize].tree, path);
        if let Some(place) = template.overflow {
            *moved = Some(self.collapse(scope, &template.route, place));
            template = self.routes.template(&mut self.scopes[scope as usize].tree, path);
        }
        let endpoint = self.number(scope, protocol, first(method, METHOD), &template, services, started_ns);
        self.cache.put(&asked, endpoint);
        self.room = room;
        endpoint
    }

    /// The endpoint of a gRPC method, a statement, a command: what the program's author wrote, and no part of it is a
    /// value.
    fn as_said(&mut self, scope: u32, protocol: Protocol, path: &str, services: &Services, started_ns: u64) -> u32 {
        let path = first(path, PATH);
        if let Some(number) = self.known(scope, protocol, "", path) {
            return number;
        }
        let template = Template {
            route: if path.is_empty() { UNSEEN.into() } else { path.into() },
            reason: RouteReason::default(),
            by_pattern: false,
            overflow: None,
        };
        self.number(scope, protocol, "", &template, services, started_ns)
    }

    fn number(
        &mut self,
        scope: u32,
        protocol: Protocol,
        method: &str,
        template: &Template,
        services: &Services,
        started_ns: u64,
    ) -> u32 {
        if let Some(number) = self.known(scope, protocol, method, &template.route) {
            return number;
        }
        let mut scope = scope;
        let mut operation = Operation {
            method: method.into(),
            route: template.route.clone(),
        };
        let mut reason = Cow::Borrowed(&template.reason);
        let other = self.apart >= self.limit;
        if other {
            let Scope { service, role, tls, .. } = self.scopes[scope as usize];
            scope = self.scope((service, role, tls), None, PeerSeen::default());
            operation = Operation::other();
            reason = Cow::Owned(RouteReason {
                parts: vec![(0, format!("more than {} endpoints", self.limit).into())],
            });
            if let Some(number) = self.known(scope, protocol, &operation.method, &operation.route) {
                return number;
            }
        } else {
            self.apart += 1;
        }
        let Scope {
            service,
            role,
            tls,
            peer,
            ..
        } = &self.scopes[scope as usize];
        let key = EndpointKey {
            service: Arc::clone(&services.get(*service).key),
            role: *role,
            peer: peer.clone(),
            tls: *tls,
            protocol,
            operation,
        };
        let number = number_of(self.all.len());
        self.all.push(Endpoint {
            scope,
            reason: reason.into_owned(),
            by_pattern: template.by_pattern,
            other,
            aggregate: Aggregate::new(key.role, started_ns).with_gaps(&self.gaps, self.resumed_ns),
            shared: None,
            named: Named::new(key),
        });
        self.enter(number);
        number
    }

    fn enter(&mut self, number: u32) {
        let (all, hasher) = (&self.all, &self.hasher);
        let hash = |number: &u32| all[*number as usize].hash(hasher);
        self.numbers.insert_unique(hash(&number), number, hash);
    }

    fn known(&self, scope: u32, protocol: Protocol, method: &str, route: &str) -> Option<u32> {
        let hash = operation_hash(&self.hasher, scope, protocol, method, route);
        let is = |number: &u32| {
            let endpoint = &self.all[*number as usize];
            let key = &endpoint.named.key;
            endpoint.scope == scope
                && key.protocol == protocol
                && key.operation.route == route
                && key.operation.method == method
        };
        self.numbers.find(hash, is).copied()
    }

    /// Collapses the segment `place` of a scope's routes below the parent that `route` has, and merges what became one.
    #[cold]
    fn collapse(&mut self, scope: u32, route: &str, place: usize) -> Moved {
        let parent: Vec<&str> = route.trim_start_matches('/').split('/').take(place).collect();
        let mut requests: HashMap<&str, u64> = HashMap::new();
        for endpoint in self.all.iter().filter(|endpoint| endpoint.is_learnt(scope)) {
            let mut segments = endpoint.route().trim_start_matches('/').split('/');
            if parent.iter().all(|text| segments.next() == Some(text))
                && let Some(value) = segments.next()
                && !value.is_empty()
                && !value.contains('{')
            {
                *requests.entry(value).or_default() += endpoint.aggregate.requests();
            }
        }
        let all: u64 = requests.values().sum();
        let keep: HashSet<&str> = requests
            .iter()
            .filter(|(_, count)| **count >= KEPT_FROM && **count * KEPT_SHARE >= all)
            .map(|(value, _)| *value)
            .collect();
        let tree = &mut self.scopes[scope as usize].tree;
        tree.collapse(route, place, &keep);
        drop((keep, requests));
        // Below the collapsed place others come together, so that may overflow in turn; each time one more node is
        // collapsed, so this ends.
        let templates: Vec<Option<Template>> = loop {
            let mut overflow = None;
            let templates = self
                .all
                .iter()
                .map(|endpoint| {
                    (endpoint.is_learnt(scope) && overflow.is_none()).then(|| {
                        let template = tree.again(&self.routes, endpoint.route());
                        overflow = template.overflow.map(|place| (template.route.clone(), place));
                        template
                    })
                })
                .collect();
            match overflow {
                None => break templates,
                Some((route, place)) => tree.collapse(&route, place, &HashSet::new()),
            }
        };
        self.merge(templates)
    }

    /// Gives endpoints their new routes; those that have the same key then become one.
    fn merge(&mut self, templates: Vec<Option<Template>>) -> Moved {
        self.cache.clear();
        self.numbers.clear();
        let mut moved = Vec::with_capacity(self.all.len());
        for (mut endpoint, template) in std::mem::take(&mut self.all).into_iter().zip(templates) {
            if let Some(template) = template
                && template.route != endpoint.route()
            {
                let before = endpoint.named.number;
                endpoint.rename(template);
                if self.renamed.len() < RENAMED {
                    Arc::make_mut(&mut self.renamed).push((before, endpoint.named.number));
                }
            }
            let key = Arc::clone(&endpoint.named.key);
            let known = self.known(
                endpoint.scope,
                key.protocol,
                &key.operation.method,
                &key.operation.route,
            );
            moved.push(if let Some(number) = known {
                let into = &mut self.all[number as usize];
                into.aggregate.merge(endpoint.aggregate);
                into.aggregate.changed = true;
                self.apart -= 1;
                number
            } else {
                let number = number_of(self.all.len());
                self.all.push(endpoint);
                self.enter(number);
                number
            });
        }
        moved
    }

    pub(super) fn get(&self, number: u32) -> &Endpoint {
        &self.all[number as usize]
    }

    pub(super) fn get_mut(&mut self, number: u32) -> &mut Endpoint {
        &mut self.all[number as usize]
    }

    /// Does this one take what exceeds the number of endpoints?
    #[inline]
    pub(super) fn is_other(&self, number: u32) -> bool {
        // As long as there is none of them, none is looked at.
        self.apart < self.all.len() && self.all[number as usize].other
    }

    /// Endpoints kept apart.
    pub(super) fn apart(&self) -> usize {
        self.apart
    }

    /// Time went on.
    pub(super) fn tick(&mut self, at_ns: u64) {
        for endpoint in &mut self.all {
            endpoint.aggregate.changed |= endpoint.aggregate.advance(at_ns);
        }
    }

    /// All endpoints as outputs read them; what did not change is shared with the last time.
    pub(super) fn snapshot(&mut self, services: &Services, codes: &CodeNames) -> Vec<Arc<EndpointSnapshot>> {
        let scopes = &self.scopes;
        self.all
            .iter_mut()
            .map(|endpoint| {
                let scope = &scopes[endpoint.scope as usize];
                let service = services.get(scope.service);
                match &endpoint.shared {
                    Some(shared) if !endpoint.aggregate.changed && Arc::ptr_eq(&shared.service, service) => {
                        Arc::clone(shared)
                    }
                    _ => {
                        endpoint.aggregate.add_up();
                        endpoint.aggregate.changed = false;
                        let shared = Arc::new(EndpointSnapshot {
                            id: Arc::clone(&endpoint.named.id),
                            key: Arc::clone(&endpoint.named.key),
                            peer_seen: scope.peer_seen.clone(),
                            service: Arc::clone(service),
                            reason: endpoint.reason.clone(),
                            codes: codes.clone(),
                            aggregate: Arc::new(endpoint.aggregate.clone()),
                        });
                        endpoint.shared = Some(Arc::clone(&shared));
                        shared
                    }
                }
            })
            .collect()
    }

    /// Heap bytes held: endpoints with what the last snapshot shares, and the path cache.
    pub(super) fn heap_bytes(&self) -> usize {
        let endpoints: usize = self
            .all
            .iter()
            .map(|endpoint| {
                let copy = endpoint.shared.as_ref().map_or(0, |shared| {
                    size_of::<EndpointSnapshot>() + size_of::<Aggregate>() + shared.aggregate.running_bytes()
                });
                size_of::<Endpoint>() + size_of::<EndpointKey>() + endpoint.aggregate.heap_bytes() + copy
            })
            .sum();
        endpoints + self.numbers.allocation_size() + self.cache.heap_bytes()
    }
}

impl Endpoint {
    fn route(&self) -> &str {
        &self.named.key.operation.route
    }

    /// Is its route one that the scope's tree made?
    fn is_learnt(&self, scope: u32) -> bool {
        let learns = self.named.key.protocol.has_routes();
        self.scope == scope && learns && !self.by_pattern && !self.other && self.route().starts_with('/')
    }

    /// Its id, as a number.
    pub(super) fn number(&self) -> u64 {
        self.named.number
    }

    fn rename(&mut self, template: Template) {
        let mut key = EndpointKey::clone(&self.named.key);
        key.operation.route = template.route;
        self.named = Named::new(key);
        self.aggregate.changed = true;
        // What was said before stays: that a place was a number is known no more from the route.
        for (place, why) in template.reason.parts {
            if !self.reason.parts.iter().any(|(other, _)| *other == place) {
                self.reason.parts.push((place, why));
            }
        }
        self.reason.parts.sort_by_key(|(place, _)| *place);
    }

    pub(super) fn named(&self) -> &Named {
        &self.named
    }

    fn hash(&self, hasher: &DefaultHashBuilder) -> u64 {
        let EndpointKey {
            protocol, operation, ..
        } = &*self.named.key;
        operation_hash(hasher, self.scope, *protocol, &operation.method, &operation.route)
    }
}

fn operation_hash(hasher: &DefaultHashBuilder, scope: u32, protocol: Protocol, method: &str, route: &str) -> u64 {
    hasher.hash_one((scope, protocol, method, route))
}

impl Named {
    fn new(key: EndpointKey) -> Self {
        Self {
            number: key.id_number(),
            id: key.id().into(),
            key: Arc::new(key),
        }
    }
}

fn number_of(place: usize) -> u32 {
    u32::try_from(place).expect("tables are bounded far below 2^32")
}

/// The host that a request names, in lower case, without port and last dot; `None` if it names none, or an address.
pub(super) fn host_name(request: &Request<'_>) -> Option<CompactString> {
    let host = request.host?;
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_name = (1..=253).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    (is_name && name.parse::<std::net::Ipv4Addr>().is_err()).then(|| {
        let mut name = CompactString::from(name);
        name.make_ascii_lowercase();
        name
    })
}
