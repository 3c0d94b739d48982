//! Bound Hosts to filter chains and virtual hosts, listener by listener (spec/routing §3.3, §3.6).

use std::collections::BTreeMap;

use legate_config::key::{ChainKey, VirtualHostKey};
use legate_config::listener::{
    ChainMatch, ChainTls, FilterChain, HostPattern, InsecureAction, SecurityModel, VirtualHost,
};
use legate_config::snapshot::Origin;
use legate_config::table::Entry;
use legate_config::{Diagnostic, ObjectRef};

use super::host::PreparedHost;
use super::host_tls::HostTls;
use super::listener::PreparedListener;
use super::report::{dropped, on};
use super::{FrontendHost, Frontends};
use crate::codes;
use crate::glob::HostGlob;

/// What a Host is on the Listeners, by its place in the list of Hosts.
#[derive(Default)]
struct Presence {
    virtual_hosts: Vec<(VirtualHostKey, VirtualHost)>,
    /// Listeners bind it, but on all of them another Host owns the hostname.
    lost_to: Option<ObjectRef>,
    /// Another Host owns the server name with other TLS settings; said once.
    lost_sni: bool,
    bound: bool,
}

/// Opens the Listeners that Hosts bind to, and says which Hosts and Listeners stay alone.
pub(super) fn assemble(
    listeners: Vec<PreparedListener>,
    hosts: Vec<PreparedHost>,
    out: &mut Frontends,
) {
    // Without any usable Listener that is what there is to mend, and it was said.
    let blame_hosts = !listeners.is_empty();
    let mut presence: Vec<Presence> = hosts.iter().map(|_| Presence::default()).collect();
    for listener in listeners {
        let bound: Vec<usize> = bound(&listener, &hosts);
        if bound.is_empty() {
            out.diagnostics.push(
                dropped(
                    &listener.object,
                    codes::E_LISTENER_UNUSED,
                    "spec.hostBinding",
                    format!(
                        "no Host binds to it, so port {} is not opened",
                        listener.listener.port
                    ),
                )
                .help("widen `hostBinding`, or add a Host in its reach"),
            );
            continue;
        }
        open(listener, &hosts, &bound, &mut presence, out);
    }
    for (host, presence) in hosts.into_iter().zip(presence) {
        settle(host, presence, blame_hosts, out);
    }
}

fn bound(listener: &PreparedListener, hosts: &[PreparedHost]) -> Vec<usize> {
    let none = BTreeMap::new();
    hosts
        .iter()
        .enumerate()
        .filter(|(_, host)| {
            let labels = host
                .version
                .as_ref()
                .map_or(&none, |object| &object.meta.labels);
            listener.binds(&host.namespace, labels)
        })
        .map(|(at, _)| at)
        .collect()
}

/// One listener with the Hosts that it binds, given by place and in processing order.
fn open(
    listener: PreparedListener,
    hosts: &[PreparedHost],
    bound: &[usize],
    presence: &mut [Presence],
    out: &mut Frontends,
) {
    let PreparedListener {
        key,
        origin,
        listener,
        ..
    } = listener;
    let mut owners: BTreeMap<&HostGlob, (usize, VirtualHostKey)> = BTreeMap::new();
    for &at in bound {
        let (Some(host), Some(presence)) = (hosts.get(at), presence.get_mut(at)) else {
            continue;
        };
        presence.bound = true;
        if let Some((first, _)) = owners.get(&host.glob) {
            presence.lost_to = hosts.get(*first).map(|first| first.origin.object.clone());
            continue;
        }
        let virtual_host = VirtualHostKey::from(format!("{key}/{}", host.glob));
        owners.insert(&host.glob, (at, virtual_host.clone()));
        presence.virtual_hosts.push((
            virtual_host,
            VirtualHost {
                listener: key.clone(),
                name: host.name.clone(),
                host: host.glob.to_pattern(),
                insecure: host.insecure,
                route_sets: Vec::new(),
            },
        ));
    }
    let omits = |host: &PreparedHost| {
        listener.security == SecurityModel::Insecure && host.insecure == InsecureAction::Reject
    };
    let mut plain: Vec<VirtualHostKey> = owners
        .values()
        .filter(|(at, _)| hosts.get(*at).is_some_and(|host| !omits(host)))
        .map(|(_, virtual_host)| virtual_host.clone())
        .collect();
    plain.sort();
    // Where every Host is left out, cleartext is not answered but closed, as long as there is TLS.
    if !(listener.tls && plain.is_empty() && !owners.is_empty()) {
        let chain = FilterChain {
            listener: key.clone(),
            matches: ChainMatch::Plain,
            tls: None,
            virtual_hosts: plain,
        };
        out.chains.insert(
            ChainKey::from(format!("{key}/plain")),
            Entry::new(chain, vec![origin.clone()]),
        );
    }
    if listener.tls {
        tls_chains(&key, hosts, &owners, presence, out);
    }
    out.listeners
        .insert(key, Entry::new(listener, vec![origin]));
}

/// The chain of one server name while it is put together.
struct SniChain {
    tls: HostTls,
    /// The Host that decided the settings.
    owner: usize,
    virtual_hosts: Vec<VirtualHostKey>,
    origins: Vec<Origin>,
}

fn tls_chains(
    listener: &legate_config::ListenerKey,
    hosts: &[PreparedHost],
    owners: &BTreeMap<&HostGlob, (usize, VirtualHostKey)>,
    presence: &mut [Presence],
    out: &mut Frontends,
) {
    let mut members: Vec<(usize, &VirtualHostKey)> =
        owners.values().map(|(at, key)| (*at, key)).collect();
    members.sort_unstable();
    let mut chains: BTreeMap<HostGlob, SniChain> = BTreeMap::new();
    for (at, virtual_host) in members {
        let Some(host) = hosts.get(at) else {
            continue;
        };
        if host.tls == HostTls::None {
            continue;
        }
        let sni = host.glob.without_port();
        match chains.get_mut(&sni) {
            None => {
                let chain = SniChain {
                    tls: host.tls.clone(),
                    owner: at,
                    virtual_hosts: terminated(host, virtual_host).collect(),
                    origins: vec![host.origin.clone()],
                };
                chains.insert(sni, chain);
            }
            Some(chain) => join(
                chain,
                at,
                host,
                virtual_host,
                hosts,
                presence,
                &mut out.diagnostics,
            ),
        }
    }
    for (sni, chain) in chains {
        let (name, matches) = match sni.to_pattern() {
            HostPattern::Any => ("default".to_owned(), ChainMatch::DefaultTls),
            pattern => (format!("sni:{pattern}"), ChainMatch::Sni(pattern)),
        };
        let tls = match chain.tls {
            HostTls::None => None,
            HostTls::Terminate(tls) => Some(ChainTls::Terminate(tls)),
            HostTls::Refuse(why) => Some(ChainTls::Refuse(why)),
            HostTls::Hold(why) => Some(ChainTls::Hold(why)),
        };
        let mut virtual_hosts = chain.virtual_hosts;
        virtual_hosts.sort();
        let value = FilterChain {
            listener: listener.clone(),
            matches,
            tls,
            virtual_hosts,
        };
        out.chains.insert(
            ChainKey::from(format!("{listener}/{name}")),
            Entry::new(value, chain.origins),
        );
    }
}

/// Lets a Host of the same server name, but another port, into a chain.
fn join(
    chain: &mut SniChain,
    at: usize,
    host: &PreparedHost,
    virtual_host: &VirtualHostKey,
    hosts: &[PreparedHost],
    presence: &mut [Presence],
    diagnostics: &mut Vec<Diagnostic>,
) {
    match (&chain.tls, &host.tls) {
        // Good settings win over broken ones: the name has somebody who can answer for it.
        (HostTls::Refuse(_), HostTls::Terminate(_) | HostTls::Hold(_))
        | (HostTls::Hold(_), HostTls::Terminate(_)) => {
            chain.tls = host.tls.clone();
            chain.owner = at;
        }
        (HostTls::Terminate(_), HostTls::Refuse(_) | HostTls::Hold(_)) => return,
        (HostTls::Terminate(first), HostTls::Terminate(second)) if first != second => {
            let (Some(first), Some(presence)) = (hosts.get(chain.owner), presence.get_mut(at))
            else {
                return;
            };
            if let Some(key) = &host.object
                && !presence.lost_sni
            {
                presence.lost_sni = true;
                diagnostics.push(
                    on(
                        key,
                        codes::E_HOST_DUPLICATE,
                        "spec.hostname",
                        format!(
                            "server name `{}` belongs to Host {}, whose TLS settings differ; this Host is served in cleartext only",
                            host.glob.without_port(),
                            first.name
                        ),
                    )
                    .effect(legate_config::Effect::FieldIgnored)
                    .help("give both the same `tlsSecret` and TLS settings")
                    .related(first.origin.object.clone(), "this one's settings are used"),
                );
            }
            return;
        }
        _ => {}
    }
    chain.virtual_hosts.extend(terminated(host, virtual_host));
    chain.origins.push(host.origin.clone());
}

/// A refusing chain serves no virtual host.
fn terminated(
    host: &PreparedHost,
    virtual_host: &VirtualHostKey,
) -> impl Iterator<Item = VirtualHostKey> {
    matches!(host.tls, HostTls::Terminate(_) | HostTls::Hold(_))
        .then(|| virtual_host.clone())
        .into_iter()
}

/// Reports on a Host that no Listener binds or whose name is taken, and takes it up otherwise.
fn settle(host: PreparedHost, presence: Presence, blame: bool, out: &mut Frontends) {
    if let Some(key) = &host.object {
        if let Some(first) = presence.lost_to {
            let gone = presence.virtual_hosts.is_empty();
            let message = if gone {
                format!("hostname `{}` belongs to another Host", host.glob)
            } else {
                format!(
                    "hostname `{}` belongs to another Host on some Listeners",
                    host.glob
                )
            };
            let diagnostic = if gone {
                dropped(key, codes::E_HOST_DUPLICATE, "spec.hostname", message)
            } else {
                on(key, codes::E_HOST_DUPLICATE, "spec.hostname", message)
                    .effect(legate_config::Effect::FieldIgnored)
            };
            out.diagnostics.push(
                diagnostic
                    .help("remove one of the two, or change its hostname")
                    .related(first, "this one is served"),
            );
            if gone {
                return;
            }
        } else if !presence.bound && blame {
            out.diagnostics.push(
                dropped(
                    key,
                    codes::E_HOST_UNBOUND,
                    "",
                    "no Listener binds this Host",
                )
                .help("check `hostBinding` of the Listeners against its namespace and labels"),
            );
        }
    }
    out.hosts.push(FrontendHost {
        object: host.object,
        origin: host.origin,
        glob: host.glob,
        selector: host.selector,
        attaches: host.attaches,
        virtual_hosts: presence.virtual_hosts,
    });
}
