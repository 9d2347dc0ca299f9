use super::*;
use crate::QueueConfig;

const SECOND: Duration = Duration::from_secs(1);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn rng() -> fastrand::Rng {
    fastrand::Rng::with_seed(7)
}

fn exponential(base: Duration, cap: Duration) -> Limit {
    Limit::Exponential {
        base,
        cap,
        jitter: false,
    }
}

fn tenth_of_a_second(burst: u32) -> Limit {
    Limit::Bucket { every: ms(100), burst }
}

/// What keys wait that fail for the first time at `now`.
fn first_waits(limiter: &mut Limiter, now: Duration, count: usize) -> Vec<Duration> {
    (0..count).map(|_| limiter.wait(now, 0, &mut rng())).collect()
}

#[test]
fn rule_14_the_back_off_doubles_from_its_base_up_to_its_cap() {
    let mut limiter = Limiter::new(exponential(ms(5), 300 * SECOND));
    let mut wait = |failures| limiter.wait(Duration::ZERO, failures, &mut rng());
    assert_eq!([0, 1, 2, 3].map(&mut wait), [ms(5), ms(10), ms(20), ms(40)]);
    assert_eq!(wait(15), ms(5 << 15));
    assert_eq!(wait(16), 300 * SECOND);
}

#[test]
fn rule_14_no_number_of_failures_overflows_the_back_off() {
    let after = |base, cap, failures| Limiter::new(exponential(base, cap)).wait(Duration::MAX, failures, &mut rng());
    for failures in [31, 32, 63, 64, 127, 128, 129, u32::MAX] {
        assert_eq!(after(ms(5), 300 * SECOND, failures), 300 * SECOND);
    }
    assert_eq!(after(Duration::MAX, Duration::MAX, u32::MAX), Duration::MAX);
    assert_eq!(after(Duration::ZERO, 300 * SECOND, u32::MAX), Duration::ZERO);
    assert_eq!(after(ms(5), ms(1), 0), ms(1));
}

#[test]
fn rule_14_full_jitter_draws_from_the_whole_back_off_and_never_beyond_it() {
    let waits = |seed| {
        let mut limiter = Limiter::new(QueueConfig::default());
        let mut rng = fastrand::Rng::with_seed(seed);
        (0..1000)
            .map(|_| limiter.wait(Duration::ZERO, 6, &mut rng))
            .collect::<Vec<_>>()
    };
    let (full, drawn) = (ms(5 << 6), waits(7));
    assert!(drawn.iter().all(|wait| *wait <= full));
    assert!(drawn.iter().any(|wait| *wait < full / 10));
    assert!(drawn.iter().any(|wait| *wait > full / 10 * 9));
    assert_eq!(drawn, waits(7), "the same seed draws the same waits");
    assert_ne!(drawn, waits(8));
}

#[test]
fn rule_14_the_defaults_are_those_that_are_stated() {
    let backoff = |cap, jitter| Limit::Exponential {
        base: ms(5),
        cap,
        jitter,
    };
    assert_eq!(Limits::default(), Limits::new([backoff(300 * SECOND, true)]));
    assert_eq!(
        Limits::client_go(),
        Limits::new([backoff(1000 * SECOND, false), tenth_of_a_second(100)])
    );
}

#[test]
fn the_first_failures_are_retried_fast_and_the_others_slowly() {
    let mut limiter = Limiter::new(Limit::FastSlow {
        fast: ms(5),
        slow: 10 * SECOND,
        quick: 3,
    });
    let waits: Vec<Duration> = [0, 1, 2, 3, u32::MAX]
        .map(|failures| limiter.wait(SECOND, failures, &mut rng()))
        .into();
    assert_eq!(waits, [ms(5), ms(5), ms(5), 10 * SECOND, 10 * SECOND]);
}

#[test]
fn rule_16_of_several_limiters_the_longest_wait_wins() {
    let limits = [
        exponential(ms(5), 300 * SECOND),
        Limit::FastSlow {
            fast: ms(8),
            slow: ms(100),
            quick: 2,
        },
    ];
    let mut other_way_round = limits.clone();
    other_way_round.reverse();
    for limits in [limits, other_way_round] {
        let mut limiter = Limiter::new(Limits::new(limits));
        let waits = [0, 1, 2, 4, 5].map(|failures| limiter.wait(SECOND, failures, &mut rng()));
        assert_eq!(waits, [ms(8), ms(10), ms(100), ms(100), ms(160)]);
    }
}

#[test]
fn rule_16_all_limiters_are_consumed_also_those_whose_wait_is_shorter() {
    let mut limiter = Limiter::new(Limits::new([
        exponential(60 * SECOND, 60 * SECOND),
        tenth_of_a_second(2),
        tenth_of_a_second(3),
    ]));
    assert_eq!(first_waits(&mut limiter, SECOND, 4), [60 * SECOND; 4]);
    limiter.set(Limits::new([tenth_of_a_second(3), tenth_of_a_second(2)]));
    assert_eq!(
        first_waits(&mut limiter, SECOND, 1),
        [ms(300)],
        "two tokens in hand, five taken, of the smaller bucket"
    );
}

#[test]
fn rule_17_a_bucket_gives_its_burst_at_once_and_then_ten_a_second() {
    let mut limiter = Limiter::new(tenth_of_a_second(100));
    let waits = first_waits(&mut limiter, SECOND, 130);
    assert!(waits[..100].iter().all(Duration::is_zero));
    let expected: Vec<Duration> = (1..=30).map(|number| ms(100 * number)).collect();
    assert_eq!(waits[100..], expected);
}

#[test]
fn rule_17_tokens_come_back_with_time_up_to_the_burst_and_no_further() {
    let mut limiter = Limiter::new(tenth_of_a_second(3));
    assert_eq!(first_waits(&mut limiter, SECOND, 4), [ms(0), ms(0), ms(0), ms(100)]);
    assert_eq!(
        first_waits(&mut limiter, SECOND + ms(50), 1),
        [ms(150)],
        "the debt is paid first"
    );
    assert_eq!(first_waits(&mut limiter, SECOND + ms(350), 2), [ms(0), ms(50)]);
    let long_after = 1000 * SECOND;
    assert_eq!(first_waits(&mut limiter, long_after, 4), [ms(0), ms(0), ms(0), ms(100)]);
}

#[test]
fn rule_17_no_time_and_no_rate_overflows_the_bucket() {
    for (every, burst) in [
        (Duration::MAX, u32::MAX),
        (Duration::MAX, 1),
        (ms(1), u32::MAX),
        (Duration::ZERO, 0),
    ] {
        let mut limiter = Limiter::new(Limit::Bucket { every, burst });
        for now in [Duration::ZERO, Duration::MAX, SECOND, Duration::MAX] {
            first_waits(&mut limiter, now, 3);
        }
    }
    let mut limiter = Limiter::new(Limit::Bucket {
        every: Duration::MAX,
        burst: 1,
    });
    assert_eq!(first_waits(&mut limiter, SECOND, 1), [ms(0)]);
}

#[test]
fn rule_17_a_bucket_keeps_its_tokens_through_new_settings_that_leave_it_as_it_is() {
    let mut limiter = Limiter::new(Limits::client_go());
    first_waits(&mut limiter, SECOND, 100);
    limiter.set(Limits::new([tenth_of_a_second(50), tenth_of_a_second(100)]));
    assert_eq!(first_waits(&mut limiter, SECOND, 1), [ms(100)]);
    limiter.set(tenth_of_a_second(10));
    assert_eq!(
        first_waits(&mut limiter, SECOND, 1),
        [ms(0)],
        "another bucket is a new one"
    );
}

#[test]
fn attempts_have_an_end_where_one_is_set() {
    assert!(!Limiter::new(QueueConfig::default()).gives_up(u32::MAX));
    let limiter = Limiter::new(Limits::new([Limit::Attempts { most: 7 }, Limit::Attempts { most: 3 }]));
    assert_eq!(
        [1, 2, 3, 4].map(|attempts| limiter.gives_up(attempts)),
        [false, false, true, true]
    );
    assert!(Limiter::new(Limit::Attempts { most: 0 }).gives_up(1));
}

#[test]
fn settings_that_can_only_be_mistakes_are_refused_and_say_which_and_why() {
    let fine = exponential(ms(5), SECOND);
    let fast_slow = |fast, slow| Limit::FastSlow { fast, slow, quick: 3 };
    for (limit, word) in [
        (exponential(ms(0), SECOND), "base"),
        (exponential(SECOND, ms(5)), "cap"),
        (fast_slow(SECOND, ms(5)), "slow"),
        (fast_slow(ms(0), ms(0)), "slow"),
        (Limit::Bucket { every: ms(0), burst: 1 }, "tokens"),
        (tenth_of_a_second(0), "no token"),
        (Limit::Attempts { most: 0 }, "attempt"),
    ] {
        let error = Limits::new([fine.clone(), limit]).check().expect_err(word);
        assert_eq!(error.at, 1);
        assert!(
            error.to_string().starts_with("limit 2: ") && error.problem.contains(word),
            "{error}"
        );
    }
    assert!(Limits::new([]).check().is_err());
    assert!(Limits::new(vec![fine.clone(); MAX_LIMITS]).check().is_ok());
    assert!(Limits::new(vec![fine; MAX_LIMITS + 1]).check().is_err());
    for good in [Limits::default(), Limits::client_go(), fast_slow(ms(0), SECOND).into()] {
        assert_eq!(good.check(), Ok(()));
    }
}
