//! The shortest script that still shows a difference.

/// How often a script is tried at most; what is left then is short, if not the shortest.
const TRIES: usize = 200;

/// Leaves out steps as long as `shows` says that what is left still shows the difference. The last step, which shows
/// it, stays.
///
/// First halves are left out, then quarters, at last single steps, again and again until nothing more can go.
pub async fn shrink<T: Clone>(steps: Vec<T>, mut shows: impl AsyncFnMut(&[T]) -> bool) -> Vec<T> {
    let mut steps = steps;
    let mut tries = 0;
    let mut size = steps.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        let mut went = false;
        while start + 1 < steps.len() {
            let end = (start + size).min(steps.len() - 1);
            let without = [&steps[..start], &steps[end..]].concat();
            if tries == TRIES {
                return steps;
            }
            tries += 1;
            if shows(&without).await {
                steps = without;
                went = true;
            } else {
                start = end;
            }
        }
        if size > 1 {
            size = size.div_ceil(2);
        } else if !went {
            size = 0;
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(steps: Vec<u32>, shows: impl Fn(&[u32]) -> bool) -> Vec<u32> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(shrink(steps, async |steps| shows(steps)))
    }

    #[test]
    fn what_is_left_is_what_is_needed() {
        let needs = |steps: &[u32]| steps.contains(&7) && steps.contains(&63);
        assert_eq!(run((0..100).collect(), needs), [7, 63, 99]);
    }

    #[test]
    fn the_last_step_stays() {
        assert_eq!(run((0..50).collect(), |_| true), [49]);
        assert_eq!(run(vec![1], |_| true), [1]);
        assert_eq!(run((0..9).collect(), |_| false), (0..9).collect::<Vec<_>>());
    }

    #[test]
    fn steps_that_are_needed_in_pairs_go_in_pairs() {
        // Each even step must be followed by its odd one.
        let whole = |steps: &[u32]| steps.iter().all(|step| steps.contains(&(step ^ 1)));
        assert_eq!(run((0..64).collect(), whole), [62, 63]);
    }
}
