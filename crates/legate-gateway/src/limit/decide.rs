//! What becomes of a request that some rules apply to: all of them are asked, and charged only if
//! none that enforces refuses (spec/services §2.7.4).

use std::sync::Arc;

use legate_config::Hash128;
use smallvec::SmallVec;

use super::rules::{Ask, Domain, Place, Rule};
use super::store::{Charge, Key, Shape, Store};
use super::{Limiter, Overdrawn};
use crate::request::DescriptorEntry;

/// The rules that apply to a request. Few have more than these.
pub(crate) type Hits<'a> = SmallVec<[Hit<'a>; 2]>;

/// A rule that applies to a request, with the cell that counts it.
#[derive(Debug, Clone)]
pub(crate) struct Hit<'a> {
    /// The domain.
    pub(crate) domain: &'a Domain,
    /// The rule.
    pub(crate) rule: &'a Arc<Rule>,
    /// The cell in this process.
    pub(crate) key: Key,
    /// The cell in a store; `None` where it is counted here.
    pub(crate) digest: Option<Hash128>,
    /// What came of it.
    pub(crate) verdict: Verdict,
}

/// What a rule says about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet, or nothing at all.
    None,
    /// It may pass, with this debt, in nanoseconds.
    Fits(u64),
    /// It may not, before this time has passed; `None` = never.
    Over(Option<u64>),
}

/// Puts the rules of a domain that apply to a descriptor to the others.
pub(crate) fn collect<'a>(
    limiter: &Limiter,
    domain: &'a Domain,
    descriptor: &[DescriptorEntry<'_>],
    hits: &mut Hits<'a>,
) {
    for rule in domain.matching(descriptor) {
        let key = limiter.keys.key(rule.cell(descriptor));
        // Two groups may give the same descriptor; one request is one hit.
        if hits.iter().any(|hit| hit.key == key) {
            continue;
        }
        let digest = match rule.place {
            Place::Store(_) if rule.shape(1).is_some() => Some(rule.digest(descriptor)),
            _ => None,
        };
        hits.push(Hit {
            domain,
            rule,
            key,
            digest,
            verdict: Verdict::None,
        });
    }
}

/// Drops the rules that others replace.
pub(crate) fn replace(hits: &mut Hits<'_>) {
    if hits.iter().all(|hit| hit.rule.config.replaces.is_empty()) {
        return;
    }
    let replaced = |hit: &Hit<'_>, by: &Hit<'_>| {
        let name = &hit.rule.config.name;
        let names = &by.rule.config.replaces;
        by.rule.domain == hit.rule.domain && !name.is_empty() && names.contains(name)
    };
    let keep: SmallVec<[bool; 8]> = hits
        .iter()
        .map(|hit| !hits.iter().any(|by| replaced(hit, by)))
        .collect();
    let mut keep = keep.into_iter();
    hits.retain(|_| keep.next().unwrap_or(true));
}

/// Decides about the hits that are counted here, and charges them. `here` says which those are.
///
/// Whether the request may pass, as far as these are concerned.
pub(crate) fn decide(
    limiter: &Limiter,
    hits: &mut Hits<'_>,
    now: u64,
    here: impl Fn(&Hit<'_>) -> Option<u32>,
) -> bool {
    let store = limiter.store();
    let mut enforcing = 0_usize;
    let mut refused = false;
    for hit in hits.iter_mut() {
        let Some(gateways) = here(hit) else { continue };
        if hit.rule.ask == Ask::Never {
            hit.verdict = Verdict::Over(None);
            refused |= hit.rule.enforces();
            continue;
        }
        let Some(shape) = hit.rule.shape(gateways) else {
            continue;
        };
        if hit.rule.enforces() {
            enforcing += 1;
        } else {
            hit.verdict = store.charge(hit.key, shape, now).into();
        }
    }
    let alone = enforcing == 1 && !refused;
    let counted = |hit: &Hit<'_>| -> Option<Shape> {
        let gateways = here(hit).filter(|_| hit.rule.enforces())?;
        hit.rule.shape(gateways)
    };
    // A look first: what was charged and taken back would be missed by others in between.
    for hit in hits.iter_mut() {
        let Some(shape) = counted(hit) else { continue };
        hit.verdict = if alone {
            store.charge(hit.key, shape, now).into()
        } else {
            store.look(hit.key, shape, now).into()
        };
        refused |= hit.verdict.is_over();
    }
    if alone || refused {
        return !refused;
    }
    charge_all(store, hits, now, counted)
}

/// Charges all, or none.
fn charge_all(
    store: &Store,
    hits: &mut Hits<'_>,
    now: u64,
    counted: impl Fn(&Hit<'_>) -> Option<Shape>,
) -> bool {
    let mut failed = None;
    for (index, hit) in hits.iter_mut().enumerate() {
        let Some(shape) = counted(hit) else { continue };
        hit.verdict = store.charge(hit.key, shape, now).into();
        if hit.verdict.is_over() {
            failed = Some(index);
            break;
        }
    }
    let Some(failed) = failed else {
        return true;
    };
    // Another request took the last of it meanwhile.
    for hit in hits.iter().take(failed) {
        if let Some(shape) = counted(hit) {
            store.refund(hit.key, shape, now);
        }
    }
    false
}

/// Takes back what [`decide`] charged to rules that enforce, because somebody else refused.
pub(crate) fn refund(
    limiter: &Limiter,
    hits: &Hits<'_>,
    now: u64,
    here: impl Fn(&Hit<'_>) -> Option<u32>,
) {
    for hit in hits {
        if hit.rule.enforces()
            && matches!(hit.verdict, Verdict::Fits(_))
            && let Some(shape) = here(hit).and_then(|gateways| hit.rule.shape(gateways))
        {
            limiter.store().refund(hit.key, shape, now);
        }
    }
}

/// Counts the decisions, and says what the client is to be told if it is refused.
pub(crate) fn conclude(hits: &Hits<'_>, admitted: bool) -> Option<Overdrawn> {
    let mut overdrawn = Overdrawn::default();
    for hit in hits {
        let shadow = !hit.rule.enforces();
        match hit.verdict {
            Verdict::None => {}
            Verdict::Fits(_) if admitted || shadow => hit.rule.tally.count(false, shadow),
            Verdict::Fits(_) => {}
            Verdict::Over(wait) => {
                hit.rule.tally.count(true, shadow);
                if !shadow {
                    overdrawn.add(wait, hit.domain.grpc_resource_exhausted);
                }
            }
        }
    }
    (!admitted).then_some(overdrawn)
}

// === impl Verdict ===

impl Verdict {
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Over(_))
    }
}

impl From<Charge> for Verdict {
    fn from(charge: Charge) -> Self {
        match charge {
            Charge::Fits(debt) => Self::Fits(debt),
            Charge::Over(wait) => Self::Over(Some(wait)),
        }
    }
}

#[cfg(test)]
mod tests;
