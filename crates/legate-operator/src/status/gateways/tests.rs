use super::*;
use crate::publish::{ListenerBind, Reached};
use crate::status::testing::gateway;

fn ack(snapshot: u64, rejected: &[&str], bound: Result<&str, &str>) -> Ack {
    Ack {
        snapshot,
        root: legate_config::Hash128::default(),
        rejected: rejected
            .iter()
            .map(|key| RejectedEntry {
                key: (*key).to_owned(),
                code: "E".to_owned(),
                message: String::new(),
            })
            .collect(),
        listeners: vec![ListenerBind {
            key: "tcp/*/8080".to_owned(),
            bound: bound.map(str::to_owned).map_err(str::to_owned),
        }],
        reached: Vec::new(),
    }
}

fn acked(name: &str, snapshot: u64) -> GatewayEvent {
    GatewayEvent::Acked(gateway(name), ack(snapshot, &[], Ok("*:8080")))
}

#[test]
fn a_gateway_counts_from_its_first_acknowledgement_until_goodbye() {
    let now = Instant::now();
    let mut gateways = Gateways::default();
    gateways.event(GatewayEvent::Broken(gateway("a")), now);
    assert_eq!(gateways.len(), 0);
    gateways.event(acked("a", 3), now);
    gateways.event(acked("b", 5), now);
    assert_eq!(gateways.len(), 2);
    assert_eq!(
        [3, 4, 5, 6].map(|snapshot| gateways.at_or_after(snapshot)),
        [2, 1, 1, 0]
    );
    gateways.event(GatewayEvent::Goodbye(gateway("a")), now);
    assert_eq!(gateways.len(), 1);
}

#[test]
fn a_broken_one_counts_for_fifteen_seconds_more() {
    let now = Instant::now();
    let mut gateways = Gateways::default();
    gateways.event(acked("a", 3), now);
    gateways.event(GatewayEvent::Broken(gateway("a")), now);
    // A second break does not begin anew.
    let later = now + Duration::from_secs(10);
    gateways.event(GatewayEvent::Broken(gateway("a")), later);
    let end = now + Duration::from_secs(15);
    assert_eq!(gateways.deadline(), Some(end));
    assert_eq!(gateways.expire(later).0, []);
    assert_eq!(gateways.len(), 1);
    assert_eq!(gateways.expire(end).0, [gateway("a")]);
    assert_eq!((gateways.len(), gateways.deadline()), (0, None));

    gateways.event(acked("a", 3), now);
    gateways.event(GatewayEvent::Broken(gateway("a")), now);
    gateways.event(acked("a", 3), later);
    assert_eq!(gateways.deadline(), None);
    assert_eq!(gateways.expire(end).0, []);
}

#[test]
fn changes_are_named() {
    let now = Instant::now();
    let mut gateways = Gateways::default();
    let mut event = |ack| gateways.event(GatewayEvent::Acked(gateway("a"), ack), now);
    let bind = |name: &str| BTreeSet::from([name.to_owned()]);
    let first = event(ack(1, &[], Ok("*:8080")));
    assert_eq!((first.rejections, first.binds), (false, bind("tcp/*/8080")));
    let same = event(ack(2, &[], Ok("*:8080")));
    assert_eq!(same, Changes::default());
    assert!(event(ack(3, &["route/x"], Ok("*:8080"))).rejections);
    let healed = event(ack(4, &[], Err("in use")));
    assert_eq!(
        (healed.rejections, healed.binds),
        (true, bind("tcp/*/8080"))
    );
}

#[test]
fn what_is_said_of_those_that_are_asked_is_compared() {
    let now = Instant::now();
    let mut gateways = Gateways::default();
    let mut event = |name: &str, answers: Option<Result<(), &str>>| {
        let reached = answers.map(|answers| Reached {
            key: "limit/users".to_owned(),
            answers: answers.map_err(str::to_owned),
        });
        let ack = Ack {
            reached: reached.into_iter().collect(),
            ..ack(1, &[], Ok("*:8080"))
        };
        let changes = gateways.event(GatewayEvent::Acked(gateway(name), ack), now);
        !changes.reached.is_empty()
    };
    let said = [
        (Some(Ok(())), true),
        (Some(Ok(())), false),
        (Some(Err("refused")), true),
        (Some(Err("refused")), false),
        (Some(Err("late")), true),
        (None, true),
        (None, false),
    ];
    for (answers, news) in said {
        assert_eq!(event("a", answers), news, "{answers:?}");
    }
    event("a", Some(Err("refused")));
    let gone = gateways.event(GatewayEvent::Goodbye(gateway("a")), now);
    assert_eq!(gone.reached, BTreeSet::from(["limit/users".to_owned()]));
}

#[test]
fn census() {
    let now = Instant::now();
    let mut gateways = Gateways::default();
    gateways.event(acked("current", 5), now);
    gateways.event(acked("behind", 4), now);
    let rejecting = ack(5, &["route/x"], Ok("*:8080"));
    gateways.event(GatewayEvent::Acked(gateway("rejecting"), rejecting), now);
    gateways.event(acked("broken", 5), now);
    gateways.event(GatewayEvent::Broken(gateway("broken")), now);
    let one_each = Census {
        current: 1,
        behind: 1,
        rejecting: 1,
        broken: 1,
    };
    assert_eq!(gateways.census(5), one_each);
}
