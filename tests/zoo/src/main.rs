//! `cargo xtask zoo`: lets each animal loose and prints what it tried, what stopped it and how the neighbour fared. Named
//! animals alone, if any are. Ends with 1 if one was not stopped, or something else came to harm.
#![cfg(unix)]

use std::process::ExitCode;

use pilothouse_e2e::On;
use pilothouse_zoo::{ANIMALS, Animal, Served, quiet, visit};
use tokio::task::LocalSet;

/// So many objects the neighbour has alone.
const ALONE: u32 = 20;

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
    println!("{:<24} {:<12} neighbour", "animal", "");
    println!("{:<24} {:<12} {}", "(nobody)", "", fared(quiet(ALONE).await));
    for animal in animals {
        bad += u32::from(!shown(animal).await);
    }
    match bad {
        0 => ExitCode::SUCCESS,
        bad => {
            println!("{bad} of them were not stopped as expected, or the neighbour came to harm");
            ExitCode::FAILURE
        }
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
    println!("    tried   {}", animal.tries);
    for told in visit.iter().flat_map(|visit| &visit.told) {
        for (n, line) in told.lines().enumerate() {
            println!("    {}{line}", if n == 0 { "stopped " } else { "        " });
        }
    }
    visit.is_ok()
}

fn fared(served: Served) -> String {
    format!(
        "{:>4} keys, worst {:>6.1} ms",
        served.keys,
        served.worst.as_secs_f64() * 1e3
    )
}
