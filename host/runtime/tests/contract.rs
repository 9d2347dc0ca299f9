//! What was released stays: components built from a frozen contract load in every later host.

use std::path::Path;

use pilothouse_runtime::{Engine, EngineConfig};

fn wit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_contract_of_a_frozen_version_does_not_change_under_its_number() {
    let (now, frozen) = (wit("plugin.wit"), wit("frozen/0.1.0/plugin.wit"));
    assert!(
        now.starts_with("package pilothouse:plugin@0.1.0;"),
        "freeze the version before this one, too"
    );
    assert_eq!(
        now, frozen,
        "wit/plugin.wit says 0.1.0 and is not what wit/frozen/0.1.0 says"
    );
}

#[tokio::test]
async fn a_component_built_from_the_frozen_contract_loads_and_answers() {
    let bytes = std::fs::read(pilothouse_guests::component("bench-plugin")).unwrap();
    let engine = Engine::new(EngineConfig {
        slots: 2,
        ..EngineConfig::default()
    })
    .unwrap();
    let module = engine.compile(&bytes).unwrap();
    assert!(module.describe().await.unwrap().contains("\"bench\""));
    assert_eq!(module.check_config("{}").await.unwrap(), Ok(()));
}
