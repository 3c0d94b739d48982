//! Shadows of a group: members that get copies and never answer (spec/routing §4.18).

use std::sync::Arc;

use legate_config::{Diagnostic, Effect};

use super::{Member, both, mismatch, refused_weight};
use crate::codes;
use crate::resolve::Upstream;
use crate::weights::Refusal;

/// The shadow of a group.
pub(super) struct Shadow<'a> {
    pub(super) member: &'a Member,
    pub(super) upstream: &'a Arc<Upstream>,
    /// Percentage of requests copied.
    pub(super) percent: u32,
}

/// The first shadow that fits; the others are told why they do not. One with a fault of its own is
/// none.
pub(super) fn choose<'a>(
    founder: &Member,
    shadows: &[&'a Member],
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Shadow<'a>> {
    let mut chosen: Option<Shadow<'a>> = None;
    for &member in shadows {
        let Some(upstream) = member
            .resolved
            .upstream
            .as_ref()
            .filter(|_| member.fault().is_none())
        else {
            continue;
        };
        let weight = member.lowered.weight.unwrap_or(100);
        let percent = u32::try_from(weight).ok().filter(|weight| *weight <= 100);
        if let Some(chosen) = &chosen {
            let message = "a match has one shadow at most";
            both(chosen.member, member, "spec.shadow", message, diagnostics);
        } else if let Some(mismatch) = mismatch::mismatch(founder, member) {
            both(
                founder,
                member,
                &mismatch.path,
                &mismatch.message,
                diagnostics,
            );
        } else if let Some(percent) = percent {
            chosen = Some(Shadow {
                member,
                upstream,
                percent,
            });
        } else {
            diagnostics.push(refused_weight(member, Refusal::OutOfRange, false));
        }
    }
    chosen
}

/// Shadows of nobody: without a Mapping that answers there is no route.
pub(super) fn alone(shadows: &[&Member], diagnostics: &mut Vec<Diagnostic>) {
    for member in shadows.iter().filter(|member| member.fault().is_none()) {
        diagnostics.push(
            Diagnostic::new(
                codes::E_MAP_GROUP,
                member.reference().clone(),
                "spec.shadow",
                "no other Mapping of the same match answers, so there is nothing to copy, and no \
                 route",
            )
            .help("add a Mapping of the same match without `shadow`")
            .effect(Effect::Dropped),
        );
    }
}

/// Shadows of a redirect, which sends nothing that could be copied.
pub(super) fn of_a_redirect(
    founder: &Member,
    shadows: &[&Member],
    diagnostics: &mut Vec<Diagnostic>,
) {
    for member in shadows.iter().filter(|member| member.fault().is_none()) {
        let message = "a redirect sends nothing that could be copied";
        both(founder, member, "spec.shadow", message, diagnostics);
    }
}
