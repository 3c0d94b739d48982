//! What the TLS chains of a listener do, across snapshots.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use legate_config::hash::Hash128;
use legate_config::key::{ChainKey, ListenerKey};
use legate_config::listener::{ChainTls, ClientAuth, DownstreamTls, TlsVersion};
use legate_config::secret::{CaBundle, Certificate, RevocationList};
use legate_config::snapshot::Snapshot;
use legate_config::table::Entry;
use rustls::ServerConfig;
use serde::Serialize;

use super::config::{self, Material, TlsConfigError};
use super::peer::principal_of;

/// What a chain does with a handshake.
#[derive(Debug, Clone)]
pub(crate) enum TlsChain {
    /// Terminates it.
    Terminate(Arc<Termination>),
    /// Refuses it, for this reason.
    Refuse(Arc<str>),
}

/// How handshakes are terminated. Shared by all chains with equal settings and material.
#[derive(Debug)]
pub(crate) struct Termination {
    /// For rustls.
    pub(crate) config: Arc<ServerConfig>,
    /// Names that the certificate covers.
    pub(crate) names: Vec<String>,
    /// Who we are by it, for external authorisation.
    pub(crate) principal: String,
    /// Hash of the settings and the material.
    id: Hash128,
    /// Equal policies are interchangeable, certificates aside.
    policy: Hash128,
}

/// Whether a connection under one termination may carry requests for hosts of the other, as far as
/// versions, cipher suites and client authentication are concerned.
pub(crate) fn same_policy(a: &Termination, b: &Termination) -> bool {
    a.policy == b.policy
}

/// The TLS chains of one listener.
#[derive(Debug, Default)]
pub(crate) struct TlsTable {
    chains: HashMap<ChainKey, TlsChain, foldhash::fast::RandomState>,
}

impl TlsTable {
    /// What a chain does; `None` for a cleartext chain or an unknown key.
    pub(crate) fn chain(&self, key: &ChainKey) -> Option<&TlsChain> {
        self.chains.get(key)
    }
}

/// Configurations that are in use.
#[derive(Debug, Default)]
pub(crate) struct TlsStore {
    /// By settings and material: what chains share.
    built: HashMap<Hash128, Arc<Termination>>,
    /// By chain: so that an unchanged one costs a look-up.
    chains: HashMap<ChainKey, (Inputs, Arc<Termination>)>,
}

/// Hashes of everything that a chain's configuration is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inputs {
    chain: Hash128,
    certificate: Hash128,
    ca: Option<Hash128>,
    crl: Option<Hash128>,
}

/// The entries that hold a configuration's material.
struct Found<'a> {
    certificate: &'a Entry<Certificate>,
    ca: Option<&'a Entry<CaBundle>>,
    crl: Option<&'a Entry<RevocationList>>,
}

/// The tables for a snapshot.
#[derive(Debug, Default)]
pub(crate) struct TlsTables {
    /// A table for each listener with TLS chains.
    pub(crate) listeners: BTreeMap<ListenerKey, Arc<TlsTable>>,
    /// Chains that had to be refused here although the compiler let them pass, and why.
    pub(crate) rejected: Vec<(ChainKey, String)>,
}

impl TlsStore {
    /// An empty store.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Builds the tables for a snapshot. Configurations whose settings and material did not change
    /// are kept, with their session tickets; others are dropped.
    pub(crate) fn update(&mut self, snapshot: &Snapshot) -> TlsTables {
        let mut next = Self::default();
        let mut tables: BTreeMap<ListenerKey, TlsTable> = BTreeMap::new();
        let mut rejected = Vec::new();
        for (key, entry) in snapshot.chains.iter() {
            let chain = match &entry.value.tls {
                None => continue,
                // What could be held was put in place before.
                Some(ChainTls::Refuse(reason) | ChainTls::Hold(reason)) => {
                    TlsChain::Refuse(reason.as_str().into())
                }
                Some(ChainTls::Terminate(settings)) => {
                    match self.terminate(snapshot, (key, entry.hash), settings, &mut next) {
                        Ok(termination) => TlsChain::Terminate(termination),
                        Err(error) => {
                            let reason = error.to_string();
                            let chain = TlsChain::Refuse(reason.as_str().into());
                            rejected.push((key.clone(), reason));
                            chain
                        }
                    }
                }
            };
            let table = tables.entry(entry.value.listener.clone()).or_default();
            table.chains.insert(key.clone(), chain);
        }
        *self = next;
        TlsTables {
            listeners: tables
                .into_iter()
                .map(|(key, table)| (key, Arc::new(table)))
                .collect(),
            rejected,
        }
    }

    fn terminate(
        &self,
        snapshot: &Snapshot,
        (key, hash): (&ChainKey, Hash128),
        settings: &DownstreamTls,
        next: &mut Self,
    ) -> Result<Arc<Termination>, TlsConfigError> {
        let found = Found::look_up(snapshot, settings)?;
        let inputs = Inputs {
            chain: hash,
            certificate: found.certificate.hash,
            ca: found.ca.map(|entry| entry.hash),
            crl: found.crl.map(|entry| entry.hash),
        };
        let known = self.chains.get(key);
        let termination = match known.filter(|(known, _)| *known == inputs) {
            Some((_, known)) => Arc::clone(known),
            None => self.build(settings, &found, next)?,
        };
        next.built
            .entry(termination.id)
            .or_insert_with(|| Arc::clone(&termination));
        next.chains
            .insert(key.clone(), (inputs, Arc::clone(&termination)));
        Ok(termination)
    }

    fn build(
        &self,
        settings: &DownstreamTls,
        found: &Found<'_>,
        next: &Self,
    ) -> Result<Arc<Termination>, TlsConfigError> {
        let ca = found.ca.map(|entry| entry.hash);
        let crl = found.crl.map(|entry| entry.hash);
        let id = Hash128::of(&(settings, found.certificate.hash, ca, crl));
        if let Some(known) = next.built.get(&id).or_else(|| self.built.get(&id)) {
            return Ok(Arc::clone(known));
        }
        let material = Material {
            certificate: &found.certificate.value,
            ca: found.ca.map(|entry| &*entry.value),
            crl: found.crl.map(|entry| &*entry.value),
        };
        Ok(Arc::new(Termination {
            config: Arc::new(config::build(settings, &material)?),
            names: found.certificate.value.names.clone(),
            principal: principal(&found.certificate.value),
            id,
            policy: policy(settings, ca, crl),
        }))
    }
}

impl<'a> Found<'a> {
    fn look_up(snapshot: &'a Snapshot, settings: &DownstreamTls) -> Result<Self, TlsConfigError> {
        let missing = |kind, key: &dyn std::fmt::Display| TlsConfigError::Missing {
            kind,
            key: key.to_string(),
        };
        let certificate = snapshot
            .certificates
            .entry(&settings.certificate)
            .ok_or_else(|| missing("certificate", &settings.certificate))?;
        let auth = settings.client_auth.as_ref();
        let ca = auth
            .map(|auth| {
                let bundle = snapshot.ca_bundles.entry(&auth.ca);
                bundle.ok_or_else(|| missing("CA bundle", &auth.ca))
            })
            .transpose()?;
        let crl = auth
            .and_then(|auth| auth.crl.as_ref())
            .map(|crl| {
                let list = snapshot.revocation_lists.entry(crl);
                list.ok_or_else(|| missing("revocation list", crl))
            })
            .transpose()?;
        Ok(Self {
            certificate,
            ca,
            crl,
        })
    }
}

fn principal(certificate: &Certificate) -> String {
    let leaf = certificate.chain.first();
    leaf.map_or_else(String::new, |leaf| principal_of(leaf))
}

/// What makes two terminations interchangeable for a request: everything that decides who may speak
/// to us and how safely, but not the certificate (its names are asked separately) or ALPN.
fn policy(settings: &DownstreamTls, ca: Option<Hash128>, crl: Option<Hash128>) -> Hash128 {
    #[derive(Serialize)]
    struct Policy<'a> {
        min: TlsVersion,
        max: TlsVersion,
        ciphers: &'a [String],
        curves: &'a [String],
        required: Option<bool>,
        ca: Option<Hash128>,
        crl: Option<Hash128>,
    }
    Hash128::of(&Policy {
        min: settings.min_version,
        max: settings.max_version,
        ciphers: &settings.cipher_suites,
        curves: &settings.ecdh_curves,
        required: settings
            .client_auth
            .as_ref()
            .map(|ClientAuth { required, .. }| *required),
        ca,
        crl,
    })
}
