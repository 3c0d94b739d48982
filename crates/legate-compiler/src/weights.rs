//! Shares of a weighted group (spec/routing §4.5).

/// One member of a group, as far as weights go. Members come in name order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weighted {
    /// The weight as written.
    pub(crate) weight: Option<i64>,
    /// Place by age, oldest first; decides who is refused when there is too much weight.
    pub(crate) age: usize,
}

/// Why a member gets no share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The weight is below 0 or above 100.
    OutOfRange,
    /// It no longer fits beside the older ones.
    NoRoom,
}

/// How a group's requests are shared out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Shares {
    /// Member index and share in percent, in drawing order: weighted ones, then the others.
    pub(crate) order: Vec<(usize, u32)>,
    /// Members that leave the group, in name order.
    pub(crate) refused: Vec<(usize, Refusal)>,
    /// Whether there are several members and none of them has a share.
    pub(crate) all_zero: bool,
    /// Percentage of requests that this group lets pass on to less specific routes.
    pub(crate) unserved: u32,
}

/// Shares the requests of a group out.
pub(crate) fn shares(members: &[Weighted]) -> Shares {
    let mut result = Shares::default();
    let mut weighted: Vec<(usize, u32, usize)> = Vec::new();
    let mut weightless = Vec::new();
    for (index, member) in members.iter().enumerate() {
        match member.weight {
            None => weightless.push(index),
            Some(weight @ 0..=100) => {
                let weight = u32::try_from(weight).unwrap_or(0);
                weighted.push((index, weight, member.age));
            }
            Some(_) => result.refused.push((index, Refusal::OutOfRange)),
        }
    }
    if weighted.iter().map(|&(_, weight, _)| weight).sum::<u32>() > 100 {
        refuse_younger(&mut weighted, &mut result.refused);
    }
    match (weighted.as_slice(), weightless.as_slice()) {
        ([], []) => return result,
        ([(only, ..)], []) | ([], [only]) => {
            result.order.push((*only, 100));
            return result;
        }
        _ => {}
    }
    let sum: u32 = weighted.iter().map(|&(_, weight, _)| weight).sum();
    let rest = 100u32.saturating_sub(sum);
    result
        .order
        .extend(weighted.iter().map(|&(index, weight, _)| (index, weight)));
    if weightless.is_empty() {
        result.unserved = rest;
        result.all_zero = sum == 0;
    } else {
        share_rest(rest, &weightless, &mut result.order);
    }
    result
}

/// Keeps the oldest members up to the first that does not fit, and gives the oldest what is missing
/// to 100.
fn refuse_younger(weighted: &mut Vec<(usize, u32, usize)>, refused: &mut Vec<(usize, Refusal)>) {
    let mut by_age = weighted.clone();
    by_age.sort_by_key(|&(index, _, age)| (age, index));
    let mut total = 0u32;
    let mut keep = by_age.len();
    for (place, &(_, weight, _)) in by_age.iter().enumerate() {
        total = total.saturating_add(weight);
        if total > 100 {
            total = total.saturating_sub(weight);
            keep = place;
            break;
        }
    }
    let gone = by_age.split_off(keep.min(by_age.len()));
    refused.extend(gone.iter().map(|&(index, ..)| (index, Refusal::NoRoom)));
    refused.sort_unstable_by_key(|&(index, _)| index);
    weighted.retain(|&(index, ..)| !gone.iter().any(|&(other, ..)| other == index));
    let oldest = by_age.first().map(|&(index, ..)| index);
    for (index, weight, _) in weighted {
        if Some(*index) == oldest {
            *weight += 100u32.saturating_sub(total);
        }
    }
}

/// `round(rest / n)` each, half to even; the last takes the remainder. Running totals stay below
/// 100, so rounding up never hands out more than there is.
fn share_rest(rest: u32, weightless: &[usize], order: &mut Vec<(usize, u32)>) {
    let count = u32::try_from(weightless.len()).unwrap_or(u32::MAX).max(1);
    let (quotient, remainder) = (rest / count, rest % count);
    let each = match remainder.saturating_mul(2).cmp(&count) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Greater => quotient + 1,
        std::cmp::Ordering::Equal => quotient + quotient % 2,
    };
    let mut left = rest;
    for (place, index) in weightless.iter().enumerate() {
        let share = if place + 1 == weightless.len() {
            left
        } else {
            each.min(left)
        };
        left -= share;
        order.push((*index, share));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(weights: &[Option<i64>]) -> Shares {
        let members: Vec<Weighted> = weights
            .iter()
            .enumerate()
            .map(|(age, &weight)| Weighted { weight, age })
            .collect();
        shares(&members)
    }

    #[test]
    fn cw_01_02_09_weightless_members_share_the_rest() {
        assert_eq!(run(&[None, Some(10)]).order, [(1, 10), (0, 90)]);
        assert_eq!(
            run(&[Some(10), Some(20), None, None]).order,
            [(0, 10), (1, 20), (2, 35), (3, 35)]
        );
        assert_eq!(run(&[None, None, None]).order, [(0, 33), (1, 33), (2, 34)]);
        assert_eq!(
            run(&[Some(75), None, None]).order,
            [(0, 75), (1, 12), (2, 13)],
            "half to even"
        );
        assert_eq!(
            run(&[Some(97), None, None, None, None, None])
                .order
                .iter()
                .map(|s| s.1)
                .sum::<u32>(),
            100
        );
    }

    #[test]
    fn cw_03_04_05_single_and_zero() {
        assert_eq!(run(&[Some(0)]).order, [(0, 100)]);
        assert_eq!(run(&[None, Some(0)]).order, [(1, 0), (0, 100)]);
        assert_eq!(run(&[Some(100), None]).order, [(0, 100), (1, 0)]);
        assert!(run(&[Some(0), Some(0)]).all_zero);
        assert!(!run(&[Some(0), None]).all_zero);
    }

    #[test]
    fn cw_06_a_missing_share_is_unserved() {
        let shares = run(&[Some(30), Some(30)]);
        assert_eq!(shares.order, [(0, 30), (1, 30)]);
        assert_eq!(shares.unserved, 40);
    }

    #[test]
    fn cw_07_08_too_much_weight_is_refused() {
        let shares = run(&[Some(60), Some(60)]);
        assert_eq!(shares.order, [(0, 100)]);
        assert_eq!(shares.refused, [(1, Refusal::NoRoom)]);
        let shares = run(&[Some(60), Some(60), Some(20)]);
        assert_eq!(shares.order, [(0, 100)]);
        assert_eq!(shares.refused.len(), 2);
        let shares = run(&[Some(50), Some(40), Some(20), None]);
        assert_eq!(shares.order, [(0, 60), (1, 40), (3, 0)]);
        let shares = run(&[Some(150), Some(10)]);
        assert_eq!(shares.order, [(1, 100)]);
        assert_eq!(shares.refused, [(0, Refusal::OutOfRange)]);
        assert_eq!(run(&[Some(-1)]).refused, [(0, Refusal::OutOfRange)]);
    }

    #[test]
    fn the_oldest_is_kept_whatever_its_name() {
        let shares = shares(&[
            Weighted {
                weight: Some(60),
                age: 1,
            },
            Weighted {
                weight: Some(70),
                age: 0,
            },
        ]);
        assert_eq!(shares.order, [(1, 100)]);
        assert_eq!(shares.refused, [(0, Refusal::NoRoom)]);
    }
}
