//! The driver: keys that are due are handed to tasks that run them.
//!
//! A task that is done with its key takes the next one itself, whosever it is, while the dispatcher is locked anyway:
//! what a task costs is paid once for as long as there is work, and nobody is woken in between. [`dispatch`] begins
//! with what nobody is there for: keys that changes or time made ready.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard},
    task::Poll,
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet};

use crate::{
    Dispatcher, Verdict,
    calls::run::run,
    core::{Controller, Core},
    lock::lock,
    scheduling::dispatcher::Job,
    versions::live::Live,
    waking::rounds::Rounds,
};

/// The tasks that run keys, and what they share.
pub(crate) struct Workers {
    pub(crate) core: Arc<Core>,
    live: Arc<Mutex<Live>>,
    tasks: Mutex<JoinSet<()>>,
    /// Whether the API server is away.
    away: watch::Receiver<bool>,
}

/// A key that begins, and the version of its controller that runs it.
pub(crate) type Begun = (Arc<Controller>, Job);

impl Workers {
    pub(crate) fn new(core: Arc<Core>, live: Arc<Mutex<Live>>, away: watch::Receiver<bool>) -> Self {
        Self {
            core,
            live,
            tasks: Mutex::default(),
            away,
        }
    }

    /// The tasks, to be waited for.
    pub(crate) fn take(&self) -> JoinSet<()> {
        std::mem::take(&mut *lock(&self.tasks))
    }

    /// Ends all tasks where they wait next.
    pub(crate) fn abort(&self) {
        lock(&self.tasks).abort_all();
    }

    /// While the API server is away nothing begins: every run would fail at its first write and wait the longer
    /// afterwards.
    fn is_away(&self) -> bool {
        *self.away.borrow()
    }

    /// The next key that may begin. With the dispatcher locked, so that none begins on a version after the switch to
    /// the next.
    fn next(&self, live: &Live, dispatcher: &mut Dispatcher, now: Duration) -> Option<Begun> {
        while let Some(job) = dispatcher.next(now) {
            match live.controller(&job.id) {
                // Its last run, on an older version, may have asked for a key that this one does not see.
                Some(controller) if controller.tenure.sees(&job.taken.key) => return Some((controller.clone(), job)),
                _ => dispatcher.skip(now, &job),
            }
        }
        None
    }

    /// Begins with all keys that may begin, each in a task of its own.
    fn begin(self: &Arc<Self>, live: &Live, dispatcher: &mut Dispatcher, now: Duration) {
        let mut tasks: Option<MutexGuard<'_, JoinSet<()>>> = None;
        while let Some(begun) = self.next(live, dispatcher, now) {
            let tasks = tasks.get_or_insert_with(|| {
                let mut tasks = lock(&self.tasks);
                while tasks.try_join_next().is_some() {}
                tasks
            });
            tasks.spawn(work(self.clone(), begun));
        }
    }

    /// What a task that is done with its key does next; others get tasks of their own. The driver is woken where
    /// something is due before it looks by itself.
    pub(crate) fn go_on(self: &Arc<Self>, dispatcher: &mut Dispatcher, now: Duration) -> Option<Begun> {
        let next = if self.is_away() {
            None
        } else {
            let live = lock(&self.live);
            let next = self.next(&live, dispatcher, now);
            if next.is_some() {
                self.begin(&live, dispatcher, now);
            }
            next
        };
        if dispatcher.is_due_before_alarm() {
            self.core.wake.notify_one();
        }
        next
    }
}

/// Runs a key, and then whatever is next, until nothing is.
async fn work(workers: Arc<Workers>, begun: Begun) {
    let (mut controller, job) = begun;
    let mut permit = Permit::new(&workers.core, job);
    while let Some((next, job)) = run(&workers, controller, permit).await {
        controller = next;
        permit = Permit::new(&workers.core, job);
        others_first().await;
    }
}

/// Whatever else is due on this thread has its turn between two keys. Not tokio's `yield_now`: that asks the operating
/// system for news each time, where this leaves it to the runtime how often.
async fn others_first() {
    let mut waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Hands out keys whenever there are any, and sees to resyncs. While the API server is away nothing begins; once it is
/// back, or something is allowed again, what failed is tried again at once.
#[expect(clippy::disallowed_methods, reason = "the driver: waits for the next due time")]
pub(crate) async fn dispatch(workers: Arc<Workers>, mut better: watch::Receiver<u64>, mut rng: fastrand::Rng) {
    let (core, mut away) = (&workers.core, workers.away.clone());
    let mut rounds = Rounds::default();
    loop {
        // Registered before looking, so that a wake-up in between is not missed.
        let woken = core.wake.notified();
        if *core.stopping.borrow() {
            return;
        }
        let now = core.now();
        // Before the queues are locked: this looks into stores.
        let turns = rounds.step(now, &workers.live, &mut rng);
        let (due, changes) = {
            let mut dispatcher = lock(&core.dispatcher);
            for (id, key, every) in turns {
                dispatcher.resync(now, &id, key, every);
            }
            let due = if *away.borrow_and_update() {
                None
            } else {
                let live = lock(&workers.live);
                dispatcher.lead(now, |plugin| {
                    live.plugin(plugin)
                        .map(|plugin| plugin.api.take_load())
                        .unwrap_or_default()
                });
                workers.begin(&live, &mut dispatcher, now);
                dispatcher.due()
            };
            dispatcher.alarm = due;
            (due, dispatcher.breaker_changes())
        };
        core.shared.tell_breakers(changes);
        let due = rounds.due().into_iter().chain(due).min();
        let due = async {
            match due {
                Some(due) => tokio::time::sleep(due.saturating_sub(core.now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = woken => {}
            // The other end lives as long as the informers, which outlive this.
            Ok(()) = away.changed() => {}
            Ok(()) = better.changed() => lock(&core.dispatcher).hasten(core.now()),
            () = due => {}
        }
    }
}

/// A key in work. It goes back when its task ends before its run (the host is stopping), so that nothing is lost from
/// the queue's view. Not to be dropped while the dispatcher is locked.
pub(crate) struct Permit {
    core: Arc<Core>,
    pub(crate) job: Option<Job>,
}

impl Permit {
    fn new(core: &Arc<Core>, job: Job) -> Self {
        Self {
            core: core.clone(),
            job: Some(job),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            let now = self.core.now();
            let mut dispatcher = lock(&self.core.dispatcher);
            let mut random = lock(&self.core.shared.random);
            dispatcher.finished(now, &mut random, &job, &Verdict::Unstarted);
            // The permit is anybody's now, and nobody goes on in this task.
            self.core.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use pilothouse_object::Key;
    use pilothouse_workqueue::QueueConfig;

    use super::*;
    use crate::{Cause, ControllerId, What};

    #[test]
    fn the_driver_is_woken_where_something_is_due_before_it_looks_by_itself() {
        let (mut dispatcher, id) = (Dispatcher::new(1), ControllerId::new("plugin", "controller"));
        dispatcher.register(id.clone(), 1, QueueConfig::default());
        dispatcher.start(&id);
        let (now, second) = (Duration::from_secs(100), Duration::from_secs(1));
        let cause = Cause::new(What::Resync, None);
        dispatcher.add(now, &id, Key::new(None, "a"), 0, cause, true);
        let job = dispatcher.next(now).unwrap();
        assert!(!dispatcher.is_due_before_alarm(), "nothing is due");
        let again = Verdict::RequeueAfter(10 * second);
        dispatcher.finished(now, &mut fastrand::Rng::with_seed(1), &job, &again);
        assert!(dispatcher.is_due_before_alarm(), "nobody else would look");
        dispatcher.alarm = Some(now + 20 * second);
        assert!(dispatcher.is_due_before_alarm(), "it would look too late");
        dispatcher.alarm = Some(now + 10 * second);
        assert!(!dispatcher.is_due_before_alarm());
    }

    #[tokio::test]
    async fn others_on_the_thread_have_their_turn_between_two_keys() {
        let turns = std::cell::RefCell::new(Vec::new());
        let takes_turns = async |name: char| {
            for _ in 0..3 {
                turns.borrow_mut().push(name);
                others_first().await;
            }
        };
        futures_util::future::join(takes_turns('a'), takes_turns('b')).await;
        assert_eq!(turns.into_inner(), ['a', 'b', 'a', 'b', 'a', 'b']);
    }
}
