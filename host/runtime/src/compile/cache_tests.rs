//! What the cache gives out is what it was given. Real compiled code is tested in `tests/modules.rs`; here the bytes
//! are any, since nothing is loaded.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use proptest::prelude::*;

use super::*;

fn open(directory: &tempfile::TempDir) -> CodeCache {
    CodeCache::open(&directory.path().join("code"), CacheLimits::default()).unwrap()
}

fn name(module: &[u8]) -> Name {
    Name::new(module, [7; 32])
}

fn file(directory: &tempfile::TempDir, name: &Name) -> PathBuf {
    directory.path().join("code").join(name.to_string())
}

fn refused(path: &Path) -> String {
    CodeCache::open(path, CacheLimits::default()).unwrap_err().to_string()
}

#[test]
fn what_was_put_is_got_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let name = name(b"module");
    assert!(open(&directory).get(&name).is_none());
    open(&directory).put(&name, &Code(b"code".to_vec()));
    assert!(open(&directory).get(&name).is_some());
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&directory.path().join("code")), 0o700);
    assert_eq!(mode(&directory.path().join("code/key")), 0o600);
    assert_eq!(mode(&file(&directory, &name)), 0o600);
}

#[test]
fn another_module_another_engine_and_another_key_have_no_use_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let own = name(b"module");
    open(&directory).put(&own, &Code(b"code".to_vec()));
    let bytes = fs::read(file(&directory, &own)).unwrap();
    // The first differs in the half of the hash that no file name shows.
    let mut other_engine = [7; 32];
    other_engine[31] = 8;
    for other in [Name::new(b"module", other_engine), name(b"other")] {
        fs::write(file(&directory, &other), &bytes).unwrap();
        fs::set_permissions(file(&directory, &other), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(open(&directory).get(&other).is_none(), "{other}");
        assert!(!file(&directory, &other).exists());
    }
    open(&directory).put(&own, &Code(b"code".to_vec()));
    assert!(open(&directory).get(&own).is_some());
    fs::remove_file(directory.path().join("code/key")).unwrap();
    assert!(open(&directory).get(&own).is_none());
}

#[test]
fn an_entry_that_others_could_have_written_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    let name = name(b"module");
    let path = file(&directory, &name);
    let put = || cache.put(&name, &Code(b"code".to_vec()));

    put();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
    assert!(cache.get(&name).is_none() && !path.exists());

    put();
    fs::hard_link(&path, directory.path().join("second")).unwrap();
    assert!(cache.get(&name).is_none() && !path.exists());

    put();
    let elsewhere = directory.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert!(cache.get(&name).is_none());
    assert!(!path.is_symlink() && elsewhere.exists());
}

#[test]
fn a_directory_that_others_got_rights_to_is_taken_back_and_emptied_with_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let code = directory.path().join("code");
    let name = name(b"module");
    let key = || fs::read(code.join("key")).unwrap();
    open(&directory).put(&name, &Code(b"code".to_vec()));
    fs::write(code.join("notes"), b"of the operator").unwrap();
    let before = key();
    // As a volume with fsGroup gets them.
    for path in [code.join("key"), file(&directory, &name)] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o660)).unwrap();
    }
    fs::set_permissions(&code, fs::Permissions::from_mode(0o2770)).unwrap();
    let cache = open(&directory);
    assert_eq!(fs::metadata(&code).unwrap().mode() & 0o777, 0o700);
    assert_ne!(key(), before);
    assert!(!file(&directory, &name).exists() && code.join("notes").exists());
    cache.put(&name, &Code(b"code".to_vec()));
    assert!(cache.get(&name).is_some());
}

#[test]
fn a_directory_that_others_may_enter_or_write_to_is_taken_back_though_no_file_in_it_is_theirs() {
    for mode in [0o770, 0o702, 0o750, 0o701, 0o2770, 0o1777] {
        let directory = tempfile::tempdir().unwrap();
        let code = directory.path().join("code");
        let name = name(b"module");
        let key = || fs::read(code.join("key")).unwrap();
        open(&directory).put(&name, &Code(b"code".to_vec()));
        let before = key();
        fs::set_permissions(&code, fs::Permissions::from_mode(mode)).unwrap();
        let cache = open(&directory);
        assert_eq!(fs::metadata(&code).unwrap().mode() & 0o777, 0o700, "{mode:o}");
        assert_ne!(key(), before, "{mode:o}: others may have put theirs there, or read it");
        assert!(cache.get(&name).is_none() && !file(&directory, &name).exists());
        // Once it is this user's alone it stays as it is.
        let own = key();
        cache.put(&name, &Code(b"code".to_vec()));
        assert!(open(&directory).get(&name).is_some());
        assert_eq!(key(), own);
    }
}

#[test]
fn a_directory_that_is_a_link_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    open(&directory);
    let link = directory.path().join("link");
    symlink(directory.path().join("code"), &link).unwrap();
    assert!(refused(&link).contains("link: is a symbolic link: "));
}

#[test]
fn what_can_not_be_a_cache_is_told_with_what_it_is_and_the_mend() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = refused(&file);
    assert!(
        error.contains("file: is no directory: ") && error.contains("Remove it, "),
        "{error}"
    );
    open(&directory);
    let code = directory.path().join("code");
    fs::remove_file(code.join("key")).unwrap();
    fs::create_dir(code.join("key")).unwrap();
    let error = refused(&code);
    assert!(
        error.contains("key: is a directory, where a file is to be: "),
        "{error}"
    );
    assert!(
        error.ends_with("Remove it, and pilothouse makes the file itself"),
        "{error}"
    );
}

#[test]
fn a_key_that_others_could_know_goes_and_everything_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let code = directory.path().join("code");
    let key = code.join("key");
    let name = name(b"module");
    let elsewhere = directory.path().join("elsewhere");
    let harms: [&dyn Fn(); 3] = [
        &|| fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap(),
        &|| fs::write(&key, b"short").unwrap(),
        &|| {
            fs::rename(&key, &elsewhere).unwrap();
            symlink(&elsewhere, &key).unwrap();
        },
    ];
    for harm in harms {
        open(&directory).put(&name, &Code(b"code".to_vec()));
        let before = fs::read(&key).unwrap();
        harm();
        let cache = open(&directory);
        assert!(!file(&directory, &name).exists());
        assert!(!key.is_symlink() && fs::read(&key).unwrap() != before);
        assert!(cache.get(&name).is_none());
    }
}

#[test]
fn an_entry_that_can_not_be_read_now_is_not_deleted() {
    let out_of_files = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&directory);
    let name = name(b"module");
    cache.put(&name, &Code(b"code".to_vec()));
    assert!(cache.unusable(&name, &out_of_files).is_none() && file(&directory, &name).exists());
    assert!(cache.unusable(&name, &io::Error::other("wrong")).is_none() && !file(&directory, &name).exists());
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let directory = tempfile::tempdir().unwrap();
    let limits = CacheLimits {
        bytes: 1 << 20,
        entries: 2,
    };
    let cache = CodeCache::open(&directory.path().join("code"), limits).unwrap();
    let names = [name(b"a"), name(b"b"), name(b"c")];
    let age = |name: &Name, seconds| {
        let file = File::options().write(true).open(file(&directory, name)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
            .unwrap();
    };
    let [a, b, c] = &names;
    cache.put(a, &Code(vec![1]));
    cache.put(b, &Code(vec![1]));
    age(a, 1);
    age(b, 2);
    // Used: now it is the younger one.
    assert!(cache.get(a).is_some());
    cache.put(c, &Code(vec![1]));
    assert!(cache.get(a).is_some() && cache.get(c).is_some());
    assert!(cache.get(b).is_none());
    // One that alone is larger than everything may be is kept until the next.
    cache.put(b, &Code(vec![1; 2 << 20]));
    assert!(cache.get(b).is_some() && cache.get(a).is_none() && cache.get(c).is_none());
}

#[test]
fn what_a_cut_write_left_goes_and_what_is_not_ours_stays() {
    let directory = tempfile::tempdir().unwrap();
    open(&directory);
    let code = directory.path().join("code");
    fs::write(code.join(".new-1"), b"half").unwrap();
    fs::write(code.join("notes"), b"of the operator").unwrap();
    open(&directory);
    assert!(!code.join(".new-1").exists() && code.join("notes").exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_changed_or_cut_entry_is_deleted_and_never_given_out(
        code in prop::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, bit in 0..8_u8, cut: bool,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let cache = open(&directory);
        let name = name(b"module");
        cache.put(&name, &Code(code));
        let path = file(&directory, &name);
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << bit;
        }
        fs::write(&path, &bytes).unwrap();
        prop_assert!(cache.get(&name).is_none());
        prop_assert!(!path.exists());
    }
}
