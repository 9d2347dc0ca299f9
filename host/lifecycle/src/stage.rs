//! What serves plugins, as the room that loads them sees it: the room above implements it.

use std::pin::Pin;
use std::sync::Arc;

use crate::load::{Hash, Plugin};

/// A future in a box, as [`Stage`]'s methods answer it.
pub type StageFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Serves plugins, and exchanges them while everything runs.
pub trait Stage: Send + Sync + 'static {
    /// Lets this version serve. A plugin of a new name begins; where one of this name serves already it is exchanged:
    /// what both watch is kept, what the new one watches besides is listed before the switch, and from the switch on no
    /// key begins on the older version. Ends with the switch; runs of the older version end by themselves afterwards.
    ///
    /// `quarantined`: its breaker is open from the start and stays so until [`Stage::release`] or another version; its
    /// keys wait. It is what served when the host ended, and was in quarantine then.
    ///
    /// Dropping the future before its end leaves the older version serving.
    ///
    /// # Errors
    /// Why the switch did not happen; the older version serves on.
    fn serve(&self, plugin: Arc<Plugin>, quarantined: bool) -> StageFuture<'_, Result<(), NotServed>>;

    /// How many keys of this plugin's controllers may be in work at once is as it says from now on; nothing else of it
    /// is another than what serves. Nothing happens where none of its name serves.
    fn adjust(&self, plugin: &Plugin);

    /// Unloads the plugin of this name: no key of it begins any more, and once its runs have ended its watches, its
    /// memory and its metrics go. Ends when they are gone; false where there is no such plugin.
    fn withdraw<'a>(&'a self, name: &'a str) -> StageFuture<'a, bool>;

    /// Ends a plugin's quarantine: its keys may run again.
    fn release(&self, name: &str);
}

/// Why a version that passed every step does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotServed {
    /// What is in the way.
    pub why: String,
    /// What to do about it.
    pub mend: String,
}

/// What went wrong with a version while it served; the stage tells it, and the room that loads decides whether an older
/// version comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// Which module served.
    pub hash: Hash,
    /// By which words of the operator's.
    pub configuration: Hash,
    /// What happened.
    pub what: TroubleKind,
}

/// See [`Trouble`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// A call ended in a trap, a panic or at a limit.
    Trapped,
    /// The plugin's breaker opened.
    Tripped,
    /// It opened too often: it stays open until an operator, a new version or a new configuration.
    Quarantined,
    /// The caches hold more for it than it may have. Told again and again while that is so.
    CacheFull {
        /// What they hold for it, in bytes.
        bytes: u64,
        /// What it may have, in MiB.
        most_mib: u32,
    },
}
