use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::{Print, Seen, Settling, Sighting, Watcher, look};
use crate::directory::Stamp;
use crate::load::Hash;

const PAUSE: Duration = Duration::from_millis(100);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A file whose content and times are `number`.
fn file(number: u8) -> Sighting {
    let stamp = Stamp {
        length: 1,
        rest: [number.into(); 6],
    };
    Sighting {
        module: Ok(Print {
            stamp,
            hash: Hash::of(&[number]),
        }),
        beside: None,
    }
}

fn looked(plugins: &[(&str, u8)]) -> BTreeMap<String, Sighting> {
    plugins
        .iter()
        .map(|(name, number)| ((*name).to_owned(), file(*number)))
        .collect()
}

#[test]
fn a_file_counts_once_two_looks_a_pause_apart_agree() {
    let mut settling = Settling::new(PAUSE);
    assert_eq!(settling.step(ms(0), looked(&[("a", 1)])), []);
    assert_eq!(settling.due(), Some(ms(100)));
    assert_eq!(settling.step(ms(99), looked(&[("a", 1)])), []);
    assert_eq!(
        settling.step(ms(100), looked(&[("a", 1)])),
        [("a".to_owned(), Some(file(1)))]
    );
    assert_eq!(settling.due(), None);
    assert_eq!(settling.step(ms(300), looked(&[("a", 1)])), [], "once");
}

#[test]
fn a_file_that_still_grows_begins_to_settle_anew() {
    let mut settling = Settling::new(PAUSE);
    assert_eq!(settling.step(ms(0), looked(&[("a", 1)])), []);
    assert_eq!(settling.step(ms(100), looked(&[("a", 2)])), []);
    assert_eq!(settling.step(ms(150), looked(&[("a", 2)])), []);
    assert_eq!(
        settling.step(ms(200), looked(&[("a", 2)])),
        [("a".to_owned(), Some(file(2)))]
    );
}

#[test]
fn a_file_that_is_gone_for_a_moment_is_no_change() {
    let mut settling = Settling::new(PAUSE);
    settling.take(looked(&[("a", 1), ("b", 1)]));
    assert_eq!(settling.step(ms(0), looked(&[])), []);
    assert_eq!(settling.step(ms(50), looked(&[("a", 1)])), []);
    assert_eq!(settling.step(ms(100), looked(&[("a", 1)])), [("b".to_owned(), None)]);
}

proptest! {
    /// Whatever looks show: nothing is told that two looks a pause apart did not agree on, and once they do to the end,
    /// what was told is what lies there.
    #[test]
    fn what_is_told_stood_still_and_nothing_is_missed(
        looks in prop::collection::vec((1_u64..150, prop::collection::btree_map(0_u8..3, 0_u8..3, 0..3)), 1..30)
    ) {
        let name = |number: u8| format!("p{number}");
        let mut settling = Settling::new(PAUSE);
        let (mut now, mut told) = (0, BTreeMap::new());
        // Since when each plugin is as the last look showed it.
        let mut same: BTreeMap<u8, (Option<u8>, u64)> = (0..3).map(|plugin| (plugin, (None, 0))).collect();
        let last = looks.last().unwrap().1.clone();
        for (passed, shown) in looks.into_iter().chain([(PAUSE.as_millis() as u64, last.clone()), (PAUSE.as_millis() as u64, last.clone())]) {
            now += passed;
            for (plugin, (state, since)) in &mut same {
                let current = shown.get(plugin).copied();
                if *state != current {
                    (*state, *since) = (current, now);
                }
            }
            let sightings = shown.iter().map(|(plugin, number)| (name(*plugin), file(*number))).collect();
            for (plugin, change) in settling.step(ms(now), sightings) {
                let number: u8 = plugin[1..].parse().unwrap();
                let (state, since) = same[&number];
                prop_assert_eq!(change.clone(), state.map(file));
                prop_assert!(now - since >= PAUSE.as_millis() as u64);
                prop_assert_ne!(told.insert(plugin, change.clone()).flatten(), change, "each change is told once");
            }
        }
        let there: BTreeMap<String, Sighting> = last.into_iter().map(|(plugin, number)| (name(plugin), file(number))).collect();
        let told: BTreeMap<String, Sighting> = told.into_iter().filter_map(|(plugin, state)| Some((plugin, state?))).collect();
        prop_assert_eq!(told, there);
        prop_assert_eq!(settling.due(), None);
    }
}

/// A directory that is watched; polled so seldom that a test fails without the system's word, or so often that it needs
/// none.
fn watched(directory: &Path, poll: Duration) -> Watcher {
    let mut settling = Settling::new(ms(30));
    settling.take(look(directory, 1000, &settling).unwrap().0);
    Watcher::new(directory, 1000, poll, settling)
}

/// The next change: of which plugin, and the hash of its module.
async fn change(watcher: &mut Watcher) -> (String, Option<Result<Hash, String>>) {
    match watcher.next().await {
        Seen::Changed(changes) => {
            let [(name, sighting)] = &changes[..] else {
                panic!("{changes:?}")
            };
            let module = sighting.as_ref().map(|sighting| sighting.module.as_ref());
            (
                name.clone(),
                module.map(|module| module.map(|print| print.hash).map_err(|refusal| refusal.why.clone())),
            )
        }
        other => panic!("{other:?}"),
    }
}

fn is(name: &str, content: &[u8]) -> (String, Option<Result<Hash, String>>) {
    (name.to_owned(), Some(Ok(Hash::of(content))))
}

/// Every way in which a file changes.
async fn every_change(poll: Duration) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let mut watcher = watched(dir.path(), poll);
    // The first look of a new watcher comes by itself.
    fs::write(path("a.wasm"), b"one").unwrap();
    assert_eq!(change(&mut watcher).await, is("a", b"one"), "a new file");
    fs::write(path("a.wasm"), b"two").unwrap();
    assert_eq!(
        change(&mut watcher).await,
        is("a", b"two"),
        "one of the same length, written over"
    );
    fs::write(path(".a.wasm.tmp"), b"three").unwrap();
    fs::rename(path(".a.wasm.tmp"), path("a.wasm")).unwrap();
    assert_eq!(change(&mut watcher).await, is("a", b"three"), "a rename into place");
    fs::write(path("a.yaml"), b"enabled: true").unwrap();
    let Seen::Changed(changes) = watcher.next().await else {
        panic!("no change")
    };
    let beside = changes[0].1.as_ref().unwrap().beside.clone();
    assert_eq!(
        Hash::of(&beside.unwrap().unwrap().text),
        Hash::of(b"enabled: true"),
        "what stands beside"
    );
    fs::remove_file(path("a.yaml")).unwrap();
    assert_eq!(change(&mut watcher).await, is("a", b"three"), "and no longer does");
    fs::remove_file(path("a.wasm")).unwrap();
    assert_eq!(
        change(&mut watcher).await,
        ("a".to_owned(), None),
        "a file that is gone"
    );
}

#[tokio::test]
async fn every_change_is_seen_by_the_systems_word() {
    every_change(Duration::from_secs(3_600)).await;
}

#[tokio::test]
async fn every_change_is_seen_where_the_system_tells_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut watcher = watched(dir.path(), ms(20));
    watcher._system = None;
    fs::write(dir.path().join("a.wasm"), b"one").unwrap();
    assert_eq!(change(&mut watcher).await, is("a", b"one"));
    fs::remove_file(dir.path().join("a.wasm")).unwrap();
    assert_eq!(change(&mut watcher).await, ("a".to_owned(), None));
}

#[cfg(unix)]
#[tokio::test]
async fn a_mounted_config_map_that_is_exchanged_is_one_change() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    // As the kubelet writes it: a folder with a time for its name, and one link that is renamed over the old one.
    let version = |folder: &str, content: &[u8]| {
        fs::create_dir(path(folder)).unwrap();
        fs::write(path(folder).join("a.wasm"), content).unwrap();
        symlink(folder, path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
    };
    version("..2026_1", b"one");
    symlink("..data/a.wasm", path("a.wasm")).unwrap();
    let mut watcher = watched(dir.path(), Duration::from_secs(3_600));
    version("..2026_2", b"two");
    fs::remove_dir_all(path("..2026_1")).unwrap();
    assert_eq!(change(&mut watcher).await, is("a", b"two"));
}

#[tokio::test]
async fn a_file_that_is_written_bit_by_bit_is_seen_whole() {
    use std::io::Write as _;
    let dir = tempfile::tempdir().unwrap();
    let mut watcher = watched(dir.path(), Duration::from_secs(3_600));
    let mut file = fs::File::create(dir.path().join("a.wasm")).unwrap();
    // It grows at each look until it is done, so no look may take it.
    let before = watcher.settling.clone();
    let mut settling = before.clone();
    for at in 0..10_u64 {
        file.write_all(b"piece").unwrap();
        let looked = look(dir.path(), 1000, &settling).unwrap().0;
        assert_eq!(settling.step(ms(at * 100), looked), []);
    }
    drop(file);
    assert_eq!(change(&mut watcher).await, is("a", &b"piece".repeat(10)));
}

#[test]
fn a_module_that_is_too_long_is_not_read_and_has_nobodys_hash() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.wasm"), b"long").unwrap();
    let hash = |most| {
        let looked = look(dir.path(), most, &Settling::new(PAUSE)).unwrap().0;
        looked["a"].module.as_ref().unwrap().hash
    };
    assert_eq!((hash(3), hash(4)), (Hash::UNREAD, Hash::of(b"long")));
}

#[cfg(unix)]
#[tokio::test]
async fn a_directory_that_can_not_be_looked_at_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let plugins = dir.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    fs::write(plugins.join("a.wasm"), b"one").unwrap();
    let mut watcher = watched(&plugins, ms(20));
    fs::rename(&plugins, dir.path().join("elsewhere")).unwrap();
    assert!(
        matches!(watcher.next().await, Seen::Blind(_)),
        "told, and no plugin is gone"
    );
    fs::rename(dir.path().join("elsewhere"), &plugins).unwrap();
    fs::write(plugins.join("a.wasm"), b"two").unwrap();
    assert!(matches!(watcher.next().await, Seen::Well), "told, too");
    assert_eq!(change(&mut watcher).await, is("a", b"two"));
}
