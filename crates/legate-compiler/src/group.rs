//! Pass 4a, normalise: a group of Mappings becomes one row (spec/routing §§4.3–4.5, 4.8).
//!
//! The founder (the first valid member) gives the match and the place in the order; the others add
//! targets. Members that do not fit leave the group with a diagnostic on both sides; members with a
//! fault of their own keep their share and answer 500 for it.

mod build;
mod key;
mod merge;
mod mismatch;
mod shadow;

use std::sync::Arc;

use legate_config::policy::PolicySet;
use legate_config::route::Route;
use legate_config::{Code, Diagnostic, Effect, Entry, ObjectRef, PolicyKey, RouteKey};

use crate::attach::{Class, SetKey};
use crate::auth::AuthState;
use crate::codes;
use crate::labels::LabelContext;
use crate::lower::{HeaderInput, Lowered, Matching};
use crate::module::ModuleSettings;
use crate::options::Mode;
use crate::policy::PolicyCache;
use crate::rate_limit::RateLimitState;
use crate::resolve::{Resolved, Upstream};
use crate::weights::{Refusal, Shares, Weighted, shares};

pub(crate) use key::GroupKey;
pub(crate) use merge::{Merged, ModuleHeaders};

/// A Mapping as a member of a group: the version that is compiled, lowered and resolved.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) lowered: Arc<Lowered>,
    pub(crate) resolved: Resolved,
    /// Which Hosts' selectors its labels satisfy.
    pub(crate) class: Class,
}

impl Member {
    /// The fault that rejects it, if any.
    pub(crate) fn fault(&self) -> Option<&Code> {
        self.lowered.fault.as_ref().or(self.resolved.fault.as_ref())
    }

    /// What it matches.
    pub(crate) fn matching(&self) -> Option<&Matching> {
        self.lowered.matching.as_ref()
    }

    /// Whether its requests go unchecked.
    pub(crate) fn bypasses_auth(&self) -> bool {
        let spec = self.lowered.spec();
        spec.is_some_and(|spec| spec.bypass_auth == Some(true))
    }

    fn reference(&self) -> &ObjectRef {
        &self.lowered.origin.object
    }
}

/// What assembling depends on besides the members.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupContext<'a> {
    pub(crate) module: &'a ModuleSettings,
    /// The Module's header defaults, lowered.
    pub(crate) headers: &'a ModuleHeaders,
    /// What happens to requests before they go upstream.
    pub(crate) auth: &'a AuthState,
    /// Who is asked whether they are over a limit.
    pub(crate) rate_limit: &'a RateLimitState,
    /// What they are counted by.
    pub(crate) labels: &'a LabelContext,
    pub(crate) mode: Mode,
    pub(crate) policies: &'a PolicyCache,
}

/// What a group became.
#[derive(Debug, Default)]
pub(crate) struct Assembled {
    pub(crate) row: Option<Row>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// A row with everything it refers to.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) set: SetKey,
    pub(crate) key: RouteKey,
    pub(crate) route: Entry<Route>,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) policies: Vec<(PolicyKey, Entry<PolicySet>)>,
}

/// A header map merged over members; see [`HeaderInput`].
pub(crate) type Headers = HeaderInput;

/// Assembles a group. Members come in name order.
pub(crate) fn assemble(members: &[&Member], context: &GroupContext<'_>) -> Assembled {
    let mut diagnostics = Vec::new();
    diagnostics.extend(
        members
            .iter()
            .filter_map(|it| context.auth.unused_context(it)),
    );
    let (shadows, members): (Vec<&Member>, Vec<&Member>) =
        members.iter().partition(|member| member.lowered.shadow);
    let in_range = |member: &&&Member| {
        member.fault().is_some()
            || member.lowered.redirect.is_some()
            || member
                .lowered
                .weight
                .is_none_or(|weight| (0..=100).contains(&weight))
    };
    let (candidates, out_of_range): (Vec<&Member>, Vec<&Member>) =
        members.iter().partition(in_range);
    let founder = candidates
        .iter()
        .find(|member| member.fault().is_none())
        .or(candidates.first())
        .copied();
    let alone = founder.is_none();
    for member in &out_of_range {
        diagnostics.push(refused_weight(member, Refusal::OutOfRange, alone));
    }
    let Some(founder) = founder else {
        shadow::alone(&shadows, &mut diagnostics);
        let row = out_of_range
            .first()
            .map(|first| build::failing(first, &out_of_range, codes::E_MAP_WEIGHT.as_str()));
        return Assembled {
            row: row.flatten(),
            diagnostics,
        };
    };
    let staying = staying(founder, &candidates, &mut diagnostics);
    let row = match founder.fault() {
        Some(fault) => build::failing(founder, &staying, fault.as_str()),
        None if founder.lowered.redirect.is_some() => {
            shadow::of_a_redirect(founder, &shadows, &mut diagnostics);
            build::redirecting(founder, &staying)
        }
        None => routing(founder, &staying, &shadows, context, &mut diagnostics),
    };
    Assembled { row, diagnostics }
}

/// The members that do not leave the group for what they disagree on.
fn staying<'a>(
    founder: &'a Member,
    candidates: &[&'a Member],
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<&'a Member> {
    let redirects = founder.fault().is_none() && founder.lowered.redirect.is_some();
    let mut result = Vec::with_capacity(candidates.len());
    for &member in candidates {
        if std::ptr::eq(member, founder) {
            result.push(member);
        } else if member.fault().is_some() {
            if !redirects {
                result.push(member);
            }
        } else if let Some(mismatch) = mismatch::mismatch(founder, member) {
            both(
                founder,
                member,
                &mismatch.path,
                &mismatch.message,
                diagnostics,
            );
        } else if redirects || member.lowered.redirect.is_some() {
            let message = "a redirect cannot share its match with another Mapping";
            both(founder, member, "spec.host_redirect", message, diagnostics);
        } else {
            result.push(member);
        }
    }
    result
}

fn routing(
    founder: &Member,
    staying: &[&Member],
    shadows: &[&Member],
    context: &GroupContext<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Row> {
    let shadow = shadow::choose(founder, shadows, diagnostics);
    let shares = shares(&weighted(staying, context.mode));
    for &(index, refusal) in &shares.refused {
        // A weight that the schema refused was reported with it.
        if let Some(member) = staying.get(index).filter(|member| member.fault().is_none()) {
            diagnostics.push(refused_weight(member, refusal, false));
        }
    }
    about_shares(founder, staying, &shares, diagnostics);
    if shares.all_zero {
        return build::failing(founder, staying, codes::E_MAP_WEIGHT.as_str());
    }
    let merging: Vec<&Member> = staying
        .iter()
        .enumerate()
        .filter(|(index, member)| {
            member.fault().is_none() && !shares.refused.iter().any(|(gone, _)| gone == index)
        })
        .map(|(_, member)| *member)
        .collect();
    let mut merged = merge::merge(founder, &merging, context.headers, diagnostics);
    merged.labels = context.labels.effective(founder);
    for member in &merging {
        context.labels.unlimited(member, diagnostics);
    }
    let parts = build::Parts {
        members: staying,
        shares: &shares,
        merged: &merged,
        shadow: shadow.as_ref(),
    };
    build::forwarding(founder, &parts, context)
}

/// What the weights of a group give rise to, apart from refusals.
fn about_shares(
    founder: &Member,
    staying: &[&Member],
    shares: &Shares,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let diagnostic = if shares.all_zero {
        Diagnostic::new(
            codes::E_MAP_WEIGHT,
            founder.reference().clone(),
            "spec.weight",
            "all Mappings of this match have weight 0; requests are answered with 500",
        )
        .help("give one of them a weight, or leave its `weight` out")
        .effect(Effect::Answering(500))
    } else if shares.unserved > 0 {
        Diagnostic::new(
            codes::W_MAP_WEIGHT,
            founder.reference().clone(),
            "spec.weight",
            format!(
                "the weights of this match leave {} % to less specific Mappings, or to a 404",
                shares.unserved
            ),
        )
        .help("leave `weight` out where a Mapping is to take the rest")
    } else {
        return;
    };
    let others = staying
        .iter()
        .filter(|member| !std::ptr::eq(**member, founder));
    let related = others.fold(diagnostic, |diagnostic, member| {
        diagnostic.related(member.reference().clone(), "matches the same")
    });
    diagnostics.push(related);
}

/// Weights with ages. In a folder nothing has an age, and the names decide.
fn weighted(members: &[&Member], mode: Mode) -> Vec<Weighted> {
    let created = |member: &Member| match mode {
        Mode::Cluster => member.lowered.object.meta.creation_timestamp.clone(),
        Mode::Folder => None,
    };
    let mut by_age: Vec<usize> = (0..members.len()).collect();
    by_age.sort_by_key(|&index| (members.get(index).map(|member| created(member)), index));
    let mut ages = vec![0; members.len()];
    for (age, index) in by_age.into_iter().enumerate() {
        if let Some(slot) = ages.get_mut(index) {
            *slot = age;
        }
    }
    members
        .iter()
        .zip(ages)
        .map(|(member, age)| Weighted {
            weight: member.lowered.weight,
            age,
        })
        .collect()
}

fn refused_weight(member: &Member, refusal: Refusal, alone: bool) -> Diagnostic {
    let weight = member.lowered.weight.unwrap_or(0);
    let message = match refusal {
        Refusal::OutOfRange => format!("a weight is from 0 to 100, not {weight}"),
        Refusal::NoRoom => {
            "the weights of this match add up to more than 100; this Mapping gets no share"
                .to_owned()
        }
    };
    let effect = if alone {
        Effect::Answering(500)
    } else {
        Effect::Dropped
    };
    Diagnostic::new(
        codes::E_MAP_WEIGHT,
        member.reference().clone(),
        "spec.weight",
        message,
    )
    .effect(effect)
}

/// A reason why a member leaves the group, on both sides.
fn both(
    founder: &Member,
    member: &Member,
    path: &str,
    message: &str,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let on = |this: &Member, other: &Member, text: String, part: &str| {
        Diagnostic::new(codes::E_MAP_GROUP, this.reference().clone(), path, text)
            .related(other.reference().clone(), part)
    };
    diagnostics.push(
        on(
            member,
            founder,
            format!(
                "matches the same as Mapping {}, but {message}; it takes no part",
                founder.lowered.name
            ),
            "comes first and decides",
        )
        .help("make the two agree, or give them different matches or precedences")
        .effect(Effect::Dropped),
    );
    diagnostics.push(on(
        founder,
        member,
        format!(
            "Mapping {} matches the same, but {message}; it takes no part",
            member.lowered.name
        ),
        "takes no part",
    ));
}
