//! What all probes together say.

use super::*;

fn members(states: &str) -> Vec<Member> {
    let mut port = 0;
    let member = |state: char| {
        port += 1;
        Member {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            late: state == 'w',
            probes: std::iter::once(Probe::in_state(match state {
                '+' => State::Healthy,
                '-' => State::Unhealthy,
                _ => State::Unknown,
            }))
            .collect(),
        }
    };
    states.chars().map(member).collect()
}

/// `+` healthy, `-` unhealthy, `?` not asked yet, `w` the same but come later.
#[test]
fn who_is_used_and_when_health_is_ignored() {
    for (states, used, healthy, panic) in [
        ("", "", 0, false),
        ("?", "1", 1, false),
        ("??", "12", 2, false),
        ("+-", "1", 1, false),
        ("+?", "1", 1, false),
        ("-?", "12", 0, true),
        ("+--", "123", 1, true),
        ("+-?", "123", 1, true),
        ("+w", "1", 1, false),
        ("+www", "1", 1, false),
        ("+-ww", "1", 1, false),
        ("---w", "1234", 0, true),
        ("-", "1", 0, true),
        ("ww", "12", 2, false),
    ] {
        let members = members(states);
        let verdicts = Verdicts::of(&members);
        let used_now: String = members
            .iter()
            .filter(|it| verdicts.allows(&it.address))
            .map(|it| it.address.port().to_string())
            .collect();
        assert_eq!(used_now, used, "{states}");
        let unhealthy = members
            .iter()
            .filter(|it| verdicts.is_unhealthy(&it.address));
        assert_eq!(members.len() - unhealthy.count(), healthy, "{states}");
        assert_eq!(verdicts.panic, panic, "{states}");
    }
}
