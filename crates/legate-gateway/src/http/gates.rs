//! What stands between a request's route and its upstream: who lets it pass, and in which order
//! (spec/services §0.1).
//!
//! 1. external authorisation ([`check`]), after which the route is looked for again
//! 2. CORS of the final route: preflights are answered here
//! 3. limits that we count: [`limits`], which waits only where a store has to be asked
//! 4. limits that somebody else counts: [`rate_limit`]
//! 5. the body, where it is collected first: [`collect`]. Nobody who is refused makes us do so
//!
//! A request that nobody has to be asked about goes through [`enter`] only, which neither waits nor
//! allocates. All others wait in a [`Waiting`], and are taken on by [`pass`].

use std::rc::Rc;

use http::Response;
use http::request::Parts;
use hyper::upgrade::OnUpgrade;

use super::body::{RequestBody, ResponseBody};
use super::check::{self, Held};
use super::collect;
use super::exchange::Exchange;
use super::limits::{self, Known};
use super::prepare::{self, Step};
use super::proxy::note;
use super::rate_limit;
use super::respond::{self, About};
use super::route::{self, Decision, Forward};
use crate::config::Target;
use crate::reply::Reply;
use crate::request::{CompiledPolicy, wants_preflight};

/// A request whose route is final; `exchange` knows which it is.
pub(super) struct Routed {
    pub(super) head: Parts,
    pub(super) body: RequestBody,
    pub(super) forward: Forward,
    pub(super) about: About<'static>,
    pub(super) on_upgrade: Option<OnUpgrade>,
}

/// A request that somebody is asked about.
pub(super) enum Waiting {
    /// External authorisation first.
    Check(Box<Held>),
    /// Only those that come after it.
    Routed(Box<Routed>),
}

/// What becomes of a request with a final route.
#[expect(
    clippy::large_enum_variant,
    reason = "most are the large one, which is taken apart at once"
)]
pub(super) enum Entered {
    /// Nobody has to be asked.
    Decided(Step),
    /// Somebody is.
    Waiting(Box<Routed>),
}

/// Takes a request with a final route as far as it goes without waiting.
pub(super) fn enter(exchange: &Rc<Exchange>, mut routed: Routed) -> Entered {
    if let Some(answer) = admit(exchange, &mut routed) {
        return Entered::Decided(Step::Answered(answer));
    }
    let asked = match limits::admit(exchange, &mut routed) {
        Known::Over(answer) => return Entered::Decided(Step::Answered(*answer)),
        Known::Asked => true,
        Known::Within => false,
    };
    if asked || rate_limit::waits(exchange) || collect::waits(exchange, &routed) {
        return Entered::Waiting(Box::new(routed));
    }
    Entered::Decided(prepare::proceed(exchange, routed))
}

/// Asks whoever there is to be asked, one after the other, and goes on with the request or with the
/// first refusal.
pub(super) async fn pass(exchange: &Rc<Exchange>, waiting: Waiting) -> Step {
    let mut routed = match waiting {
        Waiting::Routed(routed) => routed,
        Waiting::Check(held) => match checked(exchange, held).await {
            Entered::Decided(step) => return step,
            Entered::Waiting(routed) => routed,
        },
    };
    if let Some(answer) = limits::ask(exchange, &mut routed).await {
        return Step::Answered(answer);
    }
    if let Some(answer) = rate_limit::ask(exchange, &mut routed).await {
        return Step::Answered(answer);
    }
    if let Some(refusal) = collect::collect(exchange, &mut routed).await {
        return Step::Answered(refusal);
    }
    prepare::proceed(exchange, *routed)
}

/// External authorisation. What may pass has its route looked for again: headers are others now.
async fn checked(exchange: &Rc<Exchange>, mut held: Box<Held>) -> Entered {
    if let Err(refusal) = check::ask(exchange, &mut held).await {
        let response = check::refuse(exchange, &held, refusal);
        return Entered::Decided(Step::Answered(response));
    }
    let Held {
        head,
        body,
        mut arrived,
        about,
        on_upgrade,
        ..
    } = *held;
    exchange.passed();
    let reply = match route::decide(exchange, &head, &mut arrived, true) {
        Ok(Decision::Forward(forward)) => {
            let routed = Routed {
                head,
                body,
                forward,
                about,
                on_upgrade,
            };
            return enter(exchange, routed);
        }
        // It is not asked for twice; were it, nothing would be the safe answer.
        Ok(Decision::Check(..)) => Reply::cluster_not_found(),
        Err(reply) => {
            note(exchange, &head, about.version);
            reply
        }
    };
    Entered::Decided(Step::Answered(respond::local(exchange, reply, &about)))
}

/// What is decided about a request with a final route on the spot; `Some` is its answer.
fn admit(exchange: &Rc<Exchange>, routed: &mut Routed) -> Option<Response<ResponseBody>> {
    let Some(Target::Cluster { policy, .. }) = exchange.target() else {
        // It has no upstream, which is said when it would be sent.
        return None;
    };
    cross_origin(exchange, &routed.head, policy, &routed.about)
}

/// CORS of the target that wins: remembers the client's origin for the response, where it is allowed,
/// and answers a preflight.
pub(super) fn cross_origin(
    exchange: &Rc<Exchange>,
    head: &Parts,
    policy: &CompiledPolicy,
    about: &About<'static>,
) -> Option<Response<ResponseBody>> {
    let allowed = policy
        .cors
        .as_ref()
        .and_then(|cors| Some((cors, cors.allowed(&head.headers)?)));
    // Of another target than before, perhaps, where authorisation changed headers.
    *exchange.origin.borrow_mut() = allowed.map(|(_, origin)| origin.clone());
    let (cors, origin) = allowed?;
    wants_preflight(&head.method, &head.headers).then(|| {
        note(exchange, head, about.version);
        respond::preflight(exchange, cors, origin, about)
    })
}
