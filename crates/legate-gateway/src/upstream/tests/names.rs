//! Endpoints from names.

use legate_config::cluster::{AddressFamilies, DnsMode, DnsSource, EndpointSet};

use super::origin::{Does, Origin};
use super::{ProxyErrorText, World, ok, plain, snapshot, text, until};

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

/// What `logical_dns` is for: names whose every answer is another of many addresses.
#[test]
fn connections_outlive_the_answer_that_they_came_from() {
    World::run(|world| async move {
        let a = Origin::start("a", Does::Answer).await;
        let b = Origin::start("b", Does::Answer).await;
        let mut set = dns("no..such..name", 80);
        if let EndpointSet::Dns(source) = &mut set {
            source.mode = DnsMode::First;
        }
        let cluster = world.apply(snapshot(plain(), set));
        // The first definition; the name itself never resolves.
        let answer = |origin: &Origin| {
            let addresses = Some(vec![origin.address]);
            cluster.endpoints.resolved(1, addresses, true);
        };
        answer(&a);
        assert_eq!(text(world.get(&cluster).await), ok("a"));
        answer(&b);
        world.pool.sweep();
        assert_eq!(text(world.get(&cluster).await), ok("a"));
        assert_eq!((a.connections(), b.connections()), (1, 0));
        // Once it is gone no other is opened to that address.
        world.pool.close_idle();
        until(|| a.open() == 0).await;
        assert_eq!(text(world.get(&cluster).await), ok("b"));
        answer(&a);
        assert_eq!(text(world.get(&cluster).await), ok("b"));
        assert_eq!((a.connections(), b.connections()), (1, 1));
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
