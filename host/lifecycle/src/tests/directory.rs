use std::fs;
use std::path::Path;

use crate::directory::{DirectoryError, ModuleFile, scan};
use crate::refusal::Step;

fn directory(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        fs::write(dir.path().join(file), b"x").unwrap();
    }
    dir
}

fn module(dir: &Path, name: &str) -> ModuleFile {
    ModuleFile {
        name: name.to_owned(),
        path: dir.join(format!("{name}.wasm")),
    }
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
    assert_eq!(scan.refused[0].why, "is no regular file");
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_is_not_followed() {
    let dir = directory(&["a.wasm"]);
    std::os::unix::fs::symlink(dir.path().join("a.wasm"), dir.path().join("b.wasm")).unwrap();
    let scan = scan(dir.path()).unwrap();
    assert_eq!(scan.modules, [module(dir.path(), "a")]);
    assert_eq!(scan.refused[0].why, "is a symbolic link");
}

#[cfg(unix)]
#[test]
fn what_others_may_write_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let dir = directory(&["a.wasm", "b.wasm"]);
    fs::set_permissions(dir.path().join("a.wasm"), fs::Permissions::from_mode(0o620)).unwrap();
    fs::set_permissions(dir.path().join("b.wasm"), fs::Permissions::from_mode(0o602)).unwrap();
    let warnings: Vec<String> = scan(dir.path())
        .unwrap()
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("a.wasm: its group may write it"), "{warnings:?}");
    assert!(warnings[1].contains("b.wasm: everyone may write it"), "{warnings:?}");
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
    assert_eq!(file.read(10).unwrap(), vec![7; 10]);
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
