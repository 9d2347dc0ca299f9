use super::*;
use crate::calls::scene::{Scene, until};

#[tokio::test(start_paused = true)]
#[allow(clippy::disallowed_methods, reason = "the clock is paused: this passes time")]
async fn who_withdraws_a_plugin_hears_of_it_when_its_last_run_is_over() {
    let scene = Scene::new(&[]).await;
    let run = scene.call();
    let mut withdrawn = scene.host.withdraw("bench");
    let hour = Duration::from_secs(3_600);
    assert!(
        tokio::time::timeout(hour, &mut withdrawn).await.is_err(),
        "a run is left"
    );
    assert!(scene.host.plugins().is_empty(), "but nothing new begins");
    drop(run);
    assert!(withdrawn.await);
}

#[tokio::test(start_paused = true)]
#[allow(clippy::disallowed_methods, reason = "the clock is paused: this passes time")]
async fn a_version_serves_once_the_first_lists_of_what_only_it_watches_are_there() {
    let scene = Scene::new(&[]).await;
    let all = scene.host.plugins().pop().unwrap();
    let mut smaller = (*all).clone();
    let mut manifest = (*all.manifest).clone();
    manifest.controllers.retain(|controller| controller.name == "empty");
    smaller.manifest = Arc::new(manifest);
    let controllers = || scene.host.controllers().len();
    scene.host.serve(Arc::new(smaller), false).await.unwrap();
    until(|| controllers() == 1 && scene.host.is_idle()).await;
    scene.says(|script| script.fails = Some((http::Method::GET, "/busies", 503)));
    let mut served = scene.host.serve(all, false);
    let while_it_waits = Duration::from_secs(30);
    assert!(tokio::time::timeout(while_it_waits, &mut served).await.is_err());
    assert_eq!(controllers(), 1, "the older one serves on");
    scene.says(|script| script.fails = None);
    served.await.unwrap();
    assert_eq!(controllers(), 2);
}
