//! Readings against hand-made rounds, over restarts and under another key.
#![allow(clippy::unwrap_used)]
use chorale_dp::Rho;

use super::*;
use crate::keys::Key;

fn rational(numerator: u64, denominator: u64) -> Rational {
    Rational::new(numerator, denominator).unwrap()
}

fn who(byte: u8) -> Pseudonym {
    Pseudonym::from_bytes([byte; 32])
}

fn federation(name: &str) -> FederationId {
    FederationId::new(name).unwrap()
}

/// σ² = 50, so that a norm² of n costs n/100 and a trace.
fn round(norms: &[(u8, u128)], elsewhere: u64) -> RoundReadings {
    let public =
        PublicCost { sigma_squared: rational(50, 1), trace: rational(1, 1 << 40), elsewhere };
    let mut readings = RoundReadings { public: Some(public), norms: Vec::new() };
    norms.iter().for_each(|(byte, square)| readings.person(who(*byte), *square));
    readings
}

fn key() -> Key {
    Key::from_bytes([1; 32])
}

#[test]
fn readings_add_up_over_rounds_federations_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Odometer::new(dir.path(), &key());
    assert_eq!(open().person(who(1)).unwrap(), PersonReading::default());
    let (one, two) = (federation("one"), federation("two"));
    open().record(&one, RoundNumber(1), &round(&[(1, 9), (2, 100)], 0)).unwrap();
    open().record(&one, RoundNumber(2), &round(&[(1, 16)], 0)).unwrap();
    open().record(&two, RoundNumber(1), &round(&[(1, 25)], 0)).unwrap();
    let reading = open().person(who(1)).unwrap();
    let trace = |rounds: u64| rational(rounds, 1 << 40);
    assert_eq!(reading.federations["one"].rho, &rational(25, 100) + &trace(2));
    assert_eq!(reading.federations["one"].rounds, 2);
    assert_eq!(reading.rho(), Rho::new(&rational(1, 2) + &trace(3)).ok());
    assert_eq!(open().person(who(2)).unwrap().rho(), Rho::new(&rational(1, 1) + &trace(1)).ok());
    assert_eq!(open().person(who(3)).unwrap().epsilon(1e-5), Some(0.0));
    // A round that will never be unmasked is taken back, once or twice.
    for _ in 0..2 {
        open().forget(&one, RoundNumber(1)).unwrap();
        let reading = open().person(who(1)).unwrap();
        assert_eq!(reading.federations["one"].rho, &rational(16, 100) + &trace(1));
    }
}

#[test]
fn nothing_of_it_can_be_read_on_the_disk_or_under_another_key() {
    let dir = tempfile::tempdir().unwrap();
    let odometer = Odometer::new(dir.path(), &key());
    odometer.record(&federation("one"), RoundNumber(1), &round(&[(0xab, 9)], 0)).unwrap();
    let file = std::fs::read(odometer.path()).unwrap();
    assert!(!file.windows(8).any(|window| window == [0xab; 8]));
    let stranger = Odometer::new(dir.path(), &Key::from_bytes([2; 32]));
    assert!(matches!(stranger.person(who(1)), Err(OdometerError::Seal { .. })));
    assert!(!format!("{:?}", round(&[(0xab, 9)], 0)).contains("171"));
}

#[test]
fn a_part_elsewhere_is_counted_as_if_it_were_as_long_as_it_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let odometer = Odometer::new(dir.path(), &key());
    // Norm √10 rounds up to 4, and 6 more may be elsewhere: (4 + 6)².
    odometer.record(&federation("one"), RoundNumber(1), &round(&[(1, 10)], 6)).unwrap();
    let reading = odometer.person(who(1)).unwrap();
    assert_eq!(reading.federations["one"].rho, &rational(1, 1) + &rational(1, 1 << 40));
}

#[test]
fn without_noise_nothing_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let odometer = Odometer::new(dir.path(), &key());
    let bare = RoundReadings { public: None, ..round(&[(1, 9)], 0) };
    odometer.record(&federation("one"), RoundNumber(1), &bare).unwrap();
    let reading = odometer.person(who(1)).unwrap();
    assert_eq!((reading.rho(), reading.epsilon(1e-5)), (None, None));
    assert_eq!(odometer.person(who(2)).unwrap().rho(), Some(Rho::zero()));
}

/// The figure is that of the next filter of the grid, never below the reading's own tail.
#[test]
fn the_epsilon_of_a_reading_is_that_of_a_filter_above_it() {
    let reading = |rho: Rational| PersonReading {
        federations: [("one".into(), FederationReading { rounds: 1, unprotected: 0, rho })].into(),
    };
    let epsilon = |rho: Rational| reading(rho).epsilon(1e-5).unwrap();
    let of = |filter: f64| filter + 2.0 * (filter * (32.0f64 / 1e-5).ln()).sqrt();
    for (rho, filter) in [((1, 2), 0.5), ((1, 3), 0.5), ((501, 1000), 1.0), ((16, 1), 16.0)] {
        let found = epsilon(rational(rho.0, rho.1));
        assert!(found >= of(filter) && found < of(filter) * 1.0001, "{rho:?}: {found}");
    }
    assert_eq!(reading(rational(17, 1)).epsilon(1e-5), None);
}

#[test]
fn an_erased_person_has_no_reading_and_nobody_elses_changes() {
    let dir = tempfile::tempdir().unwrap();
    let odometer = Odometer::new(dir.path(), &key());
    assert_eq!(odometer.erase(&[who(1)]).unwrap(), 0);
    let one = federation("one");
    odometer.record(&one, RoundNumber(1), &round(&[(1, 9), (2, 100)], 0)).unwrap();
    odometer.record(&one, RoundNumber(2), &round(&[(2, 16)], 0)).unwrap();
    odometer.record(&one, RoundNumber(3), &round(&[(3, 16), (1, 4)], 0)).unwrap();
    let before = odometer.person(who(2)).unwrap();
    assert_eq!(odometer.erase(&[who(1), who(3)]).unwrap(), 2);
    for gone in [1, 3] {
        assert_eq!(odometer.person(who(gone)).unwrap(), PersonReading::default());
    }
    assert_eq!(odometer.person(who(2)).unwrap(), before);
    assert_eq!(odometer.erase(&[who(1), who(3)]).unwrap(), 0);
}

#[test]
fn readings_go_on_under_new_names() {
    let dir = tempfile::tempdir().unwrap();
    let first = Pseudonymiser::new(&Key::from_bytes([10; 32]));
    let second = first.clone().then(&Key::from_bytes([11; 32]));
    let odometer = Odometer::new(dir.path(), &key());
    assert_eq!(
        (odometer.rename(&second).unwrap(), odometer.is_behind(&second).unwrap()),
        (0, false)
    );
    let people: Vec<String> = (0..40).map(|number| format!("customer {number}")).collect();
    let record = |odometer: &Odometer, names: &Pseudonymiser, number: u64| {
        let mut norms: Vec<_> = people
            .iter()
            .enumerate()
            .map(|(norm, raw)| (*names.person(raw).as_bytes(), norm as u128 * 9))
            .collect();
        norms.sort_unstable();
        let readings = RoundReadings { norms, ..round(&[], 0) };
        odometer.record(&federation("one"), RoundNumber(number), &readings).unwrap();
    };
    record(&odometer, &first, 1);
    let odometer = odometer.under(&first).unwrap();
    record(&odometer, &first, 2);
    let reading = |names: &Pseudonymiser, raw: &String| odometer.person(names.person(raw)).unwrap();
    let before: Vec<_> = people.iter().map(|raw| reading(&first, raw)).collect();
    assert!(odometer.is_behind(&second).unwrap());
    // Two rounds and the mark.
    assert_eq!(odometer.rename(&second).unwrap(), 3);
    assert_eq!(
        (odometer.rename(&second).unwrap(), odometer.is_behind(&second).unwrap()),
        (0, false)
    );
    for (raw, before) in people.iter().zip(before) {
        assert_eq!(reading(&second, raw), before);
        assert_eq!(reading(&first, raw), PersonReading::default());
    }
    assert_eq!(odometer.erase(&[second.person(&people[3])]).unwrap(), 2);
    // Another chain than the one that they are under is refused, also where the old one had no mark.
    let under = |names: &Pseudonymiser| Odometer::new(dir.path(), &key()).under(names);
    assert!(under(&second).is_ok());
    assert!(matches!(under(&first), Err(OdometerError::Names { source: NamesError::Strange, .. })));
    let third = second.clone().then(&Key::from_bytes([12; 32]));
    assert!(matches!(under(&third), Err(OdometerError::Names { source: NamesError::Behind, .. })));
}
