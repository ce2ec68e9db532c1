//! The page for people.

use chorale_dp::accountant::gdp;

use super::*;
use crate::page::{Page, guessing_chance};

fn page(ledger: &Ledger) -> String {
    let report = verify(ledger.file.as_bytes(), None).unwrap();
    let lineage = lineage(&report, &[]).unwrap();
    Page { report: &report, lineage: &lineage, now_s: 1_800_000_000 }.html()
}

/// Every element that is opened is closed, in order; nothing is loaded or run.
fn well_formed(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in html.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap();
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "</{name}>");
        } else if !tag.ends_with('/') && !tag.starts_with('!') && !tag.starts_with("meta") {
            open.push(tag.split(' ').next().unwrap());
        }
    }
    assert!(open.is_empty(), "{open:?}");
    for word in ["<script", "http", "src=", "url(", "@import", "href"] {
        assert!(!html.contains(word), "{word}");
    }
}

#[test]
fn the_page_says_what_was_spent_by_whom_and_what_failed() {
    let mut ledger = Ledger::example();
    ledger.append(Entry::Cosigned(heads::cosigned(ledger.chain.head(), 8))).unwrap();
    let html = page(&ledger);
    well_formed(&html);
    for piece in [
        "Privacy ledger of test",
        "2027-01-15 08:00",
        "1970-01-01 00:16",
        "11 of 12",
        "<td>store-000</td><td>0 of 2</td>",
        "<td>store-011</td><td>2 of 2</td>",
        "too few masked vectors arrived",
        "given back",
        "8 stores have cosigned every entry up to 9",
        "1.414",
        "JSON Lines",
    ] {
        assert!(html.contains(piece), "{piece} is missing in\n{html}");
    }
    // Three charged rounds, and one given back that costs nothing.
    assert_eq!(html.matches("<circle class=\"spent\"").count(), 3);
    assert_eq!(html.matches("<circle class=\"back\"").count(), 1);
}

#[test]
fn names_cannot_smuggle_markup_in() {
    let mut promise = genesis(Privacy::Rho(rho(2, 1)));
    promise.purpose = "<script>alert('&')</script>".into();
    let (chain, file) = Chain::genesis(promise, &key(), 1000).unwrap();
    let mut ledger = Ledger { chain, file, now: 1000 };
    ledger.append(roster(1)).unwrap();
    ledger.reserve(ReserveEntry { plan: "<b>\"plan\"".into(), ..reserve(1, 1) }).unwrap();
    let html = page(&ledger);
    well_formed(&html);
    assert!(
        html.contains("&lt;script&gt;alert(&#39;&amp;&#39;)")
            && html.contains("&lt;b&gt;&quot;plan")
    );
}

#[test]
fn without_noise_nothing_is_promised() {
    let mut ledger = Ledger::new(Privacy::Unprotected);
    ledger.append(roster(1)).unwrap();
    let mut entry = reserve(1, 1);
    entry.mechanism = MechanismName::Unprotected;
    entry.rho = Privacy::Unprotected;
    (entry.share_variance, entry.sigma_squared, entry.sampler_distance) = (None, None, None);
    ledger.reserve(entry).unwrap();
    let html = page(&ledger);
    well_formed(&html);
    assert!(html.contains("This federation adds no noise") && html.contains("100 %"));
}

/// 55, 60, 68 and 80 % at ε = 1, 2, 4 and 8 and δ = 1e-5: the figures, recomputed.
#[test]
fn epsilon_in_an_attackers_words() {
    for (epsilon, chance) in [(1.0, 0.5533), (2.0, 0.5990), (4.0, 0.6781), (8.0, 0.7976)] {
        let mu = gdp::mu(epsilon, 1e-5);
        // A ledger of one round with this very μ.
        let sigma_squared = (f64::from(1u32 << 16) / mu).powi(2) as u64 + 4;
        let sigma_squared = Rational::from_integer(sigma_squared);
        let mut ledger = Ledger::new(Privacy::Rho(rho(100, 1)));
        ledger.append(roster(1)).unwrap();
        let entry = ReserveEntry {
            share_variance: Some(&sigma_squared / &Rational::from_integer(8)),
            rho: Privacy::Rho(Rho::of_distributed_gaussian(1 << 16, &sigma_squared, 8, 1847)),
            sigma_squared: Some(sigma_squared),
            sampler_distance: Some(Rational::zero()),
            ..reserve(1, 1)
        };
        ledger.reserve(entry).unwrap();
        let report = verify(ledger.file.as_bytes(), None).unwrap();
        let found = guessing_chance(&report).unwrap();
        assert!((found - chance).abs() < 2e-4, "{epsilon}: {found}");
    }
    // Nothing released: a blind guess, and δ.
    let report = verify(Ledger::new(Privacy::Rho(rho(1, 1))).file.as_bytes(), None).unwrap();
    assert!((guessing_chance(&report).unwrap() - 0.5).abs() < 1e-4);
}
