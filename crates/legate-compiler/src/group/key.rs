//! Which Mappings are canaries of one another (spec/routing §4.3).

use crate::attach::Class;
use crate::lower::Matching;
use crate::rank::Condition;

/// Mappings with equal keys form a group. Compared structurally: no combination of texts collides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKey {
    prefix: String,
    precedence: i64,
    /// Header conditions without their regex flags, host and method included.
    headers: Vec<(String, String)>,
    query: Vec<(String, String)>,
    /// Without a host: the selectors by which Hosts pick the Mapping.
    class: Option<Class>,
}

impl GroupKey {
    pub(crate) fn new(matching: &Matching, class: &Class) -> Self {
        Self {
            prefix: matching.prefix.clone(),
            precedence: matching.precedence,
            headers: pairs(&matching.header_conditions),
            query: pairs(&matching.query_conditions),
            class: matching.host.is_none().then(|| class.clone()),
        }
    }
}

fn pairs(conditions: &[Condition]) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = conditions
        .iter()
        .map(|condition| (condition.name.clone(), condition.value.clone()))
        .collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}
