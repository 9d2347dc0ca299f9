//! A process with few file descriptors. The limit is the whole process's, so this test has a program of its own.
#![cfg(unix)]

mod common;

use common::{engine, zoo_bytes};
use pilothouse_runtime::{CacheLimits, CodeCache, Compiler, LoadError, Modules, raise_open_files};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[tokio::test]
async fn a_plugin_too_many_is_refused_and_those_before_it_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let cache = CodeCache::open(&directory.path().join("code"), CacheLimits::default()).unwrap();
    let modules = Modules::with_cache(engine().clone(), Compiler::InProcess, cache);
    let limits = getrlimit(Resource::Nofile);
    let low = Rlimit {
        current: Some(100),
        ..limits
    };
    setrlimit(Resource::Nofile, low).unwrap();
    let mut loaded = Vec::new();
    let refused = loop {
        match modules.load(zoo_bytes()) {
            Ok(module) => loaded.push(module),
            Err(refused) => break refused,
        }
    };
    let expected = LoadError::NoRoom {
        what: "open files",
        count: 75,
        limit: 100,
        kept_free: 25,
        mend: "Raise the limit on open files (`ulimit -Hn`, LimitNOFILE= of a systemd unit), or unload plugins",
    };
    // One more while the kernel's list of them is read.
    assert!((20..=75).contains(&loaded.len()), "{}", loaded.len());
    assert_eq!(refused, expected);
    assert_eq!(loaded[0].describe().await, loaded.last().unwrap().describe().await);
    assert!(loaded[0].describe().await.is_ok());

    // One goes: another one may come.
    loaded.pop();
    loaded.push(modules.load(zoo_bytes()).unwrap());
    assert_eq!(modules.load(zoo_bytes()).unwrap_err(), expected);

    // The mend that the error names, which the host does by itself when it starts.
    assert!(raise_open_files().unwrap() > 100);
    modules.load(zoo_bytes()).unwrap();
}
