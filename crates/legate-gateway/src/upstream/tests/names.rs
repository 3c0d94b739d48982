//! Endpoints from names.

use legate_config::cluster::{AddressFamilies, DnsMode, DnsSource, EndpointSet};

use super::origin::{Does, Origin};
use super::{ProxyErrorText, World, ok, plain, snapshot, text};

fn dns(name: &str, port: u16) -> EndpointSet {
    EndpointSet::Dns(DnsSource {
        name: name.to_owned(),
        port,
        mode: DnsMode::All,
        respect_ttl: false,
        families: AddressFamilies::V4,
    })
}

#[test]
fn the_first_request_waits_for_the_first_resolution() {
    World::run(|world| async move {
        let origin = Origin::start("a", Does::Answer).await;
        let set = dns("localhost", origin.address.port());
        let cluster = world.apply(snapshot(plain(), set));
        assert!(world.upstreams.view()[0].resolving);
        assert_eq!(text(world.get(&cluster).await), ok("a"));
        assert!(!world.upstreams.view()[0].resolving);
        assert_eq!(
            world.upstreams.view()[0].endpoints[0].address,
            origin.address
        );
    });
}

#[test]
fn a_name_that_never_resolves_is_no_healthy_upstream() {
    World::run(|world| async move {
        let mut settings = plain();
        settings.connect_timeout_ms = 100;
        let cluster = world.apply(snapshot(settings, dns("no..such..name", 80)));
        let expected = Err(ProxyErrorText("UH no healthy upstream".to_owned()));
        assert_eq!(text(world.get(&cluster).await), expected);
    });
}

#[test]
fn a_set_may_turn_from_addresses_into_a_name_and_back() {
    World::run(|world| async move {
        let a = Origin::start("a", Does::Answer).await;
        let b = Origin::start("b", Does::Answer).await;
        let cluster = world.cluster(plain(), &[a.address]);
        assert_eq!(text(world.get(&cluster).await), ok("a"));
        world.apply(snapshot(plain(), dns("localhost", b.address.port())));
        assert_eq!(text(world.get(&cluster).await), ok("b"));
        world.cluster(plain(), &[a.address]);
        assert_eq!(text(world.get(&cluster).await), ok("a"));
    });
}
