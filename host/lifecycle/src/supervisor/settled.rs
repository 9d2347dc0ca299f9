//! A load waits its turn, and the file may be another one by then: only what has settled is loaded.

use std::{sync::Arc, time::Duration};

use crate::{
    Hash,
    directory::ModuleFile,
    refusal::{Refusal, Step},
};

/// How often a file is read that is not what has settled, and how long is waited in between: as long as it takes to
/// settle, by when its own turn comes as a change of the directory.
const TRIES: u32 = 5;

/// The file with its bytes, which are those that settled. Where it can't be read it is left to whoever loads it to say
/// so.
///
/// # Errors
/// It goes on changing.
pub(super) async fn settled(file: ModuleFile, module: Hash, most: u64, pause: Duration) -> Result<ModuleFile, Refusal> {
    for _ in 0..TRIES {
        let own = file.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "a driver: reads files on a thread that serves nobody"
        )]
        let read = tokio::task::spawn_blocking(move || {
            let bytes = own.read(most).ok()?;
            let hash = Hash::of(&bytes);
            Some((bytes, hash))
        })
        .await;
        let read: Option<(Arc<[u8]>, Hash)> =
            read.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
        match read {
            None => return Ok(file),
            Some((bytes, hash)) if hash == module => return Ok(file.holding(bytes)),
            Some(_) => {}
        }
        #[expect(clippy::disallowed_methods, reason = "a driver: waits")]
        tokio::time::sleep(pause).await;
    }
    Err(Refusal::new(
        &file.name,
        Step::Read,
        "its file was another one each time that it was to be loaded",
        "write it beside the directory and rename it into place once",
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PAUSE: Duration = Duration::from_millis(200);

    #[allow(clippy::disallowed_methods, reason = "the test's clock is paused")]
    async fn at_hand(there: &'static [u8], wanted: &[u8], later: Option<&'static [u8]>) -> Result<Arc<[u8]>, Refusal> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.wasm");
        fs::write(&path, there).unwrap();
        let file = ModuleFile::within(place.path(), "a");
        let loading = settled(file, Hash::of(wanted), 1_000, PAUSE);
        let changing = async {
            if let Some(later) = later {
                // Not before the first look: that is the first thing that `loading` does.
                tokio::time::sleep(PAUSE / 2).await;
                fs::write(&path, later).unwrap();
            }
        };
        let (file, ()) = tokio::join!(loading, changing);
        file.and_then(|file| file.read(1_000))
    }

    #[tokio::test(start_paused = true)]
    async fn what_settled_is_read_once() {
        let bytes = at_hand(b"one", b"one", Some(b"two")).await.unwrap();
        assert_eq!(&*bytes, b"one", "what comes afterwards is the next load's");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_is_waited_for() {
        assert_eq!(&*at_hand(b"two", b"one", Some(b"one")).await.unwrap(), b"one");
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_settled_is_not_loaded() {
        let refusal = at_hand(b"two", b"one", None).await.unwrap_err();
        assert_eq!(refusal.step, Step::Read);
    }
}
