//! Asking a store about a request.

use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, Script, ServerErrorKind};
use tokio::time::{Instant, timeout_at};

use super::connection::{Connections, Link};
use crate::limit::decide::{self, Hit, Hits, Verdict};
use crate::limit::rules::Place;
use crate::limit::store::{Charge, Shape};
use crate::limit::{Limiter, here};

/// Decides and charges all keys at once: all of them, or none but those that never refuse.
///
/// A key holds the arrival time and the period that it was counted in, both in microseconds: doubles
/// hold no more. `ARGV` has the period, the window and whether it enforces for each key. What comes
/// back is, for each, how long to wait (-1: it fits) and what is owed.
const CODE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cells, over = {}, false
for i, key in ipairs(KEYS) do
  local period, window = tonumber(ARGV[i * 3 - 2]), tonumber(ARGV[i * 3 - 1])
  local enforces, debt = ARGV[i * 3] == '1', 0
  local held = redis.call('GET', key)
  local arrival, counted = string.match(held or '', '^(%d+) (%d+)$')
  if arrival then
    debt = math.max(tonumber(arrival) - now, 0)
    counted = tonumber(counted)
    if counted ~= period and counted > 0 then
      debt = math.min(debt / counted * period, window)
    end
  end
  local fits = debt + period <= window
  over = over or (enforces and not fits)
  cells[i] = {period, window, enforces, debt, fits}
end
local out = {}
for i, key in ipairs(KEYS) do
  local period, window, enforces, debt, fits = unpack(cells[i])
  if fits and not (over and enforces) then
    debt = debt + period
    local value = string.format('%.0f %.0f', now + debt, period)
    redis.call('SET', key, value)
    redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(debt / 1000)))
  end
  out[i * 2 - 1] = fits and -1 or debt + period - window
  out[i * 2] = debt
end
return out
";

/// The script, with the hash that stores know it by.
static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(CODE));

/// Why a store gave no answer.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("no connection")]
    Unconnected,
    #[error("no answer in time")]
    Late,
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("an answer that makes no sense")]
    Garbage,
}

/// Decides about a request that some store has to be asked about, and charges it. Whether it may
/// pass.
pub(crate) async fn decide(
    limiter: &Limiter,
    connections: &Connections,
    hits: &mut Hits<'_>,
) -> bool {
    let now = limiter.now();
    if refused_before(limiter, hits, now) {
        return false;
    }
    let gateways = limiter.gateways();
    let local = |hit: &Hit<'_>| hit.digest.is_none().then(|| here(hit, gateways));
    if !decide::decide(limiter, hits, now, local) {
        return false;
    }
    let mut stores: Vec<Arc<str>> = Vec::new();
    for hit in hits.iter() {
        if let (Some(_), Place::Store(name)) = (&hit.digest, &hit.rule.place)
            && !stores.contains(name)
        {
            stores.push(Arc::clone(name));
        }
    }
    for name in stores {
        if !one(limiter, connections, &name, hits).await {
            decide::refund(limiter, hits, limiter.now(), local);
            return false;
        }
    }
    true
}

/// What one store says about its rules. Whether the request may pass.
async fn one(
    limiter: &Limiter,
    connections: &Connections,
    name: &str,
    hits: &mut Hits<'_>,
) -> bool {
    let counted_there = |hit: &Hit<'_>| {
        hit.digest.is_some() && matches!(&hit.rule.place, Place::Store(place) if &**place == name)
    };
    if let Some(link) = connections.link(name) {
        let now = limiter.now();
        if link.store.may_ask(now) {
            let asked: Vec<&mut Hit<'_>> =
                hits.iter_mut().filter(|hit| counted_there(hit)).collect();
            match ask(limiter, &link, asked).await {
                Ok(admitted) => {
                    link.store.answered();
                    return admitted;
                }
                Err(error) => {
                    if !matches!(&error, Failed::Redis(error) if !error.is_unrecoverable_error()) {
                        link.broke();
                    }
                    link.store.failed(limiter.now(), &error);
                }
            }
        }
        link.store.fell_back();
    }
    let gateways = limiter.gateways();
    let now = limiter.now();
    decide::decide(limiter, hits, now, |hit| {
        counted_there(hit).then_some(gateways)
    })
}

async fn ask(
    limiter: &Limiter,
    link: &Rc<Link>,
    mut hits: Vec<&mut Hit<'_>>,
) -> Result<bool, Failed> {
    let deadline = Instant::now() + link.store.timeout;
    let mut keys = Vec::with_capacity(hits.len());
    let mut arguments = Vec::with_capacity(hits.len() * 3);
    for hit in &hits {
        let (Some(digest), Some(shape)) = (hit.digest, hit.rule.shape(1)) else {
            return Err(Failed::Garbage);
        };
        let domain = limiter.prefix(&hit.domain.name);
        keys.push(format!("{domain}:{}:{digest}", hit.rule.identity.short()));
        let period = micros(shape.period()).max(1);
        arguments.push(period);
        arguments.push(period.saturating_mul(burst(shape)));
        arguments.push(u64::from(hit.rule.enforces()));
    }
    let asking = async {
        let mut connection = link.connection().await.ok_or(Failed::Unconnected)?;
        run(&mut connection, &keys, &arguments).await
    };
    let answer = timeout_at(deadline, asking)
        .await
        .unwrap_or(Err(Failed::Late))?;
    let (pairs, rest) = answer.as_chunks::<2>();
    if pairs.len() != hits.len() || !rest.is_empty() {
        return Err(Failed::Garbage);
    }
    let now = limiter.now();
    let gateways = limiter.gateways();
    let mut admitted = true;
    for (hit, [wait, debt]) in hits.iter_mut().zip(pairs) {
        let nanos = |micros: i64| u64::try_from(micros).unwrap_or(0).saturating_mul(1000);
        if *wait < 0 {
            hit.verdict = Verdict::Fits(nanos(*debt));
            continue;
        }
        let wait = nanos(*wait).max(1);
        hit.verdict = Verdict::Over(Some(wait));
        if hit.rule.enforces() {
            admitted = false;
            let cells = limiter.store();
            cells.set(hit.key.refusal(), Shape::once(wait), wait, now);
        }
    }
    // What passes is charged here, too, so that the cell is not full when the store falls silent.
    for hit in hits {
        if let (Verdict::Fits(_), Some(shape)) = (hit.verdict, hit.rule.shape(gateways))
            && (admitted || !hit.rule.enforces())
        {
            let (Charge::Fits(_) | Charge::Over(_)) = limiter.store().charge(hit.key, shape, now);
        }
    }
    Ok(admitted)
}

/// Whether a store refused one of the keys, and the time to wait is not over.
fn refused_before(limiter: &Limiter, hits: &mut Hits<'_>, now: u64) -> bool {
    let mut refused = false;
    for hit in hits.iter_mut() {
        if hit.digest.is_none() || !hit.rule.enforces() {
            continue;
        }
        let (key, cells) = (hit.key.refusal(), limiter.store());
        let wait = cells.held(key, now);
        if wait > 0 {
            hit.verdict = Verdict::Over(Some(wait));
            refused = true;
        }
    }
    refused
}

/// Runs the script by its hash; a store that does not know it yet gets it whole, once.
async fn run(
    connection: &mut MultiplexedConnection,
    keys: &[String],
    arguments: &[u64],
) -> Result<Vec<i64>, Failed> {
    let by_hash = command("EVALSHA", SCRIPT.get_hash(), keys, arguments);
    match by_hash.query_async(connection).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            let whole = command("EVAL", CODE, keys, arguments);
            Ok(whole.query_async(connection).await?)
        }
        answer => Ok(answer?),
    }
}

fn command(name: &str, script: &str, keys: &[String], arguments: &[u64]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
    command
}

fn micros(nanos: u64) -> u64 {
    nanos.saturating_add(500) / 1000
}

/// Requests at once.
fn burst(shape: Shape) -> u64 {
    shape.window() / shape.period()
}
