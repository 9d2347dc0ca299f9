//! Compiled code that is kept over a restart, and spoilt meanwhile.

use pilothouse_e2e::{Host, On, Scene, Server, message, on_local};
use serde_json::json;

/// Runs a host with the state directory until it has greeted somebody; answers everything that it logged.
async fn greets(scene: &Scene, server: &Server, name: &str) -> Vec<String> {
    let host: Host = scene.run(server, &["--state-dir", "state"]);
    server.api().greet(name).await;
    host.greeted(&server.api(), name).await;
    host.signal("TERM").await;
    let ended = host.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.log().iter().map(|line| message(line).to_owned()).collect()
}

on_local!(compiled_code_that_was_changed_is_never_run_but_made_anew);
/// On the local one alone: no API server has a part in it.
async fn compiled_code_that_was_changed_is_never_run_but_made_anew(on: On) {
    let scene = Scene::with_greeting().on(on);
    scene.config(&json!({"greeting": {}}));
    let server = Server::started(&scene).await;
    greets(&scene, &server, "first").await;
    let code = std::fs::read_dir(scene.path("state/code")).unwrap();
    let mut entries = code.map(|entry| entry.unwrap().path());
    let entry = entries
        .find(|path| path.extension().is_some_and(|e| e == "code"))
        .expect("the entry");
    let good = std::fs::read(&entry).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let (half, last) = (good.len() / 2, good.len() - 1);
    let spoilt = [
        ("code", flipped(half), "its HMAC does not verify"),
        ("seal", flipped(last), "its HMAC does not verify"),
        ("length", good[..half].to_vec(), "its HMAC does not verify"),
        ("nothing", good[..7].to_vec(), "it is too short"),
    ];
    for (name, bytes, why) in spoilt {
        // In place, so that owner and mode stay what they were.
        std::fs::write(&entry, &bytes).unwrap();
        let said = greets(&scene, &server, name).await;
        let told = said
            .iter()
            .find(|line| line.starts_with("code cache "))
            .expect("it is told");
        assert!(
            told.contains(why) && told.contains("it is deleted, and its module compiled anew"),
            "{name}: {told}"
        );
        let anew = std::fs::read(&entry).unwrap();
        assert!(anew.len() > half && anew != bytes, "{name}: it was made anew");
    }
    let said = greets(&scene, &server, "untouched").await;
    assert!(!said.iter().any(|line| line.starts_with("code cache ")), "{said:#?}");
}
