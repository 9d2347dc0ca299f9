//! A zoo of bad plugins: [`ANIMALS`] says what each tries and what is to stop it, [`visit`] lets one loose in a real
//! `pilothouse run` beside a quiet neighbour, the greeting.
//!
//! A visit goes well only if the host said or counted, in its own words, that it stopped the animal by what was
//! expected, and if the neighbour went on: each of its objects reconciled, none of its calls failed or cut, before,
//! meanwhile and after. Anything else is a panic that says what happened and what the host said.
//!
//! How long the neighbour took is measured and not judged: machines differ. [`quiet`] measures it alone.

#![cfg(unix)]

mod animals;
mod modules;
mod neighbour;
mod visit;

pub use animals::{ANIMALS, Animal, Stop, named};
pub use neighbour::Served;
pub use visit::{Visit, quiet, visit};
