//! What another may see, as whom a plugin's own requests go out: asked for by access reviews, since what a plugin reads
//! from the cache never reaches the API server, which would refuse it there.
//!
//! Promises: a plugin that acts as another is not called, and its reads are refused, until every review of what it
//! watches has allowed it once; and again from the first review that denies it until all allow it. A review that gets
//! no answer changes nothing: that the API server is away is no denial, and no permission. A change of rights is seen
//! within [`EVERY`].
//!
//! What decides is [`Reviewed`], a pure step; `reviews` sends what [`questions`] asks.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;
use pilothouse_lifecycle::{NotServed, Plugin};
use pilothouse_runtime::{ApiError, reason};

use crate::lock::lock;

mod questions;
mod reviews;

use questions::Question;
pub(crate) use reviews::{ask, run};

/// What was allowed is asked for again after this time, give or take a tenth.
pub(crate) const EVERY: Duration = Duration::from_secs(300);

/// What was denied is asked for again after this time, so that who mends it need not wait long.
pub(crate) const DENIED: Duration = Duration::from_secs(60);

/// The first pause after a review without an answer; it doubles with each up to [`EVERY`].
const NO_ANSWER: Duration = Duration::from_secs(1);

/// What the reviews say so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// None has been answered; why, where one was tried.
    Unreviewed(Option<String>),
    /// All allow it.
    Allowed,
    /// One denies it: in words, with the mend.
    Denied(String),
}

/// What one round of reviews found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Every one allows it.
    Allowed,
    /// One does not: in words, with the mend.
    Denied(String),
    /// One had no answer, and none before it denied.
    NoAnswer(String),
}

impl Finding {
    /// What [`Finding::as_str`] may say.
    pub(crate) const ALL: [&'static str; 3] = ["allowed", "denied", "no_answer"];

    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied(_) => "denied",
            Self::NoAnswer(_) => "no_answer",
        }
    }
}

/// When to ask, and what the answers come to.
#[derive(Debug)]
pub(crate) struct Reviewed {
    standing: Standing,
    due: Duration,
    /// Rounds without an answer since the last with one.
    unanswered: u32,
}

impl Reviewed {
    /// Due at once.
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            standing: Standing::Unreviewed(None),
            due: now,
            unanswered: 0,
        }
    }

    pub(crate) fn due(&self) -> Duration {
        self.due
    }

    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Takes what a round found; true where something is to be told.
    pub(crate) fn step(&mut self, now: Duration, rng: &mut fastrand::Rng, finding: Finding) -> bool {
        let pause = match &finding {
            Finding::Allowed => EVERY,
            Finding::Denied(_) => DENIED,
            Finding::NoAnswer(_) => {
                let doubled = NO_ANSWER.saturating_mul(1 << self.unanswered.min(16));
                doubled.min(EVERY)
            }
        };
        self.due = now + pause.mul_f64(0.9 + 0.2 * rng.f64());
        self.unanswered = match finding {
            Finding::NoAnswer(_) => self.unanswered.saturating_add(1),
            _ => 0,
        };
        let standing = match (finding, &self.standing) {
            (Finding::Allowed, _) => Standing::Allowed,
            (Finding::Denied(why), _) => Standing::Denied(why),
            (Finding::NoAnswer(why), Standing::Unreviewed(_)) => Standing::Unreviewed(Some(why)),
            // Neither a denial nor a permission.
            (Finding::NoAnswer(_), _) => return self.unanswered == 1,
        };
        let told = standing != self.standing;
        self.standing = standing;
        told
    }
}

/// One version of a plugin that acts as another.
#[derive(Debug)]
pub(crate) struct Access {
    plugin: Arc<str>,
    /// Whom: for people, and as the API server knows it.
    pub(crate) whom: String,
    pub(crate) user: HeaderValue,
    user_text: String,
    groups: Vec<String>,
    questions: Vec<Question>,
    reviewed: Mutex<Reviewed>,
    /// As the reviews say, for who looks often.
    allowed: AtomicBool,
}

impl Access {
    /// None for a plugin that acts as the host.
    ///
    /// # Errors
    /// There would be too much to ask, or the user can't be named to an API server.
    pub(crate) fn of(plugin: &Plugin, now: Duration) -> Result<Option<Arc<Self>>, NotServed> {
        let Some(other) = &plugin.impersonate else {
            return Ok(None);
        };
        let user_text = other.user();
        let user = HeaderValue::from_str(&user_text).map_err(|_| NotServed {
            why: "the user that it is to act as can't be named in a request".to_owned(),
            mend: "correct `impersonate` in the plugin's settings".to_owned(),
        })?;
        let access = Self {
            plugin: plugin.name.clone(),
            whom: other.to_string(),
            user,
            user_text,
            groups: other.groups(),
            questions: questions::questions(&plugin.manifest, &plugin.capabilities)?,
            reviewed: Reviewed::new(now).into(),
            allowed: AtomicBool::new(false),
        };
        Ok(Some(Arc::new(access)))
    }

    /// Whether the plugin may be called, and read.
    pub(crate) fn is_allowed(&self) -> bool {
        self.allowed.load(Ordering::Acquire)
    }

    pub(crate) fn standing(&self) -> Standing {
        lock(&self.reviewed).standing().clone()
    }

    pub(crate) fn due(&self) -> Duration {
        lock(&self.reviewed).due()
    }

    /// Takes what a round found; what is to be told is logged.
    pub(crate) fn take(&self, now: Duration, rng: &mut fastrand::Rng, finding: Finding) {
        let (told, standing) = {
            let mut reviewed = lock(&self.reviewed);
            let told = reviewed.step(now, rng, finding.clone());
            (told, reviewed.standing().clone())
        };
        self.allowed.store(standing == Standing::Allowed, Ordering::Release);
        if !told {
            return;
        }
        let (plugin, whom) = (&*self.plugin, &*self.whom);
        match (finding, standing) {
            (Finding::Allowed, _) => {
                tracing::info!(plugin, whom, "access reviewed: it may see what the plugin watches")
            }
            (Finding::Denied(why), _) => {
                tracing::warn!(plugin, whom, "the plugin is not called: {why}");
            }
            (Finding::NoAnswer(why), Standing::Unreviewed(_)) => {
                tracing::warn!(
                    plugin,
                    whom,
                    "the plugin is not called yet: its access could not be reviewed: {why}"
                );
            }
            (Finding::NoAnswer(why), _) => {
                tracing::warn!(
                    plugin,
                    whom,
                    "access could not be reviewed again, and stays as it was: {why}"
                );
            }
        }
    }

    /// For a call of the plugin: its reads are refused while it may not see what it watches.
    ///
    /// # Errors
    /// Fit for the guest.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        if self.is_allowed() {
            return Ok(());
        }
        let why = match self.standing() {
            Standing::Denied(why) => why,
            _ => format!("what {} may see has not been reviewed yet", self.whom),
        };
        Err(ApiError {
            code: 403,
            ..ApiError::of_host(reason::DENIED, why)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn denied() -> Finding {
        Finding::Denied("no".to_owned())
    }

    fn no_answer() -> Finding {
        Finding::NoAnswer("away".to_owned())
    }

    struct World {
        now: Duration,
        rng: fastrand::Rng,
        reviewed: Reviewed,
    }

    impl World {
        fn new() -> Self {
            Self {
                now: Duration::from_secs(1_000),
                rng: fastrand::Rng::with_seed(1),
                reviewed: Reviewed::new(Duration::from_secs(1_000)),
            }
        }

        /// Whether it is told, and in how many seconds the next round is due.
        fn hears(&mut self, finding: Finding) -> (bool, u64) {
            self.now = self.now.max(self.reviewed.due());
            let told = self.reviewed.step(self.now, &mut self.rng, finding);
            (told, (self.reviewed.due() - self.now).as_secs())
        }
    }

    #[test]
    fn the_first_round_is_due_at_once_and_nothing_is_allowed_before_it() {
        let world = World::new();
        assert_eq!(world.reviewed.due(), world.now);
        assert_eq!(*world.reviewed.standing(), Standing::Unreviewed(None));
    }

    #[test]
    fn what_is_allowed_is_asked_for_again_about_every_five_minutes_and_told_once() {
        let mut world = World::new();
        for told in [true, false, false] {
            let (is_told, pause) = world.hears(Finding::Allowed);
            assert_eq!(is_told, told);
            assert!((270..=330).contains(&pause), "{pause}");
        }
    }

    #[test]
    fn a_denial_holds_from_the_round_that_finds_it_until_one_that_allows_it() {
        let mut world = World::new();
        world.hears(Finding::Allowed);
        let (told, pause) = world.hears(denied());
        assert!(told && pause <= 66, "{pause}");
        assert_eq!(*world.reviewed.standing(), Standing::Denied("no".to_owned()));
        assert!(!world.hears(denied()).0);
        assert!(world.hears(Finding::Allowed).0);
        assert_eq!(*world.reviewed.standing(), Standing::Allowed);
    }

    #[test]
    fn a_review_without_an_answer_is_neither_a_denial_nor_a_permission() {
        for before in [Finding::Allowed, denied()] {
            let mut world = World::new();
            world.hears(before);
            let standing = world.reviewed.standing().clone();
            assert!(world.hears(no_answer()).0, "said once");
            assert!(!world.hears(no_answer()).0);
            assert_eq!(*world.reviewed.standing(), standing);
        }
        let mut world = World::new();
        world.hears(no_answer());
        assert_eq!(
            *world.reviewed.standing(),
            Standing::Unreviewed(Some("away".to_owned()))
        );
    }

    #[test]
    fn without_an_answer_it_asks_less_and_less_often() {
        let mut world = World::new();
        let pauses: Vec<u64> = (0..12).map(|_| world.hears(no_answer()).1).collect();
        assert!(pauses[0] <= 1 && pauses[3] >= 7 && pauses[11] >= 270, "{pauses:?}");
        let (_, pause) = world.hears(Finding::Allowed);
        assert!(pause >= 270);
        assert!(world.hears(no_answer()).1 <= 1, "it begins anew");
    }

    fn any_finding() -> impl Strategy<Value = Finding> {
        prop_oneof![Just(Finding::Allowed), Just(denied()), Just(no_answer())]
    }

    proptest! {
        #[test]
        fn the_last_answer_counts_and_the_next_round_is_never_further_than_five_minutes_and_a_half(
            findings in proptest::collection::vec(any_finding(), 0..40), seed: u64,
        ) {
            let mut world = World { rng: fastrand::Rng::with_seed(seed), ..World::new() };
            for finding in &findings {
                let (_, pause) = world.hears(finding.clone());
                prop_assert!(pause <= 330);
            }
            let last = findings.iter().rev().find(|finding| !matches!(finding, Finding::NoAnswer(_)));
            let allowed = *world.reviewed.standing() == Standing::Allowed;
            prop_assert_eq!(allowed, last == Some(&Finding::Allowed));
        }
    }
}
