//! Whether a plugin that is loaded already is left what it has by other words of the operator's.

use std::sync::Arc;

use super::load::{config, load_one, module_that_says};
use super::{least_manifest, with};
use crate::config::PluginConfig;
use crate::lives::Candidate;
use crate::load::Plugin;

/// What the operator says of `greeting`, whose manifest asks to watch and patch ConfigMaps.
fn words(said: &str) -> PluginConfig {
    config(&format!("plugins: {{greeting: {{{said}}}}}")).plugin("greeting")
}

/// The plugin, loaded by these words.
fn loaded(said: &str) -> Arc<Plugin> {
    let verbs = ["watch", "patch"].into();
    let manifest = with(least_manifest(), "/permissions/0/verbs", verbs);
    let config = config(&format!("plugins: {{greeting: {{{said}}}}}"));
    Arc::new(load_one(&module_that_says(&manifest.to_string()), &config).unwrap())
}

#[test]
fn a_plugin_fits_words_that_leave_it_all_that_it_has() {
    let grants = |rest: &str| format!("grants: [{{group: '', kind: ConfigMap, verbs: ['*']{rest}}}]");
    let everywhere = grants("");
    let in_one = grants(", namespaces: [a]");
    let in_both = grants(", namespaces: [a, b]");
    let quiet = format!("{everywhere}, events: false");
    let as_jane = format!("{everywhere}, impersonate: {{user: jane}}");
    let as_joe = format!("{everywhere}, impersonate: {{user: joe}}");
    let watching = "grants: [{group: '', kind: ConfigMap, verbs: [watch]}]".to_owned();
    let slower = format!("{everywhere}, weight: 3, limits: {{wallMs: 77}}, config: null");
    for (had, now, fits) in [
        (&everywhere, &everywhere, true),
        (&everywhere, &slower, true),
        // Grants: nothing that it holds may reach further, and nothing that it asks for may be missing.
        (&everywhere, &in_one, false),
        (&in_both, &in_one, false),
        (&in_one, &in_both, true),
        (&in_both, &everywhere, true),
        (&everywhere, &watching, false),
        // Events.
        (&everywhere, &quiet, false),
        (&quiet, &everywhere, true),
        (&quiet, &quiet, true),
        // As whom: another has other rights, whether more or less.
        (&everywhere, &as_jane, false),
        (&as_jane, &everywhere, false),
        (&as_jane, &as_joe, false),
        (&as_jane, &as_jane, true),
    ] {
        assert_eq!(loaded(had).fits(&words(now)), fits, "loaded by {had}, now {now}");
    }
    // The namespace where the host lives is known by now, and was not guarded when it was loaded.
    let at_home = config(&format!(
        "host: {{namespace: own}}\nplugins: {{greeting: {{{everywhere}}}}}"
    ));
    assert!(!loaded(&everywhere).fits(&at_home.plugin("greeting")));
}
