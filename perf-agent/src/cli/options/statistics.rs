//! What the statistics keep.

use std::ops::RangeInclusive;

use clap::Args;

use super::{Faults, Meant};
use crate::aggregate::ErrorRule;
use crate::config::CoreSettings;
use crate::config::scalar::Scalar;
use crate::config::sections::{CustomMetrics, Errors, File, RequestsSection};
use crate::endpoint::{RouteError, Routes};
use crate::request_log::{RequestLogSettings, Wanted};
use crate::statsd::StatsdSettings;

/// What the statistics keep.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Statistics")]
pub struct CoreOptions {
    /// Endpoints kept apart; what exceeds them is counted in (other), with sums still right. [default: 1000]
    #[arg(long, value_name = "N")]
    max_endpoints: Option<String>,
    /// Newest exchanges kept for /api/v1/requests, about 500 bytes each; 0 for none. [default: 1000]
    #[arg(long, value_name = "N")]
    request_log: Option<String>,
    /// A route of yours, with {name} for what varies: --route '/users/{name}/orders'. Wins over what is learnt.
    #[arg(long, value_name = "PATTERN")]
    route: Vec<String>,
}

impl CoreOptions {
    /// What is meant.
    pub fn settings(&self, file: &File, max_connections: u32, faults: &mut Faults) -> CoreSettings {
        let typed = self.route.iter().map(|route| ("--route", route));
        let written = file.routes.patterns.iter().map(|route| ("routes.patterns", route));
        let routes: Vec<(&str, &String)> = typed.chain(written).collect();
        let (whole, odd): (Vec<_>, Vec<_>) = routes.iter().partition(|(_, route)| route.starts_with('/'));
        for (name, route) in odd {
            faults.add(format!("{name} {route}: must begin with /"));
        }
        let patterns: Vec<String> = whole.iter().map(|(_, route)| (*route).clone()).collect();
        if let Err(RouteError::Pattern { pattern, source }) = Routes::new(&patterns, 1) {
            let name = whole
                .iter()
                .find(|(_, route)| **route == pattern)
                .map_or("--route", |(name, _)| name);
            let example = "a pattern is literal segments and {name} for whole ones, as in /users/{id}/orders";
            faults.add(format!("{name} {pattern}: {source} ({example})"));
        }
        let max_endpoints = Meant::of(
            ("--max-endpoints", self.max_endpoints.as_ref()),
            ("limits.max_endpoints", file.limits.max_endpoints.as_ref()),
            "1000",
        );
        let request_log = Meant::of(
            ("--request-log", self.request_log.as_ref()),
            ("requests.log", file.requests.log.as_ref()),
            "1000",
        );
        let max_endpoints = faults.take(max_endpoints.number(1, 100_000));
        let request_log = faults.take(request_log.number(0, 100_000));
        CoreSettings {
            max_endpoints: max_endpoints.unwrap_or_default() as usize,
            max_connections: max_connections as usize,
            request_log: request_log.unwrap_or_default() as usize,
            routes: patterns,
            errors: error_rule(&file.errors, faults),
            requests: requests(&file.requests, faults),
        }
    }
}

/// What is read of single requests.
fn requests(section: &RequestsSection, faults: &mut Faults) -> RequestLogSettings {
    let settings = RequestLogSettings {
        user_header: section.user_header.clone().filter(|name| !name.is_empty()),
        headers: section.headers.clone(),
        trusted_proxies: section.trusted_proxies.clone(),
        query_values: section.query_values.clone(),
    };
    let checked = Wanted::new(&settings).map_err(|error| format!("requests: {error}"));
    faults.take(checked);
    settings
}

/// Where StatsD datagrams are taken.
pub(in crate::cli) fn statsd(section: &CustomMetrics, faults: &mut Faults) -> StatsdSettings {
    let address = section.statsd_address.as_deref().filter(|text| !text.is_empty());
    let udp = address.and_then(|text| {
        let read = text.parse().map_err(|_no_address| {
            format!("custom_metrics.statsd_address {text}: expected ADDR:PORT, such as 127.0.0.1:8125")
        });
        faults.take(read)
    });
    let settings = StatsdSettings {
        udp,
        unix: section
            .statsd_socket
            .clone()
            .filter(|path| !path.as_os_str().is_empty()),
        other_hosts: section.statsd_anywhere.unwrap_or(false),
    };
    if let Some(address) = settings
        .udp
        .filter(|udp| !settings.other_hosts && !udp.ip().to_canonical().is_loopback())
    {
        faults.add(format!(
            "custom_metrics.statsd_address {address}: everybody who reaches it could report; say \
             custom_metrics.statsd_anywhere = true as well, or take a loopback address"
        ));
    }
    settings
}

fn error_rule(section: &Errors, faults: &mut Faults) -> ErrorRule {
    let mut range = |key: &str, written: Option<&Scalar>, usual: RangeInclusive<u16>| {
        let Some(written) = written else { return usual };
        let range = written.0.split_once('-').and_then(|(first, last)| {
            let number = |text: &str| text.trim().parse().ok().filter(|status| (100..=599).contains(status));
            Some(number(first)?..=number(last)?)
        });
        let fault = || format!("{key} {}: expected a range of statuses, such as 500-599", written.0);
        faults
            .take(range.filter(|range| !range.is_empty()).ok_or_else(fault))
            .unwrap_or(usual)
    };
    let usual = ErrorRule::default();
    let errors = range("errors.statuses", section.statuses.as_ref(), usual.errors);
    ErrorRule {
        client_errors: range(
            "errors.client_statuses",
            section.client_statuses.as_ref(),
            usual.client_errors,
        ),
        errors,
        client_aborted: section.client_aborted.unwrap_or(usual.client_aborted),
    }
}
