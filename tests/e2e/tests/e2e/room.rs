//! A host that may open too few files for all plugins.

use std::collections::BTreeSet;

use pilothouse_e2e::{Host, Scene, Server, field, message, wasm};

const PLUGINS: usize = 40;

/// The plugins that were loaded, in this order.
fn loaded(host: &Host) -> Vec<String> {
    let log = host.log();
    let lines = log.iter().filter(|line| message(line) == "plugin loaded");
    lines.map(|line| field(line, "plugin").to_owned()).collect()
}

/// The plugins that were refused for want of room, as often as it was told.
fn refused(host: &Host) -> Vec<String> {
    let log = host.log();
    let name = |line| {
        let (name, why) = message(line).strip_prefix("plugin ")?.split_once(" was not loaded: ")?;
        let mend = "; it is tried again when another plugin's file is deleted, and every minute";
        let no_room = why.contains("there is no room for another plugin") && why.contains("open files of 64");
        (no_room && why.ends_with(mend)).then(|| name.to_owned())
    };
    log.iter().filter_map(name).collect()
}

#[tokio::test]
async fn plugins_that_there_was_no_room_for_are_loaded_once_others_are_deleted_and_refused_once() {
    let scene = Scene::new();
    for n in 0..PLUGINS {
        scene.plugin(&format!("p{n}"), wasm::greeting());
    }
    let server = Server::started(&scene).await;
    let host = scene.run_with_open_files(&server, 64, &["--state-dir", "state"]);
    host.until("that each was loaded or refused", async || {
        (loaded(&host).len() + refused(&host).len() == PLUGINS).then_some(())
    })
    .await;
    let (serving, waiting) = (loaded(&host), refused(&host));
    // The host that runs has more files open than while it loaded them: its connections, and its watch of the directory.
    let enough = 2 * waiting.len() + 4;
    assert!(!waiting.is_empty() && enough < serving.len(), "{waiting:?}");
    for name in &serving[..enough] {
        std::fs::remove_file(scene.path(&format!("plugins/{name}.wasm"))).unwrap();
    }
    host.until("that those wait no longer", async || {
        (loaded(&host).len() == PLUGINS).then_some(())
    })
    .await;
    let late = loaded(&host).split_off(serving.len());
    assert_eq!(BTreeSet::from_iter(&late), BTreeSet::from_iter(&waiting));
    assert_eq!(refused(&host), waiting, "told once");
}
