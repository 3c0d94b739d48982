//! Label selectors: `matchLabels` and `matchExpressions`.

use std::collections::BTreeMap;
use std::fmt;

use legate_api::{LabelSelector, LabelSelectorRequirement, SelectorOperator};

/// A label selector with at least one requirement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Selector {
    labels: BTreeMap<String, String>,
    expressions: Vec<Expression>,
}

/// One entry of `matchExpressions`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Expression {
    key: String,
    operator: Operator,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    /// Written without an operator, or with one that nobody knows: it holds for nothing.
    Never,
}

impl Selector {
    /// Reads a selector; `None` when it asks for nothing (`{}` means absent, spec/routing §1.1).
    pub(crate) fn of(written: &LabelSelector) -> Option<Self> {
        let labels = written.match_labels.clone().unwrap_or_default();
        let mut expressions: Vec<Expression> = written
            .match_expressions
            .iter()
            .flatten()
            .map(expression)
            .collect();
        expressions.sort();
        expressions.dedup();
        (!labels.is_empty() || !expressions.is_empty()).then_some(Self {
            labels,
            expressions,
        })
    }

    /// Whether the labels satisfy it. `strict`: every entry of `matchLabels` must hold; otherwise
    /// one is enough (`DISABLE_STRICT_LABEL_SELECTORS`). Expressions must always all hold.
    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>, strict: bool) -> bool {
        let holds = |(key, value): (&String, &String)| labels.get(key) == Some(value);
        let by_label = if strict {
            self.labels.iter().all(holds)
        } else {
            self.labels.is_empty() || self.labels.iter().any(holds)
        };
        by_label && self.expressions.iter().all(|entry| entry.holds(labels))
    }
}

impl Expression {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Never => false,
        }
    }
}

fn expression(written: &LabelSelectorRequirement) -> Expression {
    let values = || {
        let mut values = written.values.clone();
        values.sort();
        values.dedup();
        values
    };
    Expression {
        key: written.key.clone(),
        operator: match written.operator {
            Some(SelectorOperator::In) => Operator::In(values()),
            Some(SelectorOperator::NotIn) => Operator::NotIn(values()),
            Some(SelectorOperator::Exists) => Operator::Exists,
            Some(SelectorOperator::DoesNotExist) => Operator::DoesNotExist,
            None => Operator::Never,
        },
    }
}

/// Canonical text, in the style of `kubectl -l`: equal selectors have equal texts.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (key, value) in &self.labels {
            write!(f, "{comma}{key}={value}")?;
            comma = ",";
        }
        for Expression { key, operator } in &self.expressions {
            f.write_str(comma)?;
            match operator {
                Operator::In(values) => write!(f, "{key} in ({})", values.join(","))?,
                Operator::NotIn(values) => write!(f, "{key} notin ({})", values.join(","))?,
                Operator::Exists => f.write_str(key)?,
                Operator::DoesNotExist => write!(f, "!{key}")?,
                Operator::Never => write!(f, "{key} in ()")?,
            }
            comma = ",";
        }
        Ok(())
    }
}
