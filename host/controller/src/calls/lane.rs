//! A lane of its own for calls that compute for long, so that short ones go past them.
//!
//! A guest yields at each tick of the engine's clock (10 ms), and with two or three of them that compute, whatever else
//! is due on the same threads comes late by as many ticks. So a call whose guest has computed for [`LONG`] at a stretch
//! moves to threads that the system runs only where the others leave it time. And where a controller's last call used
//! [`HEAVY`] altogether, in one stretch or in a thousand host calls, its next one begins there.
//!
//! Promises: a call is carried on by one thread at a time, and ends with whoever waits for it; what it starts or waits
//! for (timers, connections, tasks) is the host's runtime's as before; a call that is short, or that only waits, never
//! leaves the thread it began on. It bounds nobody: how long a guest may compute is said by its limits.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Handle, Runtime};

/// A guest that has computed for so long without a pause computes for long. Small plugins take some 0.02 ms for a key;
/// and the move costs some 0.05 ms.
const LONG: Duration = Duration::from_millis(2);

/// A call that has used so much CPU time is heavy. A thousand reads from the cache take some 4 ms, between which
/// nothing else has its turn on their thread.
const HEAVY: Duration = Duration::from_micros(500);

/// How much the lane's threads stand back: a ninth of the time, where both want all of it, and at once where others
/// wake. Not the last place: that is the compiler's.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Threads for calls that compute for long. Clones share them; they end with the last.
#[derive(Clone)]
pub struct Lane {
    threads: Arc<Threads>,
    long: Duration,
}

struct Threads {
    runtime: Option<Runtime>,
}

impl Lane {
    /// Starts as many threads as there are processors.
    ///
    /// # Errors
    /// The operating system gives no threads.
    pub fn start() -> std::io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("pilothouse-long")
            .on_thread_start(stand_back)
            .build()?;
        Ok(Self {
            threads: Arc::new(Threads { runtime: Some(runtime) }),
            long: LONG,
        })
    }

    /// Whether a call of this CPU time makes the next one of its controller begin in the lane.
    pub(crate) fn is_heavy(cpu: Duration) -> bool {
        cpu >= HEAVY
    }

    /// Carries a call to its end: on the caller's thread while it is short, else in the lane; there from the beginning
    /// where the one before it was heavy.
    #[expect(
        clippy::disallowed_methods,
        reason = "a driver: measures how long a call keeps a thread"
    )]
    pub(crate) fn carry<T: Send + 'static>(
        &self,
        heavy: bool,
        call: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> {
        // Here and not when it is first polled: what waits would be as large as the call, and is moved about.
        let mut call = Box::pin(call);
        async move {
            if heavy {
                return self.finish(call).await;
            }
            let short = poll_fn(|context| {
                let begun = Instant::now();
                match call.as_mut().poll(context) {
                    Poll::Ready(done) => Poll::Ready(Some(done)),
                    Poll::Pending if begun.elapsed() >= self.long => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            });
            match short.await {
                Some(done) => done,
                None => self.finish(call).await,
            }
        }
    }

    async fn finish<T: Send + 'static>(&self, mut call: Pin<Box<dyn Future<Output = T> + Send>>) -> T {
        let home = Handle::current();
        let carried = poll_fn(move |context| {
            let _at_home = home.enter();
            call.as_mut().poll(context)
        });
        let Some(lane) = &self.threads.runtime else {
            // Only while it is dropped, and whoever calls this holds it.
            return carried.await;
        };
        let mut carried = AbortOnDrop(lane.spawn(carried));
        match (&mut carried.0).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                // As if it had panicked right here.
                Ok(panic) => std::panic::resume_unwind(panic),
                // Nobody but this ends it before its end. It would be the lane that went, and with it the host.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// Who waited is gone: so is the call.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Dropping it would wait, which the threads of a runtime must not do.
            runtime.shutdown_background();
        }
    }
}

/// The calling thread comes after others from now on. Where that can't be, long calls are only elsewhere.
fn stand_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!("plugins that compute for long have the same right to the processors as all others: {error}");
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "threads and their time are what is tested")]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        thread::{self, sleep},
    };

    use super::*;

    fn name() -> String {
        thread::current().name().unwrap_or_default().to_owned()
    }

    /// As a guest that computes until its tick.
    async fn computes(length: Duration) {
        let mut computed = false;
        poll_fn(|context| {
            if std::mem::replace(&mut computed, true) {
                return Poll::Ready(());
            }
            sleep(length);
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    #[tokio::test]
    async fn a_call_that_is_short_or_waits_stays_on_its_thread() {
        // Longer than a machine that is busy with other things makes a moment.
        let (lane, own) = (
            Lane {
                long: Duration::from_secs(60),
                ..Lane::start().unwrap()
            },
            name(),
        );
        let on = lane.carry(false, async {
            computes(Duration::ZERO).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            name()
        });
        assert_eq!(on.await, own);
    }

    #[tokio::test]
    async fn a_call_that_computes_for_long_goes_on_in_the_lane_and_comes_back_with_its_result() {
        let lane = Lane::start().unwrap();
        let (first, then) = lane
            .carry(false, async {
                let first = name();
                computes(LONG * 2).await;
                (first, name())
            })
            .await;
        assert_ne!(first, then);
        assert_eq!(then, "pilothouse-long");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_lane_comes_after_all_others() {
        let lane = Lane::start().unwrap();
        let own = || rustix::process::getpriority_process(None).unwrap();
        let before = own();
        let there = lane.carry(false, async move {
            computes(LONG * 2).await;
            own()
        });
        assert_eq!(there.await, before.max(NICE));
        assert_eq!(own(), before);
    }

    #[tokio::test]
    async fn timers_and_tasks_of_a_call_in_the_lane_are_of_the_runtime_it_came_from() {
        let lane = Lane::start().unwrap();
        let own = name();
        let on = lane.carry(false, async {
            computes(LONG * 2).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            let spawned = tokio::spawn(async { name() });
            spawned.await.unwrap()
        });
        assert_eq!(on.await, own);
    }

    #[tokio::test]
    async fn a_call_in_the_lane_ends_with_whoever_waits_for_it() {
        struct Told(Arc<AtomicBool>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let lane = Lane::start().unwrap();
        let gone = Arc::new(AtomicBool::new(false));
        let told = Told(gone.clone());
        let waits = lane.carry(false, async move {
            let _told = told;
            computes(LONG * 2).await;
            std::future::pending::<()>().await;
        });
        let waited = tokio::time::timeout(Duration::from_millis(50), waits).await;
        assert!(waited.is_err());
        while !gone.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_panic_in_the_lane_is_one_of_the_caller() {
        use futures_util::FutureExt as _;
        let lane = Lane::start().unwrap();
        let call = lane.carry(false, async {
            computes(LONG * 2).await;
            panic!("here");
        });
        let panicked = std::panic::AssertUnwindSafe(call).catch_unwind().await.unwrap_err();
        assert_eq!(panicked.downcast_ref::<&str>(), Some(&"here"));
    }

    #[tokio::test]
    async fn after_a_heavy_call_the_next_one_begins_in_the_lane() {
        let lane = Lane::start().unwrap();
        assert!(Lane::is_heavy(HEAVY) && !Lane::is_heavy(Duration::from_micros(20)));
        assert_eq!(lane.carry(true, async { name() }).await, "pilothouse-long");
    }
}
