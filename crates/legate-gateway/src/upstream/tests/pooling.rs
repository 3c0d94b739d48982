//! Keeping, reusing, expiring and rotating connections.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;

use super::origin::{Does, Origin};
use super::{World, fixed, later, ok, plain, request, snapshot, text, until};

#[test]
fn one_connection_serves_request_after_request() {
    World::run(|world| async move {
        let origin = Origin::start("a", Does::Answer).await;
        let cluster = world.cluster(plain(), &[origin.address]);
        for _ in 0..20 {
            assert_eq!(text(world.get(&cluster).await), ok("a"));
            assert_eq!(text(world.post(&cluster, "body").await), ok("a"));
            assert_eq!(world.pool.idle_count(), 1);
        }
        assert_eq!((origin.connections(), origin.requests()), (1, 40));
        let counters = world.upstreams.view()[0].counters;
        assert_eq!((counters.cx_total, counters.cx_active), (1, 1));
        assert_eq!((counters.rq_total, counters.rq_active), (40, 0));
    });
}

#[test]
fn requests_rotate_exactly_over_three_endpoints() {
    World::run(|world| async move {
        let mut origins = Vec::new();
        for name in ["a", "b", "c"] {
            origins.push(Origin::start(name, Does::Answer).await);
        }
        let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
        let cluster = world.cluster(plain(), &addresses);
        for _ in 0..30 {
            world.get(&cluster).await.unwrap();
        }
        let counts: Vec<_> = origins.iter().map(Origin::requests).collect();
        assert_eq!(counts, [10, 10, 10]);
        let connections: Vec<_> = origins.iter().map(Origin::connections).collect();
        assert_eq!(connections, [1, 1, 1]);
    });
}

#[test]
fn a_body_that_is_dropped_closes_its_connection() {
    World::run(|world| async move {
        let long = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly the start";
        let origin = Origin::start("a", Does::Bytes(long)).await;
        let cluster = world.cluster(plain(), &[origin.address]);
        let response = world
            .send(&cluster, request(Method::GET, ""))
            .await
            .unwrap();
        assert_eq!(world.upstreams.view()[0].counters.rq_active, 1);
        let mut body = response.into_body();
        assert!(body.frame().await.unwrap().unwrap().is_data());
        assert_eq!(origin.open(), 1);
        drop(body);
        until(|| origin.open() == 0).await;
        assert_eq!(world.pool.idle_count(), 0);
        until(|| world.upstreams.view()[0].counters.cx_active == 0).await;
        assert_eq!(world.upstreams.view()[0].counters.rq_active, 0);
    });
}

#[test]
fn chunked_and_empty_bodies_give_their_connection_back() {
    World::run(|world| async move {
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        let empty = "HTTP/1.1 204 No Content\r\n\r\n";
        for (bytes, body) in [(chunked, "hi"), (empty, "")] {
            let origin = Origin::start("a", Does::Bytes(bytes)).await;
            let cluster = world.cluster(plain(), &[origin.address]);
            for _ in 0..3 {
                assert_eq!(world.get(&cluster).await.unwrap().body, body);
            }
            assert_eq!(origin.connections(), 1, "{bytes}");
        }
    });
}

#[test]
fn idle_connections_expire() {
    World::run(|world| async move {
        let origin = Origin::start("a", Does::Answer).await;
        let cluster = world.cluster(plain(), &[origin.address]);
        world.get(&cluster).await.unwrap();
        later(Duration::from_secs(59)).await;
        world.pool.sweep();
        assert_eq!(world.pool.idle_count(), 1);
        later(Duration::from_secs(1)).await;
        world.pool.sweep();
        assert_eq!(world.pool.idle_count(), 0);
        until(|| origin.open() == 0).await;

        // Without a sweep, taking it notices as well.
        world.get(&cluster).await.unwrap();
        later(Duration::from_secs(60)).await;
        world.get(&cluster).await.unwrap();
        assert_eq!(origin.connections(), 3);
    });
}

#[test]
fn an_idle_timeout_of_zero_is_none() {
    World::run(|world| async move {
        let origin = Origin::start("a", Does::Answer).await;
        let mut settings = plain();
        settings.idle_timeout_ms = 0;
        let cluster = world.cluster(settings, &[origin.address]);
        world.get(&cluster).await.unwrap();
        later(Duration::from_secs(1_000_000)).await;
        world.pool.sweep();
        world.get(&cluster).await.unwrap();
        assert_eq!(origin.connections(), 1);
    });
}

#[test]
fn an_old_connection_takes_no_new_request() {
    World::run(|world| async move {
        let origin = Origin::start("a", Does::Answer).await;
        let mut settings = plain();
        settings.max_lifetime_ms = 10_000;
        let cluster = world.cluster(settings, &[origin.address]);
        world.get(&cluster).await.unwrap();
        later(Duration::from_secs(9)).await;
        world.get(&cluster).await.unwrap();
        assert_eq!(origin.connections(), 1);
        later(Duration::from_secs(1)).await;
        world.get(&cluster).await.unwrap();
        assert_eq!(origin.connections(), 2);
    });
}

#[test]
fn new_endpoints_take_the_traffic_and_old_connections_close() {
    World::run(|world| async move {
        let a = Origin::start("a", Does::Answer).await;
        let b = Origin::start("b", Does::Answer).await;
        let cluster = world.cluster(plain(), &[a.address]);
        assert_eq!(text(world.get(&cluster).await), ok("a"));

        // The handle stays the same one, so those who hold it follow.
        world.apply(snapshot(plain(), fixed(&[b.address])));
        assert_eq!(text(world.get(&cluster).await), ok("b"));
        assert_eq!((a.open(), b.open()), (1, 1));
        world.pool.sweep();
        until(|| a.open() == 0).await;
        assert_eq!(b.open(), 1);
        assert_eq!(text(world.get(&cluster).await), ok("b"));
        assert_eq!(b.connections(), 1);
    });
}

#[test]
fn idle_connections_to_a_vanished_endpoint_close_at_once() {
    World::run(|world| async move {
        let pool = std::rc::Rc::clone(&world.pool);
        let attending = tokio::task::spawn_local(async move { pool.attend().await });
        let a = Origin::start("a", Does::Answer).await;
        let b = Origin::start("b", Does::Answer).await;
        let cluster = world.cluster(plain(), &[a.address, b.address]);
        for _ in 0..2 {
            world.get(&cluster).await.unwrap();
        }
        assert_eq!((a.open(), b.open()), (1, 1));
        // Nobody sweeps.
        world.apply(snapshot(plain(), fixed(&[b.address])));
        until(|| a.open() == 0).await;
        assert_eq!((b.open(), b.connections()), (1, 1));
        attending.abort();
    });
}

#[test]
fn an_update_without_change_keeps_pool_and_cursor() {
    World::run(|world| async move {
        let a = Origin::start("a", Does::Answer).await;
        let b = Origin::start("b", Does::Answer).await;
        let endpoints = [a.address, b.address];
        let cluster = world.cluster(plain(), &endpoints);
        for _ in 0..10 {
            world.get(&cluster).await.unwrap();
            let again = world.apply(snapshot(plain(), fixed(&endpoints)));
            assert!(std::sync::Arc::ptr_eq(&cluster, &again));
            world.pool.sweep();
        }
        assert_eq!((a.requests(), b.requests()), (5, 5));
        assert_eq!((a.connections(), b.connections()), (1, 1));
    });
}

#[test]
fn a_cluster_with_other_settings_keeps_the_connections() {
    World::run(|world| async move {
        let origin = Origin::start("a", Does::Answer).await;
        let before = world.cluster(plain(), &[origin.address]);
        world.get(&before).await.unwrap();
        let mut settings = plain();
        settings.connect_timeout_ms = 1;
        let after = world.cluster(settings, &[origin.address]);
        assert!(!std::sync::Arc::ptr_eq(&before, &after));
        world.get(&after).await.unwrap();
        assert_eq!(origin.connections(), 1);
    });
}

#[test]
fn a_vanished_cluster_closes_its_connections() {
    World::run(|world| async move {
        let origin = Origin::start("a", Does::Answer).await;
        let cluster = world.cluster(plain(), &[origin.address]);
        world.get(&cluster).await.unwrap();
        assert_eq!(
            world.upstreams.update(&legate_config::Snapshot::default()),
            []
        );
        assert!(world.upstreams.cluster(&"c".into()).is_none());
        world.pool.sweep();
        until(|| origin.open() == 0).await;
    });
}

#[test]
fn draining_closes_what_is_idle() {
    World::run(|world| async move {
        let origin = Origin::start("a", Does::Answer).await;
        let cluster = world.cluster(plain(), &[origin.address]);
        world.get(&cluster).await.unwrap();
        world.pool.close_idle();
        until(|| origin.open() == 0).await;
        assert_eq!(text(world.get(&cluster).await), ok("a"));
    });
}

#[test]
fn the_future_of_a_request_stays_small() {
    World::run(|world| async move {
        let cluster = world.cluster(plain(), &[]);
        let mut call = super::Call::default();
        let future = world
            .pool
            .send(&cluster, request(Method::GET, ""), &mut call);
        let size = size_of_val(&future);
        // Every connection has room for one, also while it is idle.
        assert!(size <= 1536, "{size} bytes");
        drop(future);
    });
}
