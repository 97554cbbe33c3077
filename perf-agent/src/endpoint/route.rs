//! Routes: paths with their variable parts replaced by placeholders.
//!
//! In this order:
//! 1. The operator's own patterns (`/users/{name}`, `/files/{*rest}`) win.
//! 2. A segment that has the form of a value becomes a placeholder: see [`super::segment`].
//! 3. Other segments are counted: a place below one parent that has had more than [`Routes::distinct`] different values
//!    collapses to `{value}`. Values that make up much of the traffic below the parent stay as they are, so a scanner that
//!    tries a thousand names does not take `/health` with it; and names below a dotted name, as in
//!    `/pkg.Service/Method`, are given ten times the number.
//!
//! What was learnt is kept per service and peer in a [`Tree`] of bounded size.

use std::borrow::Cow;

use compact_str::{CompactString, format_compact};
use hashbrown::{HashMap, HashSet};

use super::segment::{self, LONGEST};
use super::{RouteReason, UNSEEN};
use crate::exchange::UNKNOWN;

/// Segments of a path that are looked at; the rest becomes one `{rest}`.
pub const DEPTH: usize = 16;

/// Nodes of one tree; segments that would need more become `{value}`.
pub const NODES: usize = 4_096;

/// How many times more different names there may be below a dotted name, as in `/pkg.Service/Method`.
const RPC_FACTOR: usize = 10;

const VALUE: &str = "{value}";

/// Why a route is one of the operator's patterns.
pub(crate) const BY_PATTERN: &str = "the operator's pattern";

/// An operator's pattern is none.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// It does not begin with a slash.
    #[error("route pattern {0:?} does not begin with '/'")]
    Relative(String),
    /// Its placeholders are wrong, or it means the same paths as another one.
    #[error("route pattern {pattern:?}")]
    Pattern {
        /// As given.
        pattern: String,
        /// What is wrong with it.
        source: matchit::InsertError,
    },
}

/// A path's route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The route.
    pub route: CompactString,
    /// Why it is so.
    pub reason: RouteReason,
    /// True if it is one of the operator's patterns.
    pub by_pattern: bool,
    /// Set if the segment of this number would be one value too many below its parent: time for [`Tree::collapse`]. The
    /// route already says `{value}` there.
    pub overflow: Option<usize>,
}

/// How routes are made: the operator's patterns and the limit.
#[derive(Debug)]
pub struct Routes {
    patterns: matchit::Router<CompactString>,
    has_patterns: bool,
    distinct: usize,
}

impl Routes {
    /// With these patterns, and this number of different values of a segment below one parent.
    ///
    /// # Errors
    /// If a pattern is none, or contradicts another one.
    pub fn new(patterns: &[String], distinct: usize) -> Result<Self, RouteError> {
        let mut router = matchit::Router::new();
        for pattern in patterns {
            if !pattern.starts_with('/') {
                return Err(RouteError::Relative(pattern.clone()));
            }
            router
                .insert(pattern.as_str(), pattern.into())
                .map_err(|source| RouteError::Pattern {
                    pattern: pattern.clone(),
                    source,
                })?;
        }
        Ok(Self {
            patterns: router,
            has_patterns: !patterns.is_empty(),
            distinct: distinct.max(1),
        })
    }

    /// Different values of a segment below one parent, beyond which they collapse.
    pub fn distinct(&self) -> usize {
        self.distinct
    }

    /// A path that has the same route and teaches the same, whatever was learnt: numbers and the like are replaced by one
    /// of their kind. So what was found out for one of them can be remembered for all. `room` is where it may be written.
    #[inline]
    pub fn alike<'a>(&self, path: &'a str, room: &'a mut String) -> &'a str {
        if self.has_patterns || !path.starts_with('/') {
            return path;
        }
        let bytes = path.as_bytes();
        room.clear();
        let (mut copied, mut begin) = (0, 1);
        while begin < bytes.len() {
            let length = bytes[begin..].iter().position(|&byte| byte == b'/');
            let end = length.map_or(bytes.len(), |length| begin + length);
            if let Some(other) = segment::alike(&path[begin..end]) {
                room.push_str(&path[copied..begin]);
                room.push_str(other);
                copied = end;
            }
            begin = end + 1;
        }
        if copied == 0 {
            return path;
        }
        room.push_str(&path[copied..]);
        room
    }

    /// The route of a path as sent (see [`crate::exchange::Request::path`]), and what it teaches.
    pub fn template(&self, tree: &mut Tree, path: &str) -> Template {
        let fixed = |route: CompactString, reason: Option<&'static str>| Template {
            route,
            reason: RouteReason {
                parts: reason.map(|reason| (0, Cow::Borrowed(reason))).into_iter().collect(),
            },
            by_pattern: false,
            overflow: None,
        };
        if path.is_empty() {
            return fixed(UNSEEN.into(), Some("the request's path was not seen"));
        }
        if path == UNKNOWN {
            return fixed(
                UNKNOWN.into(),
                Some("the path was named by a number whose meaning went by unseen"),
            );
        }
        if path == "*" {
            return fixed("*".into(), None);
        }
        // A CONNECT to a path asks for another protocol there (RFC 8441), and not for a tunnel.
        if !path.starts_with('/') {
            return fixed(authority(path), Some("the host of a tunnel"));
        }
        if let Ok(found) = self.patterns.at(path) {
            return Template {
                route: found.value.clone(),
                reason: RouteReason {
                    parts: vec![(0, Cow::Borrowed(BY_PATTERN))],
                },
                by_pattern: true,
                overflow: None,
            };
        }
        let path = path.strip_prefix('/').unwrap_or(path);
        tree.walk(self, segments(path))
    }
}

/// Segments of a path without its first slash, those of value form replaced.
fn segments(path: &str) -> impl Iterator<Item = Segment<'_>> {
    let mut rest = Some(path);
    let mut place = 0;
    std::iter::from_fn(move || {
        let left = rest?;
        if place == DEPTH {
            rest = None;
            return Some(Segment::Value("{rest}".into(), "deeper than 16 segments"));
        }
        place += 1;
        let (segment, after) = match left.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (left, None),
        };
        rest = after;
        // Parameters of a segment (RFC 3986, 3.3), such as `;jsessionid=`, tell no routes apart.
        let segment = segment.split(';').next().unwrap_or(segment);
        Some(match segment::placeholder(segment, after.is_none()) {
            Some(placeholder) => Segment::Value(placeholder.text, placeholder.reason),
            None => Segment::Constant(segment),
        })
    })
}

enum Segment<'a> {
    Constant(&'a str),
    Value(Cow<'a, str>, &'static str),
}

/// `example.com:443` as `{host}:443`: the number of hosts has no bound, the ports in use are few.
fn authority(authority: &str) -> CompactString {
    match authority.rsplit_once(':') {
        Some((_, port)) if !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            format_compact!("{{host}}:{port}")
        }
        _ => "{host}".into(),
    }
}

/// What was learnt of the paths of one service (and, in the client role, one peer).
#[derive(Debug, Default)]
pub struct Tree {
    root: Node,
    nodes: usize,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<String, Node>,
    /// Children that are constants.
    constants: usize,
    /// New constants become `{value}`.
    collapsed: bool,
}

impl Node {
    fn size(&self) -> usize {
        self.children.values().map(|child| 1 + child.size()).sum()
    }
}

impl Tree {
    fn walk<'a>(&mut self, routes: &Routes, segments: impl Iterator<Item = Segment<'a>>) -> Template {
        let mut route = CompactString::default();
        let mut reason = RouteReason::default();
        let mut overflow = None;
        let mut node = &mut self.root;
        let mut limit = routes.distinct;
        for (place, segment) in segments.enumerate() {
            route.push('/');
            let (text, why): (Cow<'_, str>, _) = match segment {
                Segment::Value(text, why) => (text, Some(Cow::Borrowed(why))),
                // An empty segment is a doubled or a trailing slash, not a value.
                Segment::Constant(text) if text.is_empty() || node.children.contains_key(text) => (text.into(), None),
                Segment::Constant(_) if node.collapsed => {
                    let why = format!("more than {limit} different values here");
                    (VALUE.into(), Some(why.into()))
                }
                Segment::Constant(_) if node.constants >= limit => {
                    overflow = overflow.or(Some(place));
                    let why = format!("more than {limit} different values here");
                    (VALUE.into(), Some(why.into()))
                }
                Segment::Constant(_) if self.nodes >= NODES => (
                    VALUE.into(),
                    Some(Cow::Borrowed("the service has too many different paths")),
                ),
                Segment::Constant(text) => {
                    node.constants += 1;
                    (text.into(), None)
                }
            };
            route.push_str(&text);
            reason.parts.extend(why.map(|why| (place, why)));
            limit = routes.distinct * if is_dotted_name(&text) { RPC_FACTOR } else { 1 };
            let nodes = &mut self.nodes;
            node = node.children.entry_ref(&*text).or_insert_with(|| {
                *nodes += 1;
                Node::default()
            });
        }
        Template {
            route,
            reason,
            by_pattern: false,
            overflow,
        }
    }

    /// Turns a place below a parent into `{value}`: all its constants but those in `keep` are forgotten, with what is
    /// below them. The routes made so far have to go through [`Tree::again`] then.
    pub fn collapse(&mut self, route: &str, place: usize, keep: &HashSet<&str>) {
        let mut node = &mut self.root;
        for segment in route.trim_start_matches('/').split('/').take(place) {
            let Some(child) = node.children.get_mut(segment) else {
                return;
            };
            node = child;
        }
        node.collapsed = true;
        let mut forgotten = 0;
        node.children.retain(|text, child| {
            let stay = text.is_empty() || is_placeholder(text) || keep.contains(text.as_str());
            if !stay {
                forgotten += 1 + child.size();
            }
            stay
        });
        node.constants = keep.len();
        self.nodes -= forgotten;
    }

    /// The route that a route made earlier by this tree has now.
    pub fn again(&mut self, routes: &Routes, route: &str) -> Template {
        let Some(path) = route.strip_prefix('/') else {
            return Template {
                route: route.into(),
                reason: RouteReason::default(),
                by_pattern: false,
                overflow: None,
            };
        };
        self.walk(
            routes,
            path.split('/').map(|segment| {
                if is_placeholder(segment) {
                    Segment::Value(segment.into(), "made a placeholder earlier")
                } else {
                    Segment::Constant(segment)
                }
            }),
        )
    }

    /// Learns a route that an earlier tree of the same paths made: its constants are known, and where it has a collapsed
    /// place, that stays collapsed.
    pub fn restore(&mut self, route: &str) {
        let Some(path) = route.strip_prefix('/') else {
            return;
        };
        let mut node = &mut self.root;
        for segment in path.split('/').take(DEPTH + 1) {
            node.collapsed |= segment == VALUE;
            if !node.children.contains_key(segment) {
                if self.nodes >= NODES {
                    return;
                }
                self.nodes += 1;
                node.constants += usize::from(!segment.is_empty() && !is_placeholder(segment));
            }
            node = node.children.entry_ref(segment).or_default();
        }
    }

    /// Nodes in use, at most [`NODES`] and a path's length.
    pub fn len(&self) -> usize {
        self.nodes
    }

    /// True if nothing was learnt yet.
    pub fn is_empty(&self) -> bool {
        self.nodes == 0
    }
}

/// Braces of a path as sent never get into a route, so what has one was put there here.
fn is_placeholder(segment: &str) -> bool {
    segment.contains('{')
}

/// `pkg.Service`, as in the paths of gRPC, Twirp and Connect: names with dots between, the last with a capital.
fn is_dotted_name(segment: &str) -> bool {
    segment.len() <= LONGEST
        && segment.rsplit_once('.').is_some_and(|(package, service)| {
            !package.is_empty()
                && service.starts_with(|first: char| first.is_ascii_uppercase())
                && segment
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_')
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn routes(patterns: &[&str], distinct: usize) -> Routes {
        let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
        Routes::new(&patterns, distinct).unwrap()
    }

    #[track_caller]
    fn check(path: &str, expected: &str) {
        let template = routes(&[], 100).template(&mut Tree::default(), path);
        assert_eq!(template.route, expected);
    }

    #[test]
    fn values_become_placeholders_and_constants_stay() {
        check("/", "/");
        check("/users/42/orders/7", "/users/{id}/orders/{id}");
        check("/ngx-keepalive", "/ngx-keepalive");
        check("/v1/api2", "/v1/api2");
        check("/pkg.Service/Method", "/pkg.Service/Method");
        check("//double//slash/", "//double//slash/");
        check("/assets/app.3f2a91bc.js", "/assets/app.{hex}.js");
        check("/page;jsessionid=0123456789ABCDEF/x", "/page/x");
        check("*", "*");
        check("", UNSEEN);
        check(UNKNOWN, UNKNOWN);
    }

    proptest! {
        #[test]
        fn a_path_alike_has_the_same_route_and_teaches_the_same(
            segments in prop::collection::vec(
                "[0-9]{0,12}|[0-9a-fA-Fx-]{1,40}|[a-z]{1,3}|[0-9]{1,4}[.:;,%@][a-z0-9]{0,3}|v[0-9]|\\PC{0,4}|                 [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
                0..20),
            slash in any::<bool>(),
        ) {
            let routes = routes(&[], 2);
            let (mut one, mut other, mut room) = (Tree::default(), Tree::default(), String::new());
            let path = format!("{}{}", if slash { "/" } else { "" }, segments.join("/"));
            let alike = routes.alike(&path, &mut room);
            prop_assert_eq!(routes.template(&mut one, &path), routes.template(&mut other, alike));
            prop_assert_eq!(one.len(), other.len());
        }
    }

    #[test]
    fn paths_that_differ_in_values_only_are_alike() {
        let mut room = String::new();
        let routes_without = routes(&[], 100);
        let mut alike = |path| routes_without.alike(path, &mut room).to_owned();
        assert_eq!(alike("/users/42/orders/7"), "/users/0/orders/0");
        assert_eq!(alike("/users/42/"), "/users/0/");
        assert_eq!(
            alike("/f/0192d3c4-5b6a-7e8f-9012-3456789abcde"),
            "/f/00000000-0000-0000-0000-000000000000"
        );
        assert_eq!(alike("/o/66f1a2b3c4d5e6f708192a3b"), "/o/0000000a");
        for path in ["/", "", "*", "/users/me", "/v1/x", "/a/42;b", "/face/facade"] {
            assert_eq!(alike(path), path);
        }
        // A pattern may name one value and not another.
        assert_eq!(routes(&["/users/42"], 100).alike("/users/42", &mut room), "/users/42");
    }

    #[test]
    fn tunnels_are_told_apart_by_port_only() {
        let routes = routes(&[], 100);
        let route = |path| routes.template(&mut Tree::default(), path).route;
        assert_eq!(route("a.example:443"), "{host}:443");
        assert_eq!(route("[::1]:8080"), "{host}:8080");
        assert_eq!(route("a.example:evil"), "{host}");
        assert_eq!(route("/chat"), "/chat");
    }

    #[test]
    fn depth_is_bounded() {
        let path = "/a".repeat(5000);
        check(&path, &format!("{}/{{rest}}", "/a".repeat(DEPTH)));
    }

    #[test]
    fn the_operators_patterns_win() {
        let routes = routes(&["/users/{name}", "/files/{*path}"], 100);
        let mut tree = Tree::default();
        let template = routes.template(&mut tree, "/users/42");
        assert_eq!((template.route.as_str(), template.by_pattern), ("/users/{name}", true));
        assert_eq!(routes.template(&mut tree, "/files/a/b").route, "/files/{*path}");
        assert_eq!(routes.template(&mut tree, "/users/42/x").route, "/users/{id}/x");
        assert!(tree.len() == 3, "patterns teach the tree nothing");
    }

    #[test]
    fn a_wrong_pattern_is_refused_with_its_text() {
        for pattern in ["users", "/users/{", "/{a}{b}"] {
            let error = Routes::new(&[pattern.to_owned()], 100).unwrap_err();
            assert!(error.to_string().contains(pattern), "{error}");
        }
    }

    #[test]
    fn a_route_says_why() {
        let routes = routes(&[], 2);
        let mut tree = Tree::default();
        assert_eq!(
            routes.template(&mut tree, "/users/42").reason.parts,
            [(1, "a number".into())]
        );
        for name in ["a", "b"] {
            let template = routes.template(&mut tree, &format!("/users/{name}"));
            assert_eq!((template.reason.parts.len(), template.overflow), (0, None));
        }
        let template = routes.template(&mut tree, "/users/c");
        assert_eq!(
            (template.route.as_str(), template.overflow),
            ("/users/{value}", Some(1))
        );
        assert_eq!(template.reason.parts, [(1, "more than 2 different values here".into())]);
    }

    #[test]
    fn after_a_collapse_old_routes_become_the_collapsed_one_and_kept_ones_stay() {
        let routes = routes(&[], 2);
        let mut tree = Tree::default();
        let before: Vec<_> = ["/u/a/x", "/u/me/x", "/u/c/x"]
            .map(|path| routes.template(&mut tree, path))
            .into();
        assert_eq!(
            (before[2].route.as_str(), before[2].overflow),
            ("/u/{value}/x", Some(1))
        );
        tree.collapse(&before[2].route, 1, &HashSet::from_iter(["me"]));
        let after: Vec<_> = before.iter().map(|old| tree.again(&routes, &old.route).route).collect();
        assert_eq!(after, ["/u/{value}/x", "/u/me/x", "/u/{value}/x"]);
        let template = routes.template(&mut tree, "/u/d/x");
        assert_eq!((template.route.as_str(), template.overflow), ("/u/{value}/x", None));
    }

    #[test]
    fn a_restored_tree_goes_on_as_the_one_that_made_its_routes() {
        let routes = routes(&[], 2);
        let mut tree = Tree::default();
        for route in ["/u/me/x", "/u/{value}/x", "/o/{id}/", "/o/list", "*"] {
            tree.restore(route);
        }
        let mut route = |path| {
            let template = routes.template(&mut tree, path);
            (template.route.to_string(), template.overflow)
        };
        assert_eq!(route("/u/new/x"), ("/u/{value}/x".to_owned(), None));
        assert_eq!(route("/u/me/x"), ("/u/me/x".to_owned(), None));
        assert_eq!(route("/o/7/"), ("/o/{id}/".to_owned(), None));
        assert_eq!(route("/o/new"), ("/o/new".to_owned(), None));
        assert_eq!(
            route("/o/more"),
            ("/o/{value}".to_owned(), Some(1)),
            "constants are counted"
        );
    }

    #[test]
    fn methods_of_a_dotted_service_are_given_more_room() {
        let routes = routes(&[], 2);
        let mut tree = Tree::default();
        for method in 0..20 {
            let path = format!("/pkg.Service/Method{}", char::from(b'A' + method));
            assert_eq!(routes.template(&mut tree, &path).route, path);
        }
        assert_eq!(
            routes.template(&mut tree, "/pkg.Service/MethodZ").route,
            "/pkg.Service/{value}"
        );
    }

    #[test]
    fn a_tree_never_outgrows_its_bound() {
        let routes = routes(&[], usize::MAX / 100);
        let mut tree = Tree::default();
        for n in 0..3 * NODES {
            routes.template(&mut tree, &format!("/n{n}x/y"));
        }
        assert!(tree.len() <= NODES + DEPTH, "{}", tree.len());
        let mut tree = Tree::default();
        (0..3 * NODES).for_each(|n| tree.restore(&format!("/n{n}x/y")));
        assert_eq!(tree.len(), NODES);
    }

    proptest! {
        #[test]
        fn any_path_has_a_short_route_that_is_its_own_route_again(paths in prop::collection::vec("(/[^/]{0,12}){0,6}", 1..50)) {
            let routes = routes(&[], 3);
            let mut tree = Tree::default();
            for path in &paths {
                let template = routes.template(&mut tree, path);
                prop_assert!(template.route.len() <= (DEPTH + 1) * (2 * LONGEST + 16));
                if let Some(place) = template.overflow {
                    tree.collapse(&template.route, place, &HashSet::new());
                }
                let again = tree.again(&routes, &template.route);
                if again.overflow.is_none() {
                    prop_assert_eq!(&tree.again(&routes, &again.route).route, &again.route);
                }
            }
        }
    }
}
