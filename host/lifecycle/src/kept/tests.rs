use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::failures::Failure;
use super::files::crash::LEFT;
use super::*;
use crate::config::{Config, PluginConfig};
use crate::lives::Mark;
use crate::load::Hash;

fn version(module: &str, config: PluginConfig) -> KeptVersion {
    KeptVersion {
        unproven: false,
        module: Hash::of(module.as_bytes()),
        version: format!("{module}\u{1b}"),
        configuration: config.hash(),
        config,
    }
}

/// Says everything that the operator can say.
fn whole_config() -> PluginConfig {
    let text = "apiVersion: pilothouse.dev/v1\nplugins: {p: {enabled: false, config: {a: 1.10, b: [x]}, weight: 3, \
                grants: [{group: '', kind: ConfigMap, verbs: [watch, create], namespaces: [a]}], \
                dangerous: [{group: '', kind: Pod, verbs: [create], namespaces: [a]}], events: false, \
                impersonate: {serviceAccount: a/b}, instances: {warm: 1}, fairNamespaces: true, \
                limits: {wallMs: 5, memoryMiB: 7}, budget: {}, apiRequestsPerSecond: 7, queue: {maxAttempts: 4}, \
                breaker: {openSeconds: 9}, controllers: {c: {concurrency: 3}, d: {concurrency: {auto: {min: 2, max: 9}}}}, sha256: '\
                e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'}}";
    Config::parse(text, Path::new("c.yaml")).unwrap().plugin("p")
}

fn life(serving: &str, previous: &[&str]) -> KeptLife {
    let mark = Mark {
        module: Hash::of(b"bad"),
        configuration: Hash::of(b"c"),
    };
    KeptLife {
        enabled: Some(true),
        off: true,
        gone_since: Some(5),
        serving: Some(version(serving, whole_config())),
        probation_until: Some(1_800_000_000),
        probation_traps: 2,
        previous: previous
            .iter()
            .map(|module| version(module, PluginConfig::default()))
            .collect(),
        rejected: vec![KeptRejected {
            module: mark.module,
            configuration: mark.configuration,
            why: "it \u{1b}[2J trapped".to_owned(),
            at: 7,
        }],
        rolled_back_from: Some(mark),
        quarantine: Some(mark),
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn wasm(module: &str) -> String {
    format!("{}.wasm", Hash::of(module.as_bytes()))
}

/// Keeps a life with the bytes of its versions, as the supervisor does.
fn keep(store: &PluginStore, serving: &str, previous: &[&str]) -> Result<(), String> {
    store.put("p", Hash::of(serving.as_bytes()), serving.as_bytes())?;
    let life = life(serving, previous);
    store.write("p", &life)?;
    store.sweep("p", &life, None);
    Ok(())
}

#[test]
fn what_one_host_keeps_the_next_one_reads_and_nothing_else_stays() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("plugins");
    let store = PluginStore::open(&path).unwrap();
    for (serving, previous) in [("a", &[][..]), ("b", &["a"]), ("c", &["b", "a"]), ("d", &["c", "b"])] {
        keep(&store, serving, previous).unwrap();
    }
    let mut expected = vec!["life.json".to_owned(), wasm("d"), wasm("c"), wasm("b")];
    expected.sort();
    assert_eq!(names(&path.join("p")), expected);
    let store = PluginStore::open(&path).unwrap();
    assert_eq!(store.read(), [("p".to_owned(), life("d", &["c", "b"]))].into());
    assert_eq!(store.get("p", Hash::of(b"b"), 9).unwrap(), b"b");
    store.forget("p", None);
    assert!(names(&path).is_empty());
}

#[test]
fn where_the_host_lives_is_what_it_is_now_and_not_when_a_version_was_kept() {
    let mut kept = life("d", &["c"]);
    kept.at_home_in(Some("here"));
    let homes = |kept: &KeptLife| -> Vec<Option<String>> {
        let versions = kept.serving.iter().chain(&kept.previous);
        versions
            .map(|version| version.config.granted().host_namespace)
            .collect()
    };
    let here = Some("here".to_owned());
    assert_eq!(homes(&kept), [here.clone(), here]);
    // It is not kept with it.
    let again: KeptLife = serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap();
    assert_eq!(homes(&again), [None, None]);
}

#[test]
fn a_configuration_is_read_again_as_it_was() {
    let config = whole_config();
    assert_ne!(config, PluginConfig::default());
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<PluginConfig>(&text).unwrap(), config);
}

#[cfg(unix)]
#[test]
fn all_of_it_is_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("plugins");
    keep(&PluginStore::open(&path).unwrap(), "a", &[]).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join("p"))), (0o700, 0o700));
    assert_eq!(
        (mode(&path.join("p/life.json")), mode(&path.join("p").join(wasm("a")))),
        (0o600, 0o600)
    );
    fs::set_permissions(path.join("p"), fs::Permissions::from_mode(0o770)).unwrap();
    assert!(
        PluginStore::open(&path).unwrap().read().is_empty(),
        "others could have written there"
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(PluginStore::open(&path), Err(StoreError::NotOurs { .. })));
    let link = scratch.path().join("link");
    std::os::unix::fs::symlink(scratch.path(), &link).unwrap();
    assert!(matches!(PluginStore::open(&link), Err(StoreError::NotOurs { .. })));
}

#[cfg(unix)]
#[test]
fn what_is_of_the_wrong_kind_or_others_is_told_with_what_it_is_and_the_mend() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    fs::write(at("file"), "").unwrap();
    symlink(scratch.path(), at("link")).unwrap();
    fs::create_dir(at("open")).unwrap();
    fs::set_permissions(at("open"), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, what, mend) in [
        ("file", "is no directory", "remove it, "),
        ("link", "is a symbolic link", "remove it, "),
        ("open", "others than its user have rights to it", "`chmod 700` it"),
    ] {
        let error = PluginStore::open(&at(name)).unwrap_err().to_string();
        assert!(
            error.contains(&format!("{name}: {what}, ")) && error.contains(mend),
            "{error}"
        );
    }

    let store = PluginStore::open(&at("plugins")).unwrap();
    let kept = at("plugins/p/life.json");
    keep(&store, "a", &[]).unwrap();
    fs::remove_file(&kept).unwrap();
    fs::create_dir(&kept).unwrap();
    let why = store.read_one("p").unwrap_err();
    assert!(
        why.contains("life.json: it is a directory and no file: remove it"),
        "{why}"
    );
    let why = keep(&store, "a", &[]).unwrap_err();
    assert!(
        why.ends_with("p: life.json is a directory, where a file is to be: remove it"),
        "{why}"
    );
    fs::remove_dir(&kept).unwrap();
    fs::write(&kept, "rubbish").unwrap();
    fs::create_dir(at("plugins/p/life.json.refused")).unwrap();
    let why = store.read_one("p").unwrap_err();
    assert!(
        why.contains("can't be moved to life.json.refused (") && why.ends_with("remove what lies there"),
        "{why}"
    );
}

#[test]
fn rubbish_is_set_aside_and_harms_no_other_plugin() {
    let scratch = tempfile::tempdir().unwrap();
    let store = PluginStore::open(scratch.path().join("plugins").as_path()).unwrap();
    let good = text::write(&life("a", &["b"]));
    let other_form = good.replace("plugin-life/v1", "plugin-life/v9");
    let longer = good.replace("\"previous\"", "\"sudo\":1,\"previous\"");
    for bad in [
        &b"\xff\0"[..],
        b"",
        &good.as_bytes()[..good.len() - 1],
        other_form.as_bytes(),
        longer.as_bytes(),
    ] {
        keep(&store, "a", &[]).unwrap();
        store.put("q", Hash::of(b"a"), b"a").unwrap();
        let directory = scratch.path().join("plugins/q");
        fs::write(directory.join("life.json"), bad).unwrap();
        assert_eq!(Vec::from_iter(store.read().into_keys()), ["p"]);
        assert_eq!(names(&directory), ["life.json.refused"]);
    }
    assert_eq!(Vec::from_iter(store.read().into_keys()), ["p"]);
}

#[test]
fn bytes_that_are_others_than_were_kept_never_come_back() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("plugins");
    let store = PluginStore::open(&path).unwrap();
    keep(&store, "good", &[]).unwrap();
    let file = path.join("p").join(wasm("good"));
    fs::write(&file, "evil").unwrap();
    let why = store.get("p", Hash::of(b"good"), 9).unwrap_err();
    assert!(why.contains("its hash is another"), "{why}");
    keep(&store, "good", &[]).unwrap();
    assert_eq!(store.get("p", Hash::of(b"good"), 9).unwrap(), b"good", "kept anew");
    assert!(store.get("p", Hash::of(b"good"), 3).unwrap_err().contains("longer"));
    assert!(store.get("p", Hash::of(b"none"), 3).unwrap_err().contains("not there"));
    #[cfg(unix)]
    {
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        assert!(
            store
                .get("p", Hash::of(b"good"), 9)
                .unwrap_err()
                .contains("no regular file")
        );
    }
}

#[test]
fn a_life_that_was_turned_over_anywhere_is_refused() {
    let good = text::write(&life("a", &["b"])).into_bytes();
    assert!(text::read(&good).is_ok());
    for at in 0..good.len() {
        for bit in [1, 0x20] {
            let mut bad = good.clone();
            bad[at] ^= bit;
            let read = text::read(&bad);
            assert!(read.is_err() || read == text::read(&good), "byte {at}");
        }
        assert!(text::read(&good[..at]).is_err(), "cut after {at}");
    }
    assert!(
        !text::read(b"{\"pilothouse\":\"secret\"}\n")
            .unwrap_err()
            .contains("secret")
    );
}

#[test]
fn failed_compiles_are_kept_and_what_was_turned_over_is_as_good_as_not_known() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("plugins");
    let store = PluginStore::open(&path).unwrap();
    assert_eq!(store.read_failures(), []);
    let failures = [Failure {
        module: Hash::of(b"m"),
        conditions: Hash::of(b"c"),
        why: "too much CPU time\u{1b}".to_owned(),
        at: 7,
    }];
    store.write_failures(&failures).unwrap();
    // What a host left that was killed while it wrote.
    fs::write(path.join("failures.json.new"), "{").unwrap();
    assert_eq!(PluginStore::open(&path).unwrap().read_failures(), failures);
    assert!(store.read().is_empty(), "it is no plugin");
    assert_eq!(names(&path), ["failures.json"]);
    let good = text::write_failures(&failures).into_bytes();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(text::read_failures(&bad).is_err(), "byte {at}");
        assert!(text::read_failures(&good[..at]).is_err(), "cut after {at}");
    }
    fs::write(path.join("failures.json"), &good[1..]).unwrap();
    assert_eq!(store.read_failures(), []);
    assert!(text::read(&good).is_err(), "nor is it a life");
}

#[test]
fn a_configuration_of_another_hash_is_not_taken() {
    let mut other = life("a", &[]);
    other.serving.as_mut().unwrap().config.config = json!({"other": 1});
    assert!(text::read(text::write(&other).as_bytes()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// A host that is killed after any of its steps on the disk: the next one finds the life before or the one after,
    /// with every version that it names, and what is left over is gone.
    #[test]
    fn whatever_of_the_writes_reached_the_disk_the_start_finds_one_life_or_the_next(
        served in prop::collection::vec(0_u8..5, 1..6), steps in 0_u32..60,
    ) {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("plugins");
        let store = PluginStore::open(&path).unwrap();
        let mut lives: Vec<Vec<String>> = vec![Vec::new()];
        LEFT.with(|left| left.set(Some(steps)));
        for module in served {
            let before = lives.last().unwrap().clone();
            let module = format!("module {module}");
            let mut next = vec![module.clone()];
            next.extend(before.into_iter().filter(|other| *other != module));
            next.truncate(3);
            let previous: Vec<&str> = next[1..].iter().map(String::as_str).collect();
            let written = keep(&store, &module, &previous);
            lives.push(next);
            if written.is_err() {
                break;
            }
        }
        LEFT.with(|left| left.set(None));
        let store = PluginStore::open(&path).unwrap();
        let kept = store.read().remove("p").unwrap_or_default();
        let found: Vec<Hash> = kept.modules();
        let hashes = |life: &Vec<String>| life.iter().map(|module| Hash::of(module.as_bytes())).collect::<Vec<_>>();
        let last_two = &lives[lives.len().saturating_sub(2)..];
        prop_assert!(last_two.iter().any(|life| hashes(life) == found), "{:?}", found);
        for hash in &found {
            prop_assert!(store.get("p", *hash, 99).is_ok());
        }
        let files = if path.join("p").exists() { names(&path.join("p")).len() } else { 0 };
        prop_assert_eq!(files, found.len() + usize::from(!found.is_empty()));
    }

    /// Versions that come and serve, are refused or give way to newer ones before that: never lie there more than the
    /// life names and one, and what a host leaves that is killed after any of its steps on the disk is gone with the
    /// next start.
    #[test]
    fn the_bytes_of_versions_are_bounded_at_all_times_and_no_candidate_outlives_its_host(
        came in prop::collection::vec((0_u8..9, 0_u8..3), 1..8), steps in 0_u32..90,
    ) {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("plugins");
        let store = PluginStore::open(&path).unwrap();
        let mut served: Vec<String> = Vec::new();
        let settle = |served: &[String], candidate: Option<Hash>, write: bool| -> Result<(), String> {
            let Some((serving, previous)) = served.split_first() else {
                store.forget("p", candidate);
                return Ok(());
            };
            let life = life(serving, &previous.iter().map(String::as_str).collect::<Vec<_>>());
            if write {
                store.write("p", &life)?;
            }
            store.sweep("p", &life, candidate);
            Ok(())
        };
        let wasms = || {
            let found = if path.join("p").exists() { names(&path.join("p")) } else { Vec::new() };
            found.iter().filter(|name| name.contains(".wasm")).count()
        };
        LEFT.with(|left| left.set(Some(steps)));
        for (module, fate) in came {
            let module = format!("module {module}");
            let candidate = Hash::of(module.as_bytes());
            // The one before it may have waited, and gives way.
            let done = settle(&served, Some(candidate), false)
                .and_then(|()| store.put("p", candidate, module.as_bytes()))
                .and_then(|()| match fate {
                    // Serves.
                    0 => {
                        served.retain(|other| *other != module);
                        served.insert(0, module);
                        served.truncate(3);
                        settle(&served, None, true)
                    }
                    // Is refused.
                    1 => settle(&served, None, false),
                    // Waits.
                    _ => Ok(()),
                });
            if done.is_err() || LEFT.with(|left| left.get() == Some(0)) {
                break;
            }
            prop_assert!(wasms() <= served.len() + usize::from(fate == 2));
        }
        LEFT.with(|left| left.set(None));
        let store = PluginStore::open(&path).unwrap();
        let kept = store.read().remove("p").unwrap_or_default();
        let expected = kept.modules().len();
        let found = if path.join("p").exists() { names(&path.join("p")) } else { Vec::new() };
        prop_assert_eq!(found.len(), expected + usize::from(expected > 0), "{:?}", found);
    }
}
