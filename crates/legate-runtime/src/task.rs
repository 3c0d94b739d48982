//! Background tasks whose panics are counted and logged instead of lost.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Spawns a task on the current runtime. Its result is `None` if it panicked.
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<Option<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(guard(name, future))
}

/// As [`spawn`], on a given runtime.
pub fn spawn_on<F>(runtime: &Handle, name: &'static str, future: F) -> JoinHandle<Option<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    runtime.spawn(guard(name, future))
}

/// As [`spawn`], for futures that stay on this thread; needs a `LocalSet`.
pub fn spawn_local<F>(name: &'static str, future: F) -> JoinHandle<Option<F::Output>>
where
    F: Future + 'static,
    F::Output: 'static,
{
    tokio::task::spawn_local(guard(name, future))
}

/// How many tasks have panicked since the start.
#[must_use]
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

async fn guard<F: Future>(name: &'static str, future: F) -> Option<F::Output> {
    let span = tracing::debug_span!("task", task = name);
    let outcome = AssertUnwindSafe(future)
        .catch_unwind()
        .instrument(span)
        .await;
    outcome
        .map_err(|panic| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            let message = panic_message(panic.as_ref());
            tracing::error!(task = name, panic = message, "Task panicked; this is a bug");
        })
        .ok()
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_counted() {
        let before = panics();
        assert_eq!(spawn("fine", async { 7 }).await.unwrap(), Some(7));
        assert_eq!(
            spawn("broken", async { panic!("on purpose") })
                .await
                .unwrap(),
            None::<()>
        );
        assert_eq!(panics(), before + 1);
    }
}
