//! IP allow and deny lists (spec/services §3.17).

use legate_config::http::{IpMode, IpPolicy, IpSource};

use super::client::ClientAddress;

/// Whether a policy lets a client in. An empty allow list lets nobody in.
pub(crate) fn ip_allowed(policy: &IpPolicy, client: &ClientAddress) -> bool {
    let matched = policy.rules.iter().any(|rule| {
        let address = match rule.source {
            IpSource::Peer => client.peer.ip(),
            IpSource::Remote => client.trusted,
        };
        rule.range.contains(&address.to_canonical())
    });
    match policy.mode {
        IpMode::Allow => matched,
        IpMode::Deny => !matched,
    }
}

#[cfg(test)]
mod tests {
    use IpMode::{Allow, Deny};
    use IpSource::{Peer, Remote};
    use legate_config::http::IpRule;

    use super::*;

    fn policy(mode: IpMode, rules: &[(IpSource, &str)]) -> IpPolicy {
        IpPolicy {
            mode,
            rules: rules
                .iter()
                .map(|(source, range)| IpRule {
                    source: *source,
                    range: range.parse().unwrap(),
                })
                .collect(),
        }
    }

    /// Mode, rules, peer, trusted address, whether it is let in.
    type Row = (
        IpMode,
        &'static [(IpSource, &'static str)],
        &'static str,
        &'static str,
        bool,
    );

    // H-20, H-21, MD-05, MD-06, MD-07 of the specification, and IPv6.
    #[rustfmt::skip] // One row per line.
    const ROWS: &[Row] = &[
    (Allow, &[(Remote, "10.0.0.0/8")], "192.0.2.1", "10.1.1.1", true),
    (Allow, &[(Remote, "10.0.0.0/8")], "192.0.2.1", "8.8.8.8", false),
    (Allow, &[(Peer, "10.0.0.0/8")], "192.0.2.1", "10.1.1.1", false),
    (Allow, &[(Peer, "10.0.0.0/8")], "10.1.2.3", "8.8.8.8", true),
    (Deny, &[(Remote, "192.0.2.0/24")], "10.0.0.1", "192.0.2.9", false),
    (Deny, &[(Remote, "192.0.2.0/24")], "192.0.2.9", "10.0.0.1", true),
    (Allow, &[], "10.0.0.1", "10.0.0.1", false),
    (Deny, &[], "10.0.0.1", "10.0.0.1", true),
    (Allow, &[(Peer, "2001:db8::/32")], "2001:db8::1", "::1", true),
    (Allow, &[(Peer, "2001:db8::/32")], "10.0.0.1", "10.0.0.1", false),
    (Allow, &[(Remote, "10.0.0.0/8")], "::1", "::ffff:10.0.0.1", true),
    (Allow, &[(Peer, "1.1.1.1/32"), (Remote, "2.2.2.2/32")], "9.9.9.9", "2.2.2.2", true),
    ];

    #[test]
    fn lists_compare_the_peer_or_the_trusted_address() {
        for (mode, rules, peer, trusted, expected) in ROWS {
            let client = ClientAddress {
                peer: (peer.parse::<std::net::IpAddr>().unwrap(), 1).into(),
                trusted: trusted.parse().unwrap(),
            };
            assert_eq!(
                ip_allowed(&policy(*mode, rules), &client),
                *expected,
                "{mode:?} {rules:?} {peer} {trusted}"
            );
        }
    }
}
