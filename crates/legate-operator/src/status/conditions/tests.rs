use legate_compiler::codes;
use legate_config::Code;

use super::*;

fn object(kind: &str) -> ObjectRef {
    ObjectRef {
        kind: kind.to_owned(),
        namespace: "n".to_owned(),
        name: "x".to_owned(),
    }
}

fn diagnostic(kind: Kind, code: &Code, effect: Effect) -> Diagnostic {
    Diagnostic::new(code.clone(), object(kind.as_str()), "spec.f", "words").effect(effect)
}

fn status(state: ObjectState) -> ObjectStatus {
    ObjectStatus {
        state,
        ..ObjectStatus::default()
    }
}

/// `Type=True/Reason` of each condition, and `Type?` of an open gate.
fn judged(kind: Kind, state: ObjectState, diagnostics: &[Diagnostic]) -> Vec<String> {
    let all: Vec<&Diagnostic> = diagnostics.iter().collect();
    let judgement = judge(kind, &status(state), &all, &|_| Vec::new());
    let mut words: Vec<String> = judgement
        .verdicts
        .iter()
        .map(|v| format!("{}={}/{}", v.type_, v.truth.as_str(), v.reason))
        .collect();
    words.extend(
        judgement
            .gate
            .map(|gate| format!("{}?{}", gate.type_, gate.reason)),
    );
    words
}

#[test]
fn types_per_kind() {
    let fine = |kind| judged(kind, ObjectState::Accepted, &[]);
    for kind in [Kind::Mapping, Kind::TcpMapping] {
        assert_eq!(
            fine(kind),
            [
                "Accepted=True/Accepted",
                "ResolvedRefs=True/ResolvedRefs",
                "Programmed?Programmed"
            ]
        );
    }
    assert_eq!(
        fine(Kind::Host),
        [
            "Accepted=True/Accepted",
            "TLSReady=True/Ready",
            "Bound?Bound"
        ]
    );
    assert_eq!(
        fine(Kind::Listener),
        ["Accepted=True/Accepted", "Bound?Bound"]
    );
    assert_eq!(
        fine(Kind::TlsContext),
        ["Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs"]
    );
    for kind in [Kind::Module, Kind::AuthService, Kind::TracingService] {
        assert_eq!(fine(kind), ["Accepted=True/Accepted"]);
    }
}

#[test]
fn codes_become_reasons() {
    use Effect::{Answering, Dropped, FieldIgnored, None as Nothing};
    use ObjectState::{Accepted, PartlyAccepted, Rejected};
    #[rustfmt::skip]
    let rows: &[(Kind, Code, Effect, ObjectState, &[&str])] = &[
        (Kind::Mapping, codes::E_MAP_REGEX, Answering(500), Rejected,
            &["Accepted=False/Invalid", "ResolvedRefs=True/ResolvedRefs", "Programmed=False/NotAccepted"]),
        (Kind::Mapping, codes::E_MAP_UNATTACHED, Dropped, Rejected,
            &["Accepted=True/Accepted", "ResolvedRefs=False/NoHostMatches", "Programmed=False/RefsNotResolved"]),
        (Kind::Mapping, codes::E_MAP_RESOLVER, Answering(500), Rejected,
            &["Accepted=True/Accepted", "ResolvedRefs=False/ResolverNotFound", "Programmed=False/RefsNotResolved"]),
        (Kind::Mapping, codes::I_NOT_IN_FOLDER, Nothing, Accepted,
            &["Accepted=True/Accepted", "ResolvedRefs=False/ServiceNotFound", "Programmed=False/RefsNotResolved"]),
        (Kind::Mapping, codes::E_MAP_LB, FieldIgnored, PartlyAccepted,
            &["Accepted=True/PartlyInvalid", "ResolvedRefs=True/ResolvedRefs", "Programmed?Programmed"]),
        (Kind::Mapping, codes::W_UNSUPPORTED, FieldIgnored, Accepted,
            &["Accepted=True/UnsupportedField", "ResolvedRefs=True/ResolvedRefs", "Programmed?Programmed"]),
        (Kind::Mapping, codes::E_MAP_WEIGHT, Dropped, Rejected,
            &["Accepted=False/WeightOverflow", "ResolvedRefs=True/ResolvedRefs", "Programmed=False/NotAccepted"]),
        (Kind::Mapping, codes::I_MAP_UNREACHABLE, Nothing, Accepted,
            &["Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs", "Programmed?ShadowedBy"]),
        (Kind::Mapping, codes::I_MAP_LB_ENDPOINTS, Nothing, Accepted,
            &["Accepted=True/Accepted", "ResolvedRefs=True/LoadBalancerNeedsEndpoints", "Programmed?Programmed"]),
        (Kind::Host, codes::E_SECRET_MISSING, FieldIgnored, PartlyAccepted,
            &["Accepted=True/Accepted", "TLSReady=False/SecretNotFound", "Bound?Bound"]),
        (Kind::Host, codes::E_CERT_EXPIRED, Nothing, Accepted,
            &["Accepted=True/Accepted", "TLSReady=False/Expired", "Bound?Bound"]),
        (Kind::Host, codes::W_CERT_LAST_GOOD, Nothing, Accepted,
            &["Accepted=True/Accepted", "TLSReady=True/SecretInvalid", "Bound?Bound"]),
        (Kind::Host, codes::W_TLS_HOSTS, Nothing, Accepted,
            &["Accepted=True/Accepted", "TLSReady=True/ContextMismatch", "Bound?Bound"]),
        (Kind::Host, codes::E_HOST_UNBOUND, Dropped, Rejected,
            &["Accepted=True/Accepted", "TLSReady=True/Ready", "Bound=False/NoListener"]),
        (Kind::Host, codes::E_HOST_DUPLICATE, Dropped, Rejected,
            &["Accepted=False/Conflict", "TLSReady=True/Ready", "Bound=False/NotAccepted"]),
        (Kind::Listener, codes::E_LISTENER_UNUSED, Dropped, Rejected,
            &["Accepted=True/Accepted", "Bound=False/NoHosts"]),
        (Kind::Listener, codes::E_LISTENER_DUPLICATE, Dropped, Rejected,
            &["Accepted=True/Accepted", "Bound=False/PortConflict"]),
        (Kind::Module, codes::E_MODULE_DUPLICATE, Dropped, Rejected, &["Accepted=False/NotUsed"]),
        (Kind::Module, codes::W_MODULE_KEY, FieldIgnored, Accepted, &["Accepted=True/UnknownKey"]),
        (Kind::RateLimitService, codes::E_RL_DUPLICATE, Dropped, Rejected, &["Accepted=False/TooMany"]),
        (Kind::RateLimitService, codes::E_RL_CONFIG, Dropped, Rejected, &["Accepted=False/Invalid"]),
        (Kind::AuthService, codes::E_UNSUPPORTED, Dropped, Rejected, &["Accepted=False/UnsupportedField"]),
        (Kind::TlsContext, codes::E_SECRET_MISSING, Dropped, Rejected,
            &["Accepted=True/Accepted", "ResolvedRefs=False/SecretNotFound"]),
    ];
    for (kind, code, effect, state, expected) in rows {
        let said = [diagnostic(*kind, code, effect.clone())];
        assert_eq!(judged(*kind, *state, &said), *expected, "{kind} {code}");
    }
}

#[test]
fn a_host_names_what_is_wrong_with_its_secret() {
    let secret = object("Secret");
    let host = diagnostic(Kind::Host, &codes::E_HOST_TLS, Effect::FieldIgnored)
        .related(secret.clone(), "the Secret");
    let own = Diagnostic::new(codes::E_CERT_MISMATCH, secret.clone(), "", "another key");
    let judgement = judge(
        Kind::Host,
        &status(ObjectState::PartlyAccepted),
        &[&host],
        &|object| {
            assert_eq!(*object, secret);
            vec![own.clone()]
        },
    );
    let tls = &judgement.verdicts[1];
    assert_eq!(
        (tls.type_, tls.truth, tls.reason),
        ("TLSReady", Truth::False, "KeyMismatch")
    );
}

#[test]
fn last_good_serving_is_visible() {
    // Whatever the fault is about: the version that was written is not the one that serves.
    for code in [&codes::E_MAP_REGEX, &codes::E_MAP_RESOLVER] {
        let said = diagnostic(Kind::Mapping, code, Effect::ServingLastGood);
        let status = ObjectStatus {
            serving_last_good: true,
            ..status(ObjectState::Rejected)
        };
        let judgement = judge(Kind::Mapping, &status, &[&said], &|_| Vec::new());
        let accepted = &judgement.verdicts[0];
        assert_eq!((accepted.type_, accepted.truth), ("Accepted", Truth::False));
        assert!(accepted.message.starts_with("the last good version serves"));
        assert!(accepted.message.ends_with("words"), "{}", accepted.message);
        let programmed = judgement.verdicts.last().unwrap();
        assert_eq!(programmed.truth, Truth::False);
        assert!(programmed.message.contains("last good version"));
        assert_eq!(judgement.gate, None);
    }
}

#[test]
fn a_rejection_without_a_diagnostic_is_still_one() {
    let status = ObjectStatus {
        reason: Some(codes::E_SCHEMA),
        ..status(ObjectState::Rejected)
    };
    let judgement = judge(Kind::Mapping, &status, &[], &|_| Vec::new());
    assert_eq!(judgement.verdicts[0].truth, Truth::False);
    assert!(judgement.verdicts[0].message.contains("E-SCHEMA"));
}

#[test]
fn messages_are_joined_worst_first_and_bounded() {
    let said = [
        diagnostic(Kind::Mapping, &codes::W_IGNORED, Effect::FieldIgnored),
        diagnostic(Kind::Mapping, &codes::E_MAP_REGEX, Effect::Dropped),
    ];
    let all: Vec<&Diagnostic> = said.iter().collect();
    let state = status(ObjectState::Rejected);
    let judgement = judge(Kind::Mapping, &state, &all, &|_| Vec::new());
    assert_eq!(judgement.verdicts[0].reason, "Invalid");
    assert_eq!(
        judgement.verdicts[0].message,
        "spec.f: words; spec.f: words"
    );

    for text in ["x".repeat(5000), "ö".repeat(5000), "€".repeat(1024)] {
        let whole = text.len();
        let cut = bounded(text);
        assert!(cut.len() <= MAX_MESSAGE, "{}", cut.len());
        let (kept, rest) = cut.split_once("… (").unwrap();
        let left_out: usize = rest.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(kept.len() + left_out, whole);
    }
    assert_eq!(bounded("x".repeat(1024)), "x".repeat(1024));
}
