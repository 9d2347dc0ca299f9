//! `cargo xtask zoo`: lets each animal loose and prints what it tried, what stopped it and how the neighbour fared.
//! Named animals alone, if any are. Ends with 1 if one was not stopped, or something else came to harm.
#![cfg(unix)]

use std::process::ExitCode;

use pilothouse_e2e::On;
use pilothouse_zoo::{ANIMALS, Animal, Served, quiet, visit};
use tokio::task::LocalSet;

/// So many objects the neighbour has alone.
const ALONE: u32 = 20;
/// How many characters wide the table is.
const WIDTH: usize = 120;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // What is spawned needs no threads of its own.
    LocalSet::new().run_until(all()).await
}

async fn all() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted
        .iter()
        .find(|name| ANIMALS.iter().all(|animal| animal.name != **name))
    {
        eprintln!("error: {unknown}: no such animal");
        return ExitCode::from(2);
    }
    let animals = ANIMALS
        .iter()
        .filter(|animal| wanted.is_empty() || wanted.iter().any(|name| name == animal.name));
    let mut bad = 0;
    // Once plugins are built, which tells of itself.
    let alone = quiet(ALONE).await;
    println!("{:<24} {:<12} its neighbour meanwhile", "animal", "");
    println!("{:<24} {:<12} {}", "(nobody)", "", fared(alone));
    let mut all = 0;
    for animal in animals {
        all += 1;
        bad += u32::from(!shown(animal).await);
    }
    if bad == 0 {
        println!("all {all} were stopped as expected, and none harmed its neighbour");
        ExitCode::SUCCESS
    } else {
        println!("{bad} of {all} were not stopped as expected, or their neighbour came to harm");
        ExitCode::FAILURE
    }
}

/// Shows one; answers whether all is well.
async fn shown(animal: &'static Animal) -> bool {
    // A visit that does not go well panics, and says why on stderr.
    let visit = tokio::task::spawn_local(visit(animal, On::Local)).await;
    match &visit {
        Ok(visit) => println!("{:<24} {:<12} {}", animal.name, "stopped", fared(visit.neighbour)),
        Err(_) => println!("{:<24} NOT STOPPED as expected, see above", animal.name),
    }
    told("tried", animal.tries);
    if let Some(other) = animal.with {
        told("beside", &format!("{}, which {}", other.name, other.tries));
    }
    for text in visit.iter().flat_map(|visit| &visit.told) {
        told("stopped", text);
    }
    visit.is_ok()
}

/// Prints a text under its heading, in lines that fit; of several lines of the host's the first, since what comes then
/// is to be pasted into files.
fn told(heading: &str, text: &str) {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let mut line = format!("    {heading:<8}");
    for word in first.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            println!("{line}");
            line = " ".repeat(12);
        }
        line.push_str(if line.ends_with(' ') { "" } else { " " });
        // What has no blank in it may be of any length.
        let room = WIDTH - 13;
        line.extend(word.chars().take(room));
        line.push_str(if word.chars().count() > room { "…" } else { "" });
    }
    println!("{line}");
    if let more @ 1.. = lines.count() {
        println!("            (and {more} lines more of what to paste where)");
    }
}

fn fared(served: Served) -> String {
    format!(
        "{:>4} keys, worst {:>6.1} ms",
        served.keys,
        served.worst.as_secs_f64() * 1e3
    )
}
