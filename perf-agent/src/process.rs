//! Processes and services: who it is that moves the bytes.
//!
//! A service is an observed program: executable, container, unit, and what it listens on. Workers of one server and its
//! restarts are one service. What is not known is `None`; for an interpreter (`python3`, `node`, `java`) the executable
//! and the port are all that the kernel tells, so that is what the service is called and told apart by.

use std::collections::VecDeque;
use std::sync::Arc;

use compact_str::CompactString;
use hashbrown::{HashMap, HashSet};

use crate::event::Peers;
use crate::exchange::Role;

/// Processes kept; beyond it the ones heard of first are forgotten.
pub const PROCESSES: usize = 32_768;

/// Ended processes that are still known.
const ENDED: usize = 1_024;

/// Services kept apart; what exceeds them is `(other)`.
pub const SERVICES: usize = 512;

/// Processes of one service that are listed; more are counted in no list but their exchanges are.
pub const PIDS: usize = 1_024;

/// What makes a service: two that agree in this are one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceKey {
    /// What people call it: the unit without its suffix, else the executable's file name, else the thread's name.
    pub name: CompactString,
    /// Path of the executable.
    pub exe: Option<CompactString>,
    /// Container id, 64 hexadecimal digits.
    pub container: Option<CompactString>,
    /// systemd unit.
    pub unit: Option<CompactString>,
    /// Local port; server role over TCP only.
    pub port: Option<u16>,
    /// Path of the Unix socket; server role over a Unix socket only.
    pub socket: Option<CompactString>,
}

/// An observed program and its processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Who it is.
    pub key: Arc<ServiceKey>,
    /// Its living processes, ascending; at most [`PIDS`].
    pub pids: Vec<u32>,
}

/// Who a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Path of the executable.
    pub exe: Option<CompactString>,
    /// Container id.
    pub container: Option<CompactString>,
    /// systemd unit.
    pub unit: Option<CompactString>,
}

impl Process {
    /// From the paths of a process record.
    fn new(exe: &str, cgroup: &str) -> Self {
        let group = Group::of(cgroup);
        Self {
            exe: (!exe.is_empty()).then(|| exe.into()),
            container: group.container,
            unit: group.unit,
        }
    }

    /// The unit without its suffix, else the executable's file name.
    fn name(&self) -> Option<CompactString> {
        let unit = self
            .unit
            .as_deref()
            .and_then(|unit| unit.rsplit_once('.'))
            .map(|(name, _)| name);
        let file = self.exe.as_deref().and_then(|exe| exe.rsplit('/').next());
        unit.or(file).map(CompactString::from)
    }
}

impl ServiceKey {
    /// The service of a process in a role on a connection. `comm`, a thread's name, names it if nothing else does.
    pub fn new(process: Option<&Process>, comm: &str, role: Role, peers: &Peers) -> Self {
        let (port, socket) = match (role, peers) {
            (Role::Server, Peers::Inet { local, .. }) => (Some(local.port()), None),
            (Role::Server, Peers::Unix { path }) if !path.is_empty() => (None, Some(path.into())),
            _ => (None, None),
        };
        Self {
            name: process.and_then(Process::name).unwrap_or_else(|| comm.into()),
            exe: process.and_then(|process| process.exe.clone()),
            container: process.and_then(|process| process.container.clone()),
            unit: process.and_then(|process| process.unit.clone()),
            port,
            socket,
        }
    }

    /// The service of everything beyond the number of services.
    fn other() -> Self {
        Self {
            name: CompactString::const_new("(other)"),
            exe: None,
            container: None,
            unit: None,
            port: None,
            socket: None,
        }
    }
}

/// Processes by number.
#[derive(Debug, Default)]
pub struct Processes {
    known: HashMap<u32, Process>,
    /// In the order in which they were heard of first; may name some that are forgotten.
    order: VecDeque<u32>,
    /// Ended ones, of which records may still be under way.
    ended: VecDeque<u32>,
    generation: u64,
}

impl Processes {
    /// Who a process is (a process record).
    pub fn learn(&mut self, tgid: u32, exe: &str, cgroup: &str) {
        let process = Process::new(exe, cgroup);
        self.ended.retain(|ended| *ended != tgid);
        match self.known.get_mut(&tgid) {
            Some(known) if *known == process => return,
            Some(known) => *known = process,
            None => {
                self.known.insert(tgid, process);
                self.order.push_back(tgid);
            }
        }
        self.generation += 1;
        while self.known.len() > PROCESSES
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        if self.order.len() > 2 * PROCESSES {
            let mut seen = HashSet::new();
            self.order
                .retain(|tgid| self.known.contains_key(tgid) && seen.insert(*tgid));
        }
    }

    /// A process ended (it stays known for a while, since its last records may still be under way), or replaced its
    /// program (and is unknown until the next process record).
    pub fn exited(&mut self, tgid: u32, executed: bool) {
        if executed {
            if self.known.remove(&tgid).is_some() {
                self.generation += 1;
            }
        } else if self.known.contains_key(&tgid) {
            self.ended.push_back(tgid);
            if self.ended.len() > ENDED
                && let Some(oldest) = self.ended.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
    }

    /// Who it is.
    pub fn get(&self, tgid: u32) -> Option<&Process> {
        self.known.get(&tgid)
    }

    /// Changes whenever an answer of [`Processes::get`] may have changed for a living process.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// Services, numbered in the order in which they were seen first.
#[derive(Debug, Default)]
pub struct Services {
    numbers: HashMap<Arc<ServiceKey>, u32>,
    all: Vec<Arc<Service>>,
}

impl Services {
    /// The number of a service, in which this process is at work.
    pub fn number(&mut self, key: ServiceKey, tgid: u32) -> u32 {
        let number = match self.numbers.get(&key) {
            Some(&number) => number,
            None if self.all.len() >= SERVICES => self.add(ServiceKey::other()),
            None => self.add(key),
        };
        if let Some(service) = self.all.get_mut(number as usize)
            && let Err(place) = service.pids.binary_search(&tgid)
            && service.pids.len() < PIDS
        {
            Arc::make_mut(service).pids.insert(place, tgid);
        }
        number
    }

    /// The number of a service that was seen before, and in which no process is known to be at work; `None` if there are
    /// too many.
    pub fn restore(&mut self, key: &ServiceKey) -> Option<u32> {
        match self.numbers.get(key) {
            Some(&number) => Some(number),
            None if self.all.len() >= SERVICES && *key != ServiceKey::other() => None,
            None => Some(self.add(key.clone())),
        }
    }

    fn add(&mut self, key: ServiceKey) -> u32 {
        let key = Arc::new(key);
        *self.numbers.entry(Arc::clone(&key)).or_insert_with(|| {
            self.all.push(Arc::new(Service { key, pids: Vec::new() }));
            u32::try_from(self.all.len() - 1).expect("services are bounded")
        })
    }

    /// A process ended or became another program.
    pub fn exited(&mut self, tgid: u32) {
        for service in &mut self.all {
            if let Ok(place) = service.pids.binary_search(&tgid) {
                Arc::make_mut(service).pids.remove(place);
            }
        }
    }

    /// The service of a number that [`Services::number`] gave.
    pub fn get(&self, number: u32) -> &Arc<Service> {
        &self.all[number as usize]
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<Service>] {
        &self.all
    }
}

/// What a control group's path tells.
#[derive(Debug, Default, PartialEq, Eq)]
struct Group {
    container: Option<CompactString>,
    unit: Option<CompactString>,
}

impl Group {
    fn of(path: &str) -> Self {
        let mut group = Self::default();
        let mut in_session = false;
        for part in path.split('/') {
            in_session |= part == "user.slice";
            if let Some(id) = container(part) {
                group.container = Some(id.into());
                // What stands before it is the runtime's unit, not the container's.
                group.unit = None;
            } else if is_unit(part, in_session) {
                group.unit = Some(part.into());
            }
        }
        group
    }
}

/// The id in the group's name that Docker (`docker-ID.scope`, or the id alone), containerd (`cri-containerd-ID.scope`,
/// `…:cri-containerd:ID`), CRI-O (`crio-ID.scope`) and Podman (`libpod-ID.scope`) give. The monitors (`…-conmon-ID`) are not
/// in the container.
fn container(part: &str) -> Option<&str> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let (before, id) = part.split_at_checked(part.len().checked_sub(64)?)?;
    let is_id = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let apart = before.is_empty() || (before.ends_with(['-', ':']) && !before.ends_with("conmon-"));
    (is_id && apart).then_some(id)
}

/// The uid of the Kubernetes pod that a control group is of, as its path tells: `…/kubepods-burstable-podUID.slice/…` where
/// systemd makes the groups (with `_` for `-`), `/kubepods/burstable/podUID/…` where the kubelet does. Uids of static pods
/// have no dashes.
pub fn pod(path: &str) -> Option<CompactString> {
    path.split('/').find_map(|part| {
        // `kubepods-besteffort-podUID.slice:cri-containerd:ID`
        let name = part.split(':').next().unwrap_or(part);
        let (before, uid) = match name.strip_suffix(".slice") {
            Some(name) => name.rsplit_once("-pod")?,
            None => ("kubepods", name.strip_prefix("pod")?),
        };
        let groups = || before.split('-').any(|group| group == "kubepods");
        let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
        let is_uid = digits == 32
            && uid
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || b"-_".contains(&byte));
        (is_uid && groups() && path.contains("kubepods")).then(|| uid.replace('_', "-").into())
    })
}

/// Units that name a program. The scopes of sessions and of desktop applications, and those named by `systemd-run`, have
/// another name each time.
fn is_unit(part: &str, in_session: bool) -> bool {
    match part.rsplit_once('.') {
        Some((name, "service")) => !name.starts_with("user@") && !name.starts_with("run-"),
        Some((name, "scope")) => {
            !in_session && name != "init" && !name.starts_with("run-") && !name.contains("conmon-")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[track_caller]
    fn check(path: &str, container: Option<&str>, unit: Option<&str>) {
        let group = Group::of(path);
        assert_eq!(
            (group.container.as_deref(), group.unit.as_deref()),
            (container, unit),
            "{path}"
        );
    }

    fn server(port: u16) -> Peers {
        Peers::Inet {
            local: ([127, 0, 0, 1], port).into(),
            remote: ([127, 0, 0, 1], 50_000).into(),
        }
    }

    #[test]
    fn containers_are_found_in_the_paths_of_every_runtime() {
        for path in [
            format!("/system.slice/docker-{ID}.scope"),
            format!("/docker/{ID}"),
            format!("/kubepods.slice/kubepods-burstable.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope"),
            format!("/system.slice/containerd.service/kubepods-besteffort-pod1.slice:cri-containerd:{ID}"),
            format!("/kubepods.slice/crio-{ID}.scope"),
            format!("/machine.slice/libpod-{ID}.scope"),
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container"),
        ] {
            check(&path, Some(ID), None);
        }
        check(&format!("/machine.slice/libpod-conmon-{ID}.scope"), None, None);
        check(
            &format!("/system.slice/docker-{ID}.scope/system.slice/nginx.service"),
            Some(ID),
            Some("nginx.service"),
        );
    }

    #[test]
    fn pods_are_found_in_the_paths_of_both_drivers() {
        const UID: &str = "3dbd2b1f-7a7e-4f5c-9c5e-0d1f6a1b2c3d";
        let lines = UID.replace('-', "_");
        for path in [
            format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{lines}.slice/crio-{ID}.scope"),
            format!("/kubepods.slice/kubepods-pod{lines}.slice/cri-containerd-{ID}.scope"),
            format!(
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{lines}.slice/cri-containerd-{ID}.scope"
            ),
            format!("/system.slice/containerd.service/kubepods-besteffort-pod{lines}.slice:cri-containerd:{ID}"),
            format!("/kubepods/burstable/pod{UID}/{ID}"),
            format!("/kubepods/pod{UID}"),
        ] {
            assert_eq!(pod(&path).as_deref(), Some(UID), "{path}");
        }
        let of_static = UID.replace('-', "");
        assert_eq!(
            pod(&format!("/kubepods/besteffort/pod{of_static}/{ID}")).as_deref(),
            Some(of_static.as_str())
        );
        for path in [
            "/".to_owned(),
            String::new(),
            format!("/pod{UID}/{ID}"),
            format!("/machine.slice/machine-libpod_pod_{ID}.slice/libpod-{ID}.scope"),
            format!("/other.slice/other-pod{lines}.slice"),
            "/kubepods/podium".to_owned(),
            "/kubepods.slice/kubepods-pod1.slice".to_owned(),
        ] {
            assert_eq!(pod(&path), None, "{path}");
        }
    }

    #[test]
    fn units_are_found_and_sessions_are_none() {
        check("/system.slice/nginx.service", None, Some("nginx.service"));
        check(
            "/system.slice/system-pg.slice/pg@14-main.service",
            None,
            Some("pg@14-main.service"),
        );
        check("/machine.slice/vm.scope", None, Some("vm.scope"));
        check("/user.slice/user-0.slice/session-3.scope", None, None);
        check(
            "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
            None,
            Some("web.service"),
        );
        check("/init.scope", None, None);
        check("/", None, None);
        check("", None, None);
    }

    #[test]
    fn a_service_is_called_by_its_unit_else_by_its_executable_else_by_its_thread() {
        let name = |exe: &str, cgroup: &str| {
            let process = Process::new(exe, cgroup);
            ServiceKey::new(Some(&process), "thread", Role::Server, &server(80)).name
        };
        assert_eq!(name("/usr/sbin/nginx", "/system.slice/web.service"), "web");
        assert_eq!(name("/usr/sbin/nginx", "/"), "nginx");
        assert_eq!(name("", "/"), "thread");
        assert_eq!(
            ServiceKey::new(None, "thread", Role::Server, &server(80)).name,
            "thread"
        );
    }

    #[test]
    fn only_a_server_has_a_port_of_its_own() {
        assert_eq!(ServiceKey::new(None, "", Role::Server, &server(80)).port, Some(80));
        assert_eq!(ServiceKey::new(None, "", Role::Client, &server(80)).port, None);
        let unix = Peers::Unix { path: "/run/a".into() };
        let key = ServiceKey::new(None, "", Role::Server, &unix);
        assert_eq!((key.port, key.socket.as_deref()), (None, Some("/run/a")));
    }

    #[test]
    fn workers_and_restarts_are_one_service() {
        let mut services = Services::default();
        let key = || ServiceKey::new(None, "nginx", Role::Server, &server(80));
        let number = services.number(key(), 10);
        assert_eq!(services.number(key(), 11), number);
        assert_eq!(services.get(number).pids, [10, 11]);
        services.exited(10);
        services.exited(11);
        assert_eq!(services.number(key(), 20), number);
        assert_eq!(services.get(number).pids, [20]);
    }

    #[test]
    fn services_and_their_processes_are_bounded() {
        let mut services = Services::default();
        for n in 0..2 * SERVICES {
            services.number(ServiceKey::new(None, &n.to_string(), Role::Client, &server(80)), 1);
        }
        assert_eq!(services.all().len(), SERVICES + 1);
        assert_eq!(services.all()[SERVICES].key.name, "(other)");
        for tgid in (0..).take(2 * PIDS) {
            services.number(ServiceKey::new(None, "0", Role::Client, &server(80)), tgid);
        }
        assert_eq!(services.get(0).pids.len(), PIDS);
    }

    #[test]
    fn an_ended_process_stays_known_for_a_while_and_the_table_is_bounded() {
        let mut processes = Processes::default();
        let mut last = 0;
        for tgid in (0..).take(3 * PROCESSES) {
            processes.learn(tgid, "/bin/a", "/");
            last = tgid;
        }
        assert!(processes.known.len() <= PROCESSES && processes.order.len() <= 2 * PROCESSES);
        processes.exited(last, false);
        assert!(processes.get(last).is_some());
        for tgid in (0..last).rev().take(ENDED) {
            processes.exited(tgid, false);
        }
        assert_eq!(processes.get(last), None);
    }

    #[test]
    fn another_program_in_the_same_process_is_unknown_until_it_is_told() {
        let mut processes = Processes::default();
        processes.learn(1, "/bin/sh", "/");
        let before = processes.generation();
        processes.exited(1, true);
        assert_eq!(processes.get(1), None);
        assert_ne!(processes.generation(), before);
        processes.learn(1, "/bin/a", "/");
        assert_eq!(processes.get(1).and_then(Process::name).as_deref(), Some("a"));
    }
}
