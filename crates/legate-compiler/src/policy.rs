//! Policy bundles: the effective settings of one target (spec/routing §§4.4, 4.7, 4.9–4.15).

use std::cell::RefCell;
use std::sync::Arc;

use legate_config::ClusterKey;
use legate_config::policy::{PathRewrite, PolicySet};
use legate_config::{Entry, PolicyKey};

use crate::auth::AuthState;
use crate::group::{GroupContext, Member, Merged};
use crate::lower::{Matching, PathKind};
use crate::rate_limit::RateLimitState;
use crate::resolve::Upstream;

const IDLE_TIMEOUT_MS: u64 = 300_000;

/// The policies of a member. `matching` is the founder's: that is what the path was matched with.
pub(crate) fn policy(
    matching: &Matching,
    member: &Member,
    merged: &Merged,
    upstream: &Upstream,
    context: &GroupContext<'_>,
) -> (PolicyKey, Entry<PolicySet>) {
    let changes = &member.lowered.changes;
    let spec = member.lowered.spec();
    let linkerd = spec
        .and_then(|spec| spec.add_linkerd_headers)
        .unwrap_or(context.module.add_linkerd_headers);
    let policy = PolicySet {
        request_headers: merged.request.clone(),
        response_headers: merged.response.clone(),
        rewrite: rewrite(matching, member),
        host: changes.host.clone(),
        timeout_ms: changes
            .timeout_ms
            .unwrap_or(context.module.cluster_request_timeout_ms),
        idle_timeout_ms: changes.idle_timeout_ms.unwrap_or(IDLE_TIMEOUT_MS),
        upgrades: merged.upgrades.clone(),
        cors: merged.cors.clone(),
        linkerd_dst: linkerd.then(|| upstream.linkerd.clone()),
        auth: match context.auth {
            AuthState::Guarded { auth, .. } if !member.bypasses_auth() => Some(Arc::clone(auth)),
            _ => None,
        },
        auth_bypassed: bypassed(member, context.auth),
        auth_context: auth_context(member, context.auth),
        labels: merged.labels.clone(),
        rate_limit: match (context.rate_limit, &merged.labels) {
            // Without labels of its domain there is nothing to ask about.
            (RateLimitState::Asked { limit, .. }, Some(labels))
                if labels.domains.contains_key(&limit.domain) =>
            {
                Some(Arc::clone(limit))
            }
            _ => None,
        },
        priority: merged.priority,
        retry: merged.retry.unwrap_or(context.module.retry),
        hash: merged
            .balance
            .as_ref()
            .or(context.module.balance.as_ref())
            .and_then(|balance| balance.hash.clone()),
    };
    context.policies.intern(policy)
}

/// Whom a check would ask, did the Mapping not bypass it.
fn bypassed(member: &Member, auth: &AuthState) -> Option<ClusterKey> {
    match auth {
        AuthState::Guarded { upstreams, .. } if member.bypasses_auth() => {
            Some(upstreams.first()?.key.clone())
        }
        _ => None,
    }
}

/// What a check over gRPC is told about the route.
fn auth_context(member: &Member, auth: &AuthState) -> Vec<(String, String)> {
    if member.bypasses_auth() || !auth.is_grpc() {
        return Vec::new();
    }
    let spec = member.lowered.spec();
    let written = spec.and_then(|spec| spec.auth_context_extensions.as_ref());
    written
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Bundles made in this run: most Mappings share a few, which are then hashed once.
#[derive(Debug, Default)]
pub(crate) struct PolicyCache {
    recent: RefCell<Vec<(PolicyKey, Entry<PolicySet>)>>,
}

/// More than a few are not looked through: hashing is faster then.
const MAX_RECENT: usize = 32;

impl PolicyCache {
    fn intern(&self, policy: PolicySet) -> (PolicyKey, Entry<PolicySet>) {
        let mut recent = self.recent.borrow_mut();
        if let Some((key, entry)) = recent.iter().find(|(_, entry)| *entry.value == policy) {
            return (key.clone(), entry.clone());
        }
        let entry = Entry::new(policy, Vec::new());
        let key = PolicyKey::from(entry.hash.to_string());
        if recent.len() < MAX_RECENT {
            recent.push((key.clone(), entry.clone()));
        }
        (key, entry)
    }
}

fn rewrite(matching: &Matching, member: &Member) -> PathRewrite {
    if let Some(replace) = &member.lowered.changes.regex_rewrite {
        return PathRewrite::Regex(replace.clone());
    }
    let with = member
        .lowered
        .spec()
        .and_then(|spec| spec.rewrite.as_deref())
        .unwrap_or("/");
    match &matching.path {
        _ if with.is_empty() => PathRewrite::Keep,
        PathKind::Prefix => PathRewrite::Prefix {
            matched: matching.prefix.len(),
            with: with.to_owned(),
        },
        PathKind::Exact | PathKind::Regex(_) => PathRewrite::Full(with.to_owned()),
    }
}
