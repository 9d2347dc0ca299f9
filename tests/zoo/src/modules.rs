//! The animals' modules: plugins of the tests, most of them changed in the bytes so that they do what no compiler
//! writes.

use pilothouse_e2e::wasm;
use pilothouse_guests::bytes::{self, core_module_with, length, section};
use serde_json::{Value, json};

/// The plugin whose objects say how it behaves.
pub(crate) fn beasts() -> Vec<u8> {
    wasm::zoo().to_vec()
}

/// The same, with an answer that is no text.
pub(crate) fn rubbish() -> Vec<u8> {
    let text = b"RUBBISH TO COME: SPOIL THESE BYTES";
    wasm::replaced(wasm::zoo(), text, [0xff; 34])
}

/// Panics instead of describing itself.
pub(crate) fn panics_in_describe() -> Vec<u8> {
    wasm::describing("!panic")
}

/// Describes itself without an end.
pub(crate) fn loops_in_describe() -> Vec<u8> {
    wasm::describing("!loop")
}

/// Describes itself in rubbish.
pub(crate) fn describes_rubbish() -> Vec<u8> {
    wasm::describing("{\"name\": \"\u{1b}[2Jrubbish\"")
}

/// Describes itself by another version at each call, if it is given anything by which two calls differ.
pub(crate) fn changes_its_mind() -> Vec<u8> {
    let mut manifest = manifest("fickle");
    manifest["version"] = json!("0.CHANCE.0");
    wasm::describing(&format!("!chance {manifest}"))
}

/// Is packed with one manifest and describes itself by another.
pub(crate) fn two_faced() -> Vec<u8> {
    let embedded = json!({"version": 1, "manifest": manifest("two-faced")}).to_string();
    let name = b"pilothouse:manifest";
    let custom = [&length(name.len())[..], name, embedded.as_bytes()].concat();
    let mut other = manifest("two-faced");
    other["description"] = json!("quite another plugin");
    [wasm::with_manifest(&other), section(0, &custom)].concat()
}

/// Asks for all that is dangerous.
pub(crate) fn asks_for_everything() -> Vec<u8> {
    let mut greedy = manifest("greedy");
    let permissions = greedy["permissions"].as_array_mut().expect("permissions");
    for (group, kind) in [
        ("", "Secret"),
        ("", "Pod"),
        ("", "ServiceAccount"),
        ("apps", "Deployment"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ] {
        let verbs = ["get", "list", "watch", "create", "patch", "replace", "delete"];
        permissions.push(json!({"group": group, "kind": kind, "verbs": verbs}));
    }
    wasm::with_manifest(&greedy)
}

/// Says that it is the neighbour, to get what the neighbour is granted.
pub(crate) fn claims_the_neighbours_name() -> Vec<u8> {
    wasm::with_manifest(&manifest("greeting"))
}

/// A good plugin with one more core module in it, which traps as it is started.
pub(crate) fn traps_at_start() -> Vec<u8> {
    starting(&[0x00, 0x0b])
}

/// The same, which lets its function table grow without an end.
pub(crate) fn table_bomb() -> Vec<u8> {
    // loop: ref.null func, i32.const 1000, table.grow 0, drop, br 0.
    starting(&[
        0x03, 0x40, 0xd0, 0x70, 0x41, 0xe8, 0x07, 0xfc, 0x0f, 0x00, 0x1a, 0x0c, 0x00, 0x0b, 0x0b,
    ])
}

/// The same, with functions that take the compiler minutes.
pub(crate) fn slow_to_compile() -> Vec<u8> {
    with_core_module(&wasm::with_manifest(&manifest("slow")), &bytes::slow_to_compile())
}

/// A manifest that asks for what a plugin of Greetings needs.
fn manifest(name: &str) -> Value {
    json!({
        "name": name, "version": "0.1.0",
        "controllers": [{"name": "c", "kind": {"group": "demo.pilothouse.dev", "version": "v1", "kind": "Greeting"}}],
        "permissions": [{"group": "demo.pilothouse.dev", "kind": "Greeting", "verbs": ["list", "watch", "patch"]}],
    })
}

/// A good plugin with a core module more, which has a table and runs this code as it is started.
fn starting(code: &[u8]) -> Vec<u8> {
    let sections = [section(4, &[1, 0x70, 0, 0]), section(8, &[0])].concat();
    let core = core_module_with(&sections, 1, &[&[0][..], code].concat());
    with_core_module(&wasm::with_manifest(&manifest("starting")), &core)
}

/// The component with one more core module, and an instance of it.
fn with_core_module(component: &[u8], core: &[u8]) -> Vec<u8> {
    let index = core_modules(component);
    [
        component,
        &section(1, core),
        &section(2, &[&[1, 0][..], &length(index), &[0]].concat()),
    ]
    .concat()
}

/// How many core modules a component has on its own level.
fn core_modules(component: &[u8]) -> usize {
    let (mut at, mut count) = (8, 0);
    while at < component.len() {
        let id = component[at];
        let (mut size, mut shift) = (0, 0);
        loop {
            at += 1;
            size |= usize::from(component[at] & 0x7f) << shift;
            shift += 7;
            if component[at] & 0x80 == 0 {
                break;
            }
        }
        count += usize::from(id == 1);
        at += 1 + size;
    }
    count
}
