use std::fs;
use std::path::Path;

use crate::config::{Config, PluginConfig};
use crate::directory::{Directory, DirectoryError, MAX_BESIDE_BYTES, ModuleFile, Others, own_config, scan};
use crate::load::Hash;
use crate::refusal::Step;

fn directory(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        fs::write(dir.path().join(file), b"x").unwrap();
    }
    dir
}

fn module(dir: &Path, name: &str) -> ModuleFile {
    ModuleFile::within(dir, name)
}

#[test]
fn modules_are_the_wasm_files_sorted_by_name() {
    let dir = directory(&[
        "b.wasm",
        "a.wasm",
        "README.md",
        "c.wasm.tmp",
        ".d.wasm",
        "e.WASM",
        "wasm",
    ]);
    let scan = scan(dir.path()).unwrap();
    assert_eq!(scan.modules, [module(dir.path(), "a"), module(dir.path(), "b")]);
    assert_eq!(scan.refused, []);
}

#[test]
fn a_file_whose_name_is_no_plugin_name_is_refused_and_harms_no_other() {
    let dir = directory(&["good.wasm", "Greeting.wasm", "two words.wasm", "a.b.wasm"]);
    let scan = scan(dir.path()).unwrap();
    assert_eq!(scan.modules, [module(dir.path(), "good")]);
    let refused: Vec<&str> = scan.refused.iter().map(|refusal| refusal.plugin.as_str()).collect();
    assert_eq!(refused, ["Greeting", "a.b", "two words"]);
    let text = scan.refused[0].to_string();
    let expected = "plugin Greeting was not loaded: read: `Greeting` is no plugin name; rename the file: ";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn a_directory_named_like_a_module_is_refused() {
    let dir = directory(&[]);
    fs::create_dir(dir.path().join("a.wasm")).unwrap();
    let scan = scan(dir.path()).unwrap();
    assert!(scan.modules.is_empty());
    assert_eq!(scan.refused[0].why, "a.wasm is no regular file");
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_is_followed_as_long_as_it_stays_beneath_the_directory() {
    use std::os::unix::fs::symlink;
    let outside = directory(&["x.wasm"]);
    let dir = directory(&["a.wasm"]);
    // As a mounted ConfigMap does it.
    fs::create_dir(dir.path().join("..2026_11_28")).unwrap();
    fs::write(dir.path().join("..2026_11_28/mounted.wasm"), b"mounted").unwrap();
    symlink("..2026_11_28", dir.path().join("..data")).unwrap();
    symlink("..data/mounted.wasm", dir.path().join("mounted.wasm")).unwrap();
    symlink(outside.path().join("x.wasm"), dir.path().join("absolute.wasm")).unwrap();
    let up = format!("../{}/x.wasm", outside.path().file_name().unwrap().to_str().unwrap());
    symlink(up, dir.path().join("up.wasm")).unwrap();
    symlink("nowhere.wasm", dir.path().join("dangling.wasm")).unwrap();
    let scan = scan(dir.path()).unwrap();
    assert_eq!(scan.modules, [module(dir.path(), "a"), module(dir.path(), "mounted")]);
    assert_eq!(module(dir.path(), "mounted").read(10).unwrap()[..], *b"mounted");
    let why: Vec<(&str, bool)> = scan
        .refused
        .iter()
        .map(|r| (r.plugin.as_str(), r.why.contains("leads out of the plugin directory")))
        .collect();
    assert_eq!(why, [("absolute", true), ("dangling", false), ("up", true)]);
    assert!(module(dir.path(), "up").read(10).is_err(), "nor is it read by its name");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_without_waiting_for_its_other_end() {
    let dir = directory(&[]);
    let made = std::process::Command::new("mkfifo")
        .arg(dir.path().join("a.wasm"))
        .status()
        .unwrap();
    assert!(made.success());
    assert_eq!(scan(dir.path()).unwrap().refused[0].why, "a.wasm is no regular file");
    assert!(module(dir.path(), "a").read(10).is_err());
}

#[cfg(unix)]
#[test]
fn what_others_may_write_is_refused_with_the_command_that_mends_it() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = directory(&["a.wasm", "b.wasm", "c.wasm", "c.yaml"]);
    let mode = |name: &str, mode| fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    mode("a.wasm", 0o620);
    mode("b.wasm", 0o602);
    fs::create_dir(dir.path().join(".folder")).unwrap();
    fs::write(dir.path().join(".folder/d.wasm"), b"d").unwrap();
    mode(".folder", 0o777);
    symlink(".folder/d.wasm", dir.path().join("d.wasm")).unwrap();
    let scanned = scan(dir.path()).unwrap();
    assert_eq!(scanned.modules, [module(dir.path(), "c")]);
    let texts: Vec<String> = scanned.refused.iter().map(ToString::to_string).collect();
    for (text, (path, who)) in
        texts
            .iter()
            .zip([("a.wasm", "its group"), ("b.wasm", "everyone"), (".folder", "everyone")])
    {
        assert!(text.contains(&format!("{path}: {who} may write it")), "{text}");
        assert!(text.contains("; chmod go-w ") && text.ends_with(path), "{text}");
    }
    mode("c.yaml", 0o666);
    assert!(Directory::open(dir.path()).unwrap().beside("c").is_err());
    mode("", 0o770);
    let refused = scan(dir.path()).unwrap_err();
    assert!(
        matches!(refused, DirectoryError::OthersWrite { who: Others::Group, .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("chmod go-w /"), "{refused}");
}

#[test]
fn what_stands_beside_a_module_is_the_operators_side_of_it() {
    let dir = directory(&["a.wasm"]);
    let own = |config: &Config, text: &str| own_config(config, dir.path(), "a", Some(text.as_bytes()));
    let none = Config::default();
    let read = own(&none, "enabled: false\nconfig: {times: 3}\nlimits: {wallMs: 5}\n").unwrap();
    assert!(!read.enabled && read.limits.wall_ms == Some(5) && read.config["times"] == 3);
    assert_eq!(
        read.grants,
        Some(crate::grant::Grants::default()),
        "nothing is granted that isn't said"
    );
    let nothing = PluginConfig {
        beside: true,
        ..none.plugin("a")
    };
    assert_eq!(own(&none, "# nothing yet\n").unwrap(), nothing);
    // Errors name file, line and field, and quote no value.
    let refused = own(&none, "config: {password: hunter2}\nlimits:\n  wallMs: hunter2\n").unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("a.yaml:3:") && text.contains("limits.wallMs") && !text.contains("hunter2"),
        "{text}"
    );
    let text = own(&none, "config: &x {}\nlimits: *x\n").unwrap_err().to_string();
    assert!(text.contains("anchors and aliases (& and *) are not allowed"), "{text}");
    let both = Config::parse("apiVersion: pilothouse.dev/v1\nplugins: {a: {}}\n", "c.yaml".as_ref()).unwrap();
    let text = own(&both, "enabled: true").unwrap_err().to_string();
    assert!(
        text.contains("plugins.a in the operator's file (--config), and ") && text.contains("a.yaml"),
        "{text}"
    );
    fs::write(dir.path().join("a.yaml"), vec![b'#'; MAX_BESIDE_BYTES + 1]).unwrap();
    let text = Directory::open(dir.path())
        .unwrap()
        .beside("a")
        .unwrap_err()
        .to_string();
    assert!(text.contains("a.yaml is longer than 64 KiB"), "{text}");
}

#[test]
fn a_yaml_file_without_its_module_is_warned_of() {
    let dir = directory(&["a.wasm", "a.yaml", "b.yaml", "Chart.yaml"]);
    let warnings: Vec<String> = scan(dir.path())
        .unwrap()
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("b.yaml: there is no b.wasm beside it"),
        "{warnings:?}"
    );
}

#[test]
fn a_module_of_another_hash_than_the_pinned_one_is_not_taken() {
    let dir = directory(&["a.wasm"]);
    let file = module(dir.path(), "a");
    assert!(file.clone().pinned(Some(Hash::of(b"x"))).read(10).is_ok());
    let refused = file.pinned(Some(Hash::of(b"y"))).read(10).unwrap_err().to_string();
    assert!(refused.contains("its SHA-256 is 2d711642"), "{refused}");
    let pin = |text: &str| PluginConfig::parse(format!("sha256: '{text}'").as_bytes(), "a.yaml".as_ref());
    let digits = Hash::of(b"x").to_string();
    assert_eq!(pin(&digits).unwrap().sha256, Some(Hash::of(b"x")));
    assert_eq!(pin(&digits.to_uppercase()).unwrap().sha256, Some(Hash::of(b"x")));
    for wrong in ["", "2d71", &"g".repeat(64), &"é".repeat(32)] {
        assert!(pin(wrong).unwrap_err().to_string().contains("is no SHA-256"), "{wrong}");
    }
}

#[test]
fn a_directory_that_is_not_there_or_is_none_is_named_with_the_mend() {
    let dir = directory(&["file"]);
    let missing = scan(&dir.path().join("plugins")).unwrap_err();
    assert!(matches!(missing, DirectoryError::Missing { .. }));
    assert!(
        missing
            .to_string()
            .ends_with("plugins does not exist; create it, or name another with --plugins"),
        "{missing}"
    );
    assert!(matches!(
        scan(&dir.path().join("file")),
        Err(DirectoryError::NoDirectory { .. })
    ));
}

#[test]
fn a_module_is_read_up_to_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    let file = module(dir.path(), "a");
    assert_eq!(file.read(10).unwrap_err().step, Step::Read);
    fs::write(&file.path, vec![7; 10]).unwrap();
    assert_eq!(file.read(10).unwrap()[..], [7; 10]);
    assert!(
        file.read(9)
            .unwrap_err()
            .to_string()
            .contains("raise host.maxModuleMiB")
    );
    fs::write(&file.path, []).unwrap();
    assert!(file.read(10).unwrap_err().to_string().contains("the file is empty"));
    assert!(module(dir.path(), ".").read(10).is_err());
}
