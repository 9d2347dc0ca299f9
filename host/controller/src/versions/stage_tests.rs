use super::*;
use crate::calls::scene::Scene;

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
