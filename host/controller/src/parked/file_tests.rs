use super::*;
use crate::{ControllerId, parked::Record};
use pilothouse_object::{Gvk, Key};
use std::time::Duration;

fn kept() -> Kept {
    let record = Record {
        id: ControllerId::new("zoo", "beast"),
        kind: Gvk::new("", "v1", "ConfigMap"),
        key: Key::new(Some("ns"), "a"),
        object: None,
        module: "m".into(),
        configuration: "c".into(),
        since: Duration::from_secs(5),
        attempts: 1,
        reason: "no".to_owned(),
        errors: Vec::new(),
    };
    Kept {
        records: vec![record],
        ..Kept::default()
    }
}

fn text() -> String {
    text::write(&kept(), Duration::from_secs(7)).0
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_one_host_writes_the_next_one_reads() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("made/with its parents");
    let (directory, before) = StateDirectory::open(&path).unwrap();
    assert_eq!(before, Kept::default());
    directory.write("the first, which is replaced").unwrap();
    directory.write(&text()).unwrap();
    drop(directory);
    let (_directory, read) = StateDirectory::open(&path).unwrap();
    assert_eq!(read, kept());
    assert_eq!(names(&path), [LOCK, NAME], "nothing else stays behind");
}

#[cfg(unix)]
#[test]
fn the_list_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = tempfile::tempdir().unwrap();
    let (directory, _) = StateDirectory::open(scratch.path()).unwrap();
    directory.write(&text()).unwrap();
    let mode = fs::metadata(scratch.path().join(NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn two_hosts_do_not_share_a_directory() {
    let scratch = tempfile::tempdir().unwrap();
    let _first = StateDirectory::open(scratch.path()).unwrap();
    let second = StateDirectory::open(scratch.path()).unwrap_err();
    assert!(matches!(second, StateError::InUse(_)), "{second}");
}

#[test]
fn what_is_no_list_is_moved_aside_and_the_host_starts_without() {
    let scratch = tempfile::tempdir().unwrap();
    let whole = text();
    for broken in [&b"\xff\0\x1b[2J"[..], &whole.as_bytes()[..whole.len() / 2], b""] {
        fs::write(scratch.path().join(NAME), broken).unwrap();
        let (directory, read) = StateDirectory::open(scratch.path()).unwrap();
        assert_eq!(read, Kept::default());
        assert_eq!(fs::read(scratch.path().join(REFUSED)).unwrap(), broken);
        assert_eq!(names(scratch.path()), [LOCK, REFUSED]);
        directory.write(&text()).unwrap();
        drop(directory);
        assert_eq!(StateDirectory::open(scratch.path()).unwrap().1, kept());
    }
}

#[cfg(unix)]
#[test]
fn a_list_without_end_is_not_read_to_its_end() {
    let scratch = tempfile::tempdir().unwrap();
    let file = File::create(scratch.path().join(NAME)).unwrap();
    // A hole: it takes no room on the disk.
    file.set_len(1 << 40).unwrap();
    let (_directory, read) = StateDirectory::open(scratch.path()).unwrap();
    assert_eq!(read, Kept::default());
    assert_eq!(names(scratch.path()), [LOCK, REFUSED]);
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_not_opened() {
    let scratch = tempfile::tempdir().unwrap();
    // Reading it would never end.
    std::os::unix::fs::symlink("/dev/zero", scratch.path().join(NAME)).unwrap();
    let (directory, read) = StateDirectory::open(scratch.path()).unwrap();
    assert_eq!(read, Kept::default());
    directory.write(&text()).unwrap();
    drop(directory);
    assert_eq!(
        StateDirectory::open(scratch.path()).unwrap().1,
        kept(),
        "the link was replaced"
    );
}

#[cfg(unix)]
#[test]
fn a_lock_that_is_no_regular_file_is_not_opened() {
    let scratch = tempfile::tempdir().unwrap();
    let victim = scratch.path().join("victim");
    std::os::unix::fs::symlink(&victim, scratch.path().join(LOCK)).unwrap();
    let error = StateDirectory::open(scratch.path()).unwrap_err().to_string();
    let said = "lock: it is a symbolic link and no regular file; remove it, and pilothouse makes the file itself";
    assert!(error.ends_with(said), "{error}");
    assert!(!victim.exists(), "the link was not followed");
}

#[cfg(unix)]
#[test]
fn a_link_in_the_way_is_not_written_through() {
    let scratch = tempfile::tempdir().unwrap();
    let victim = scratch.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let path = scratch.path().join("state");
    let (directory, _) = StateDirectory::open(&path).unwrap();
    std::os::unix::fs::symlink(&victim, path.join("parked-keys.jsonl.new")).unwrap();
    directory.write(&text()).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_write_that_fails_says_where_and_leaves_the_old_list() {
    let scratch = tempfile::tempdir().unwrap();
    let (directory, _) = StateDirectory::open(scratch.path()).unwrap();
    directory.write(&text()).unwrap();
    // Something that can't be removed like a file stands in the way.
    fs::create_dir(scratch.path().join("parked-keys.jsonl.new")).unwrap();
    let error = directory.write("new").unwrap_err();
    assert!(error.contains(&scratch.path().display().to_string()), "{error}");
    let said = "parked-keys.jsonl.new is a directory, where a file is to be: remove it";
    assert!(error.contains(said), "{error}");
    drop(directory);
    assert_eq!(StateDirectory::open(scratch.path()).unwrap().1, kept());
}

#[test]
fn a_path_that_is_no_directory_is_refused_with_the_mend() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    let error = StateDirectory::open(&file).unwrap_err().to_string();
    assert!(
        error.ends_with("it must be a directory that pilothouse may write to"),
        "{error}"
    );
}
