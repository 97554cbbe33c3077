//! What this kernel and these privileges allow: every backend is loaded and attached for a moment.

use super::filters::Marks;
use super::load::{Machine, Refusal, attach, refuse_hooks};
use crate::config::CaptureSettings;
use crate::source::{Backend, BackendReport, Diagnosis, HookReport, HookState, Report, SourceError};
use crate::tls::survey::survey;

/// Tries every backend. The report says what `run` would use with these settings.
///
/// # Errors
/// [`SourceError`] if a filter means nothing, or a backend cannot be tried for a reason of its own. What keeps every backend
/// from being tried (no privilege, no BTF, no programs in this binary) is in the diagnosis.
pub fn doctor(settings: &CaptureSettings) -> Result<Diagnosis, SourceError> {
    let mut report = Report {
        kernel: Machine::kernel(),
        backend: None,
        backends: vec![],
        hooks: vec![],
        blind_spots: vec![],
    };
    let machine = match Machine::ask() {
        Ok(machine) => machine,
        Err(obstacle) => {
            report.backends = Backend::ALL.map(untried).to_vec();
            return Ok(Diagnosis {
                report,
                obstacle: Some(obstacle),
                tls: Vec::new(),
            });
        }
    };
    let marks = Marks::resolve(settings)?;
    // Small maps: nothing is observed, and memory for it would only be taken and given back.
    let trial = CaptureSettings {
        ring_bytes: 1 << 16,
        max_connections: 64,
        ..settings.clone()
    };
    for backend in Backend::ALL {
        // The programs for TLS are the same with each.
        let trial = CaptureSettings {
            tls: settings.tls && report.backend.is_none(),
            ..trial.clone()
        };
        let (state, reason, fix) = match attach(&machine, &trial, &marks, backend) {
            Ok(works) => {
                let chosen = report.backend.is_none() && settings.backend.is_none_or(|wanted| wanted == backend);
                if chosen {
                    report.backend = Some(backend);
                    report.blind_spots.clone_from(&works.report.blind_spots);
                }
                merge(&mut report.hooks, works.report.hooks, chosen);
                let (state, reason) = if chosen {
                    (HookState::Used, None)
                } else {
                    let why = match report.backend {
                        Some(better) if settings.backend.is_none() => format!("works here; {better} costs less"),
                        _ => "works here; not asked for".to_owned(),
                    };
                    (HookState::Fallback, Some(why))
                };
                (state, reason, None)
            }
            Err(Refusal::Backend { reason, fix }) => (HookState::Unavailable, Some(reason), fix),
            Err(Refusal::Everything(error)) => return Err(error),
        };
        report.backends.push(BackendReport {
            backend,
            state,
            reason,
            fix,
        });
    }
    refuse_hooks(&mut report.hooks, &report.backends);
    let tls = if settings.tls { survey(machine.way) } else { Vec::new() };
    Ok(Diagnosis {
        report,
        obstacle: None,
        tls,
    })
}

fn untried(backend: Backend) -> BackendReport {
    BackendReport {
        backend,
        state: HookState::Unavailable,
        reason: Some("not tried".to_owned()),
        fix: None,
    }
}

/// Adds one backend's hooks to the list: those of the chosen backend count as used, what only others use as fallback.
fn merge(all: &mut Vec<HookReport>, of_backend: Vec<HookReport>, chosen: bool) {
    for mut hook in of_backend {
        let tried = hook.state != HookState::Fallback;
        if hook.state == HookState::Used && !chosen {
            hook.state = HookState::Fallback;
            hook.reason = Some("works here; belongs to another backend than the one in use".to_owned());
        }
        match all.iter_mut().find(|known| known.name == hook.name) {
            // What was tried says more than what was only named.
            Some(known) if tried && known.state == HookState::Fallback => *known = hook,
            Some(_) => {}
            None => all.push(hook),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::HookFamily;

    fn hook(name: &str, state: HookState, reason: Option<&str>) -> HookReport {
        HookReport {
            name: name.to_owned(),
            family: HookFamily::Fentry,
            state,
            reason: reason.map(str::to_owned),
            fix: None,
        }
    }

    #[test]
    fn what_was_tried_is_told_whatever_the_order() {
        let named = |name| hook(name, HookState::Fallback, Some("belongs to another backend"));
        let tried = |name| hook(name, HookState::Used, None);
        let mut all = vec![];
        merge(&mut all, vec![tried("a"), named("b"), named("c")], true);
        merge(&mut all, vec![named("a"), tried("b"), named("c")], false);
        merge(&mut all, vec![named("a"), named("b"), tried("c")], false);
        let works = Some("works here; belongs to another backend than the one in use");
        let expected = vec![
            tried("a"),
            hook("b", HookState::Fallback, works),
            hook("c", HookState::Fallback, works),
        ];
        assert_eq!(all, expected);
    }
}
