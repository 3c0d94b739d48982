//! Builds the row of a group.

use std::sync::Arc;

use legate_config::route::{
    Action, Destination, Fail, Mirror, Redirect, RedirectPath, Route, RouteMatch, Split, Target,
};
use legate_config::snapshot::Origin;
use legate_config::{Entry, RouteKey};

use super::merge::{self, Merged};
use super::shadow::Shadow;
use super::{GroupContext, Member, Row};
use crate::attach::{SetKey, escape};
use crate::auth::AuthState;
use crate::codes;
use crate::lower::{Matching, PathInput, PathKind};
use crate::policy;
use crate::rank::{RankInput, rank};
use crate::rate_limit::RateLimitState;
use crate::weights::Shares;

/// A row that answers 500 for the whole group.
pub(super) fn failing(founder: &Member, members: &[&Member], reason: &str) -> Option<Row> {
    let action = Action::Fail(Fail {
        status: 500,
        reason: reason.to_owned(),
    });
    row(founder, members, None, action)
}

/// A row that redirects.
pub(super) fn redirecting(founder: &Member, members: &[&Member]) -> Option<Row> {
    let matching = founder.matching()?;
    let input = founder.lowered.redirect.as_ref()?;
    let path = match &input.path {
        PathInput::Keep => RedirectPath::Keep,
        PathInput::Full(path) => RedirectPath::Full(path.clone()),
        PathInput::Prefix(with) => match &matching.path {
            PathKind::Regex(_) => RedirectPath::Full(with.clone()),
            PathKind::Prefix | PathKind::Exact => RedirectPath::Prefix {
                matched: matching.prefix.len(),
                with: with.clone(),
            },
        },
        PathInput::Regex(replace) => RedirectPath::Regex(replace.clone()),
    };
    let action = Action::Redirect(Redirect {
        scheme: input.scheme.map(str::to_owned),
        host: Some(input.authority.clone()),
        path,
        status: input.status,
    });
    row(founder, members, None, action)
}

/// What a forwarding row is made of, besides its founder.
pub(super) struct Parts<'a> {
    pub(super) members: &'a [&'a Member],
    pub(super) shares: &'a Shares,
    pub(super) merged: &'a Merged,
    pub(super) shadow: Option<&'a Shadow<'a>>,
}

/// A row that forwards to the members by their shares.
pub(super) fn forwarding(
    founder: &Member,
    parts: &Parts<'_>,
    context: &GroupContext<'_>,
) -> Option<Row> {
    let &Parts {
        members,
        shares,
        merged,
        shadow,
    } = parts;
    let matching = founder.matching()?;
    let mut targets = Vec::with_capacity(shares.order.len());
    let mut upstreams = Vec::new();
    let mut policies = Vec::new();
    for &(index, weight) in &shares.order {
        let Some(member) = members.get(index) else {
            continue;
        };
        let to = match (failure(member), &member.resolved.upstream) {
            (Some(fail), _) => Destination::Fail(fail),
            (None, None) => Destination::Fail(Fail {
                status: 500,
                reason: codes::E_MAP_SERVICE.as_str().to_owned(),
            }),
            (None, Some(upstream)) => {
                let (key, entry) = policy::policy(matching, member, merged, upstream, context);
                upstreams.push(Arc::clone(upstream));
                if let (
                    Some(_),
                    AuthState::Guarded {
                        upstreams: asked, ..
                    },
                ) = (&entry.value.auth, context.auth)
                {
                    upstreams.extend(asked.iter().cloned());
                }
                if let (Some(_), RateLimitState::Asked { upstream, .. }) =
                    (&entry.value.rate_limit, context.rate_limit)
                {
                    upstreams.push(Arc::clone(upstream));
                }
                policies.push((key.clone(), entry));
                Destination::Cluster {
                    cluster: upstream.key.clone(),
                    policies: key,
                }
            }
        };
        targets.push(Target {
            name: member.lowered.name.clone(),
            weight,
            to,
        });
    }
    let action = match targets.as_slice() {
        [
            Target {
                to: Destination::Fail(fail),
                ..
            },
        ] => Action::Fail(fail.clone()),
        _ => Action::Forward(Split {
            targets,
            of: 100,
            mirror: shadow.map(|shadow| Mirror {
                name: shadow.member.lowered.name.clone(),
                percent: shadow.percent,
                cluster: shadow.upstream.key.clone(),
            }),
        }),
    };
    let present: Vec<&Member> = shares
        .order
        .iter()
        .filter_map(|(index, _)| members.get(*index).copied())
        .collect();
    let shadow = shadow.filter(|_| matches!(action, Action::Forward(_)));
    upstreams.extend(shadow.map(|shadow| Arc::clone(shadow.upstream)));
    let shadow = shadow.map(|shadow| shadow.member);
    let mut row = row(founder, &present, shadow, action)?;
    row.upstreams = upstreams;
    row.policies = policies;
    Some(row)
}

/// The failure that stands in a member's place.
fn failure(member: &Member) -> Option<Fail> {
    member.fault().map(|fault| Fail {
        status: 500,
        reason: fault.as_str().to_owned(),
    })
}

fn row(
    founder: &Member,
    members: &[&Member],
    shadow: Option<&Member>,
    action: Action,
) -> Option<Row> {
    let matching = founder.matching()?;
    let set = SetKey::new(matching.host.as_ref(), &founder.class);
    let set_key = set.to_key();
    let object = founder.reference();
    let key = RouteKey::from(format!(
        "{set_key}/{}/{}",
        escape(&object.namespace),
        escape(&object.name)
    ));
    let route = Route {
        set: set_key,
        name: founder.lowered.name.clone(),
        rank: rank(&RankInput {
            precedence: matching.precedence,
            prefix: &matching.prefix,
            method: matching.method_text.as_deref(),
            headers: &matching.header_conditions,
            query: &matching.query_conditions,
            name: &object.name,
            namespace: &object.namespace,
        }),
        matches: conditions(founder, matching, members),
        always_routed: matching.always_routed(),
        action,
    };
    let origins: Vec<Origin> = members
        .iter()
        .copied()
        .chain(shadow)
        .map(|member| member.lowered.origin.clone())
        .collect();
    Some(Row {
        set,
        key,
        route: Entry::new(route, origins),
        upstreams: Vec::new(),
        policies: Vec::new(),
    })
}

fn conditions(founder: &Member, matching: &Matching, members: &[&Member]) -> RouteMatch {
    RouteMatch {
        path: matching.path_match(merge::case_sensitive(founder, members)),
        method: matching.method.clone(),
        headers: matching.headers.clone(),
        query: matching.query.clone(),
    }
}
