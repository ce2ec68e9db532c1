//! SIGKILL at random moments of ingests, of writes over the API and of rotations of the key over
//! the data and of the key of the pseudonyms. After each: the data opens, persons and profiles are
//! those of one whole ingest, every event that was acknowledged is there, nobody is called by two
//! names, and no file holds a raw id or text.
#![allow(missing_docs, clippy::unwrap_used)]

mod shop;

use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use shop::Shop;

const SEED: u64 = 1;

/// Kills of each kind, at least.
const KILLS: u32 = 6;

/// Attempts to hit what takes a few milliseconds.
const ATTEMPTS_MAX: u32 = 200;

struct Chance(ChaCha20Rng);

impl Chance {
    /// A moment before `most` is over.
    fn within(&mut self, most: Duration) -> Duration {
        let nanos = most.as_nanos() as u64;
        Duration::from_nanos(self.0.next_u64() % nanos)
    }
}

/// How long a command takes that nobody kills.
fn time(run: impl FnOnce()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

#[test]
fn whatever_is_killed_nothing_is_lost_half_written_or_in_plain_text() {
    let mut chance = Chance(ChaCha20Rng::seed_from_u64(SEED));
    let mut shop = Shop::new();
    let usual = time(|| shop.ingest());
    shop.check();

    // Ingests of files that have grown since the last that was kept.
    let (mut kept, mut lost, mut is_new) = (0, 0, true);
    for attempt in 0.. {
        assert!(attempt < ATTEMPTS_MAX, "{kept} ingests were kept, {lost} lost");
        if attempt >= KILLS && kept > 0 && lost > 0 {
            break;
        }
        if is_new {
            shop.grow();
        }
        shop.kill(&["ingest"], chance.within(usual * 2));
        is_new = shop.check();
        *(if is_new { &mut kept } else { &mut lost }) += 1;
    }
    shop.ingest();
    assert!(shop.check());

    // Writes over the API.
    for _ in 0..KILLS {
        shop.write_until_killed(chance.within(Duration::from_millis(300)));
        shop.check();
    }
    assert!(shop.acknowledged() > 10, "{} events say little", shop.acknowledged());

    // Rotations, first of a key in the clear, then of one that is sealed. The server holds the key.
    shop.refuses_to_rotate_beside_a_server();
    for sealed in [false, true] {
        if sealed {
            shop.wrap();
        }
        let usual = time(|| shop.rotate());
        let (mut kills, mut halves) = (0, 0);
        while kills < KILLS || halves == 0 {
            assert!(kills < ATTEMPTS_MAX, "no rotation was ever cut in two");
            shop.kill(&["keys", "rotate"], chance.within(usual * 3 / 2));
            kills += 1;
            halves += u32::from(shop.is_rotating());
            shop.check();
        }
        // Life goes on between the halves, and the next rotation finishes.
        shop.write_until_killed(Duration::from_millis(100));
        shop.rotate();
        assert!(!shop.is_rotating());
        shop.check();
    }

    // Rotations of the pseudonym key, first of a sealed one, then of one in the clear. Until one is
    // finished, nothing else works with names.
    for sealed in [true, false] {
        if !sealed {
            shop.unwrap();
        }
        let usual = time(|| shop.rename());
        shop.check();
        let (mut kills, mut halves) = (0, 0);
        while kills < KILLS || halves == 0 {
            assert!(kills < ATTEMPTS_MAX, "no rotation was ever cut in two");
            shop.kill(&["keys", "rotate", "--pseudonyms"], chance.within(usual * 3 / 2));
            kills += 1;
            shop.check();
            if shop.is_renaming() {
                halves += 1;
                shop.refuses_to_ingest();
            }
        }
        // It goes on, and so does life.
        if shop.is_renaming() {
            shop.rename();
        }
        assert!(!shop.is_renaming());
        shop.check();
        shop.write_until_killed(Duration::from_millis(100));
        shop.grow();
        shop.ingest();
        assert!(shop.check());
    }
}
