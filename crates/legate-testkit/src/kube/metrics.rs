//! Reading metrics in the Prometheus text format.

/// One reading of `/metrics`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    samples: Vec<(String, f64)>,
}

impl Metrics {
    /// Reads the text; lines that are no samples are left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                // Label values may hold blanks; what follows the last `}` or blank never does.
                let split = line
                    .rfind('}')
                    .map_or_else(|| line.find(' '), |end| Some(end + 1))?;
                let (name, rest) = line.split_at_checked(split)?;
                let value = rest.split_whitespace().next()?.parse().ok()?;
                Some((name.to_owned(), value))
            })
            .collect();
        Self { samples }
    }

    /// The sum of the samples of a metric that carry all of these labels; `None` if there is none.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = None;
        for (sample, value) in &self.samples {
            let (metric, set) = sample.split_once('{').unwrap_or((sample, ""));
            let fits = labels
                .iter()
                .all(|(label, value)| set.contains(&format!("{label}=\"{value}\"")));
            if metric == name && fits {
                found = Some(found.unwrap_or(0.0) + value);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_over_other_labels() {
        let text = "# TYPE a counter\na{kind=\"Host\",state=\"ok\"} 2\n\
                    a{kind=\"Host\",state=\"a b\"} 3\na{kind=\"Mapping\",state=\"ok\"} 4\nb 1.5\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.value("a", &[("kind", "Host")]), Some(5.0));
        assert_eq!(metrics.value("a", &[("state", "a b")]), Some(3.0));
        assert_eq!(metrics.value("b", &[]), Some(1.5));
        assert_eq!(metrics.value("c", &[]), None);
    }
}
