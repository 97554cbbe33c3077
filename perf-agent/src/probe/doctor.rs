//! What this kernel and these privileges allow: every backend is loaded and attached for a moment.

use super::filters::Marks;
use super::load::{Machine, Refusal, attach, refuse_hooks};
use crate::config::CaptureSettings;
use crate::source::{Backend, BackendReport, HookReport, HookState, Report, SourceError};

/// Tries every backend. The report says what `run` would use with these settings.
///
/// # Errors
/// [`SourceError`] if nothing can be tried at all: no BTF, no privilege, no programs in this binary.
pub fn doctor(settings: &CaptureSettings) -> Result<Report, SourceError> {
    let machine = Machine::ask()?;
    let marks = Marks::resolve(settings)?;
    // Small maps: nothing is observed, and memory for it would only be taken and given back.
    let trial = CaptureSettings {
        ring_bytes: 1 << 16,
        max_connections: 64,
        ..settings.clone()
    };
    let mut report = Report {
        kernel: machine.kernel.clone(),
        backend: None,
        backends: vec![],
        hooks: vec![],
        blind_spots: vec![],
    };
    for backend in Backend::ALL {
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
                    (
                        HookState::Fallback,
                        Some("works here; another one costs less".to_owned()),
                    )
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
    Ok(report)
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
