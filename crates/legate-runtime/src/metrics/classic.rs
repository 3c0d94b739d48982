//! OpenMetrics text to the older text format of Prometheus.
//!
//! The differences: a counter's family carries `_total`, an info's `_info` and is a gauge; there
//! are no units and no exemplars.

/// Rewrites what the encoder wrote.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                "gaugehistogram" => ("", "histogram"),
                "stateset" => ("", "gauge"),
                other => ("", other),
            };
            if let Some((_, words)) = help.take().filter(|(of, _)| *of == name) {
                push(&mut out, &["# HELP ", name, suffix, " ", words]);
            }
            push(&mut out, &["# TYPE ", name, suffix, " ", kind]);
        } else if !line.starts_with('#') {
            push(&mut out, &[without_exemplar(line)]);
        }
    }
    out
}

fn push(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
    out.push('\n');
}

/// A label's value may hold ` # {` too, so quotes count.
fn without_exemplar(line: &str) -> &str {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'#' if !quoted => return line.get(..at).unwrap_or(line).trim_end(),
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_renamed_and_exemplars_dropped() {
        let open = "\
# HELP a Things.
# TYPE a counter
# UNIT a seconds
a_total{b=\"x # {y\\\" # \"} 1 # {trace=\"1\"} 0.5
# HELP c C.
# TYPE c gauge
c 2
# HELP build Build.
# TYPE build info
build_info{v=\"1\"} 1
# EOF
";
        let classic = "\
# HELP a_total Things.
# TYPE a_total counter
a_total{b=\"x # {y\\\" # \"} 1
# HELP c C.
# TYPE c gauge
c 2
# HELP build_info Build.
# TYPE build_info gauge
build_info{v=\"1\"} 1
";
        assert_eq!(from_open_metrics(open), classic);
    }
}
