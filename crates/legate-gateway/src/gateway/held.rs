//! Chains to go on with as before: the operator publishes them as held when the Secret behind them is
//! gone, and only gateways that serve with it can.

use std::borrow::Cow;
use std::sync::Arc;

use legate_config::listener::{ChainTls, DownstreamTls, FilterChain};
use legate_config::{Entry, Snapshot};

/// The snapshot with each held chain replaced by what `serving` has in its place, material included.
/// A held chain without one stays as it is. The root is that of the result, not of what was published.
pub(super) fn resolve(snapshot: &Arc<Snapshot>, serving: Option<&Snapshot>) -> Arc<Snapshot> {
    let Some(serving) = serving else {
        return Arc::clone(snapshot);
    };
    let mut resolved = Cow::Borrowed(&**snapshot);
    for (key, entry) in snapshot.chains.iter() {
        let Some(ChainTls::Hold(_)) = &entry.value.tls else {
            continue;
        };
        let before = serving.chains.get(key).and_then(|chain| chain.tls.as_ref());
        let Some(ChainTls::Terminate(tls)) = before else {
            continue;
        };
        let resolved = resolved.to_mut();
        let chain = FilterChain {
            tls: Some(ChainTls::Terminate(tls.clone())),
            ..FilterChain::clone(&entry.value)
        };
        let entry = Entry::new(chain, Arc::clone(&entry.origins));
        resolved.chains.insert(key.clone(), entry);
        keep_material(resolved, serving, tls);
    }
    match resolved {
        Cow::Borrowed(_) => Arc::clone(snapshot),
        Cow::Owned(mut resolved) => {
            resolved.root = resolved.compute_root();
            Arc::new(resolved)
        }
    }
}

/// Takes over what a chain is made of, unless it was published too.
fn keep_material(resolved: &mut Snapshot, serving: &Snapshot, tls: &DownstreamTls) {
    macro_rules! keep {
        ($table:ident, $key:expr) => {
            if resolved.$table.entry($key).is_none()
                && let Some(entry) = serving.$table.entry($key)
            {
                resolved.$table.insert($key.clone(), entry.clone());
            }
        };
    }
    keep!(certificates, &tls.certificate);
    if let Some(auth) = &tls.client_auth {
        keep!(ca_bundles, &auth.ca);
        if let Some(crl) = &auth.crl {
            keep!(revocation_lists, crl);
        }
    }
}

#[cfg(test)]
mod tests {
    use legate_config::listener::{ChainMatch, HostPattern, TlsVersion};
    use legate_config::secret::{Certificate, KeyForm, PrivateKey};

    use super::*;

    const CHAIN: &str = "tcp/*/8443/sni:a.test";

    fn snapshot(tls: ChainTls, certificate: bool) -> Arc<Snapshot> {
        let mut snapshot = Snapshot::default();
        let chain = FilterChain {
            listener: "tcp/*/8443".into(),
            matches: ChainMatch::Sni(HostPattern::Exact("a.test".into())),
            tls: Some(tls),
            virtual_hosts: vec!["tcp/*/8443/a.test".into()],
        };
        snapshot
            .chains
            .insert(CHAIN.into(), Entry::new(chain, Vec::new()));
        if certificate {
            let certificate = Certificate {
                chain: vec![vec![1]],
                key: PrivateKey::new(vec![2], KeyForm::Pkcs8, &[0; 32]),
                names: vec!["a.test".to_owned()],
                not_before: 0,
                not_after: 1,
            };
            snapshot
                .certificates
                .insert("ns/s".into(), Entry::new(certificate, Vec::new()));
        }
        snapshot.root = snapshot.compute_root();
        Arc::new(snapshot)
    }

    fn terminate() -> ChainTls {
        ChainTls::Terminate(DownstreamTls {
            certificate: "ns/s".into(),
            min_version: TlsVersion::V12,
            max_version: TlsVersion::V13,
            cipher_suites: Vec::new(),
            ecdh_curves: Vec::new(),
            alpn: Vec::new(),
            client_auth: None,
        })
    }

    fn tls(snapshot: &Snapshot) -> Option<&ChainTls> {
        snapshot.chains.get(CHAIN)?.tls.as_ref()
    }

    #[test]
    fn what_serves_goes_on_with_its_material() {
        let serving = snapshot(terminate(), true);
        let held = snapshot(ChainTls::Hold("gone".to_owned()), false);
        let resolved = resolve(&held, Some(&serving));
        assert_eq!(tls(&resolved), Some(&terminate()));
        assert!(resolved.certificates.get("ns/s").is_some());
        assert_eq!(resolved.root, serving.root);
        // And once more, from what was resolved.
        let again = resolve(&held, Some(&resolved));
        assert_eq!(again.root, serving.root);
    }

    #[test]
    fn who_has_nothing_to_go_on_with_refuses() {
        let held = snapshot(ChainTls::Hold("gone".to_owned()), false);
        assert!(Arc::ptr_eq(&resolve(&held, None), &held));
        let other = snapshot(ChainTls::Refuse("bad".to_owned()), false);
        assert!(Arc::ptr_eq(&resolve(&held, Some(&other)), &held));
    }
}
