//! The list, the scripts and the README say the same. None of this needs a server.

use std::collections::BTreeSet;

use pilothouse_conformance::walk::TOPIC as WALK;
use pilothouse_conformance::{Differences, Script};

use crate::real::TESTED;

/// The topic of kubectl's transcripts, which have no script here.
const KUBECTL: &str = "kubectl";

#[test]
fn every_script_is_run_by_a_test() {
    let files = std::fs::read_dir(Script::folder()).expect("the folder of scripts");
    let files: BTreeSet<String> = files
        .map(|file| {
            let name = file
                .expect("a file")
                .file_name()
                .into_string()
                .expect("a name in UTF-8");
            let topic = name.strip_suffix(".yaml").map(str::to_owned);
            topic.unwrap_or_else(|| panic!("scripts are called TOPIC.yaml: {name}"))
        })
        .collect();
    let tested: BTreeSet<String> = TESTED.iter().map(|&topic| topic.to_owned()).collect();
    assert_eq!(
        files, tested,
        "scripts on the left, those in `scripts!` of tests/conformance/real.rs on the right"
    );
    for topic in &files {
        assert!(!Script::load(topic).steps.is_empty(), "{topic}");
    }
}

#[test]
fn every_entry_of_the_list_is_of_a_step_that_is_there() {
    for entry in Differences::load().iter() {
        let topic = entry.topic.as_str();
        if topic == WALK || topic == KUBECTL {
            continue;
        }
        assert!(
            TESTED.contains(&topic),
            "no test looks at this any more, delete it:\n{entry}"
        );
        let script = Script::load(topic);
        let is_there = script.steps.iter().any(|step| step.name == entry.request);
        assert!(is_there, "no such step any more, delete it:\n{entry}");
    }
}

#[test]
fn the_readme_tells_how_many_differences_there_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = std::fs::read_to_string(path).expect("the README");
    let count = Differences::load().len();
    let section = readme
        .split("## The local cluster\n")
        .nth(1)
        .expect("the section on the local cluster");
    let section = section.split("\n## ").next().unwrap_or_default();
    let wanted = format!("[{count} differences](tests/conformance/differences.yaml)");
    assert!(
        section.contains(&wanted),
        "the README's section \"The local cluster\" must hold: {wanted}"
    );
}
