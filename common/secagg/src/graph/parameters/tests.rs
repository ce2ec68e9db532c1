#![allow(clippy::unwrap_used)]
use std::{collections::BTreeMap, path::Path};

use chorale_wire::Digest;
use num_bigint::BigUint;

use super::{super::permutation, *};

/// Agents, corrupt ones, drop-outs; k, smallest and largest threshold, window survivors.
type Row = (usize, usize, usize, [usize; 4]);

/// The rows of the reference table, with D = ⌊δn⌋.
#[rustfmt::skip]
const REFERENCE: [Row; 35] = [
    (128, 7, 6, [28, 8, 22, 7]),
    (128, 13, 12, [52, 14, 40, 13]),
    (128, 13, 25, [74, 14, 49, 13]),
    (128, 26, 25, [104, 27, 79, 26]),
    (128, 43, 12, [98, 44, 86, 36]),
    (256, 13, 12, [52, 14, 40, 13]),
    (256, 26, 25, [84, 27, 59, 21]),
    (256, 26, 51, [116, 27, 69, 23]),
    (256, 52, 51, [164, 53, 113, 41]),
    (256, 85, 25, [160, 81, 135, 54]),
    (512, 26, 25, [64, 21, 45, 16]),
    (512, 52, 51, [102, 36, 68, 25]),
    (512, 52, 102, [146, 42, 83, 30]),
    (512, 103, 102, [210, 79, 133, 52]),
    (512, 169, 51, [212, 113, 166, 70]),
    (1000, 50, 50, [70, 24, 47, 17]),
    (1000, 100, 100, [114, 41, 74, 28]),
    (1000, 100, 200, [164, 50, 91, 34]),
    (1000, 200, 200, [246, 96, 151, 61]),
    (1000, 330, 100, [246, 135, 186, 81]),
    (2000, 100, 100, [78, 27, 53, 19]),
    (2000, 200, 200, [122, 45, 78, 30]),
    (2000, 200, 400, [178, 55, 98, 37]),
    (2000, 400, 400, [270, 108, 163, 67]),
    (2000, 660, 200, [274, 152, 205, 90]),
    (5000, 250, 250, [82, 28, 55, 20]),
    (5000, 500, 500, [130, 48, 83, 32]),
    (5000, 500, 1000, [188, 60, 102, 39]),
    (5000, 1000, 1000, [292, 119, 175, 73]),
    (5000, 1650, 500, [296, 165, 219, 97]),
    (10000, 500, 500, [82, 29, 54, 20]),
    (10000, 1000, 1000, [134, 50, 85, 33]),
    (10000, 1000, 2000, [196, 62, 106, 41]),
    (10000, 2000, 2000, [304, 124, 182, 76]),
    (10000, 3300, 1000, [306, 172, 226, 100]),
];

fn figures(ring: &RingParameters) -> [usize; 4] {
    [ring.neighbours(), ring.threshold_min(), ring.threshold_max(), ring.window_survivors()]
}

#[test]
fn the_reference_rows_are_reproduced() {
    for (agents, corrupt, dropouts, expected) in REFERENCE {
        let ring = RingParameters::find(agents, corrupt, dropouts).unwrap();
        assert_eq!(figures(&ring), expected, "{agents} {corrupt} {dropouts}");
        assert_eq!(ring.window() * 2, ring.neighbours());
        let threshold = ring.threshold();
        assert!((ring.threshold_min()..=ring.threshold_max()).contains(&threshold));
        // So many neighbours can be spared from either end.
        assert!(threshold - ring.threshold_min() <= ring.threshold_max() - threshold);
    }
}

/// The file itself, where it is at hand.
#[test]
#[expect(clippy::print_stderr, reason = "says that it skips")]
fn the_reference_file_agrees() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference/secagg_graph.csv");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: {} is not there", path.display());
        return;
    };
    let mut rows = 0;
    for (line, expected) in text.lines().skip(1).zip(REFERENCE) {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |cell: usize| cells[cell].parse::<usize>().unwrap();
        // Fractions have at most two digits behind the point; in hundredths they are whole.
        let hundredths = |cell: usize| (cells[cell].parse::<f64>().unwrap() * 100.0).round();
        let agents = number(0);
        assert_eq!((agents * hundredths(1) as usize).div_ceil(100).max(1), number(2));
        let dropouts = agents * hundredths(3) as usize / 100;
        let figures = [number(4), number(5), number(6), number(7)];
        assert_eq!((agents, number(2), dropouts, figures), expected);
        rows += 1;
    }
    assert_eq!(rows, REFERENCE.len());
}

#[test]
fn fewer_neighbours_would_not_do() {
    for (agents, corrupt, dropouts, [neighbours, ..]) in REFERENCE.into_iter().step_by(5) {
        let bounds = |side| {
            LEVELS.bounds(agents, corrupt, dropouts, side).is_some()
                && LEVELS.bounds(agents, corrupt, dropouts, 2 * side).is_some()
        };
        assert!((1..neighbours / 2).all(|side| !bounds(side)));
        assert!(bounds(neighbours / 2));
    }
}

/// Counts, subset by subset, how many of `marked` first elements are drawn.
fn ways_by_enumeration(population: usize, marked: usize, drawn: usize) -> BTreeMap<usize, u64> {
    let mut ways = BTreeMap::new();
    for subset in 0_u32..1 << population {
        if subset.count_ones() as usize == drawn {
            let count = (subset & ((1 << marked) - 1)).count_ones() as usize;
            *ways.entry(count).or_default() += 1;
        }
    }
    ways
}

#[test]
fn tails_are_exact_in_populations_small_enough_to_enumerate() {
    for population in 2..=9 {
        for marked in 0..=population {
            for drawn in 0..=population {
                let ways = ways_by_enumeration(population, marked, drawn);
                let total: u64 = ways.values().sum();
                assert_eq!(BigUint::from(total), choose(population, drawn));
                for bits in 0..12 {
                    let tail = |from: usize| ways.range(from..).map(|(_, ways)| ways).sum::<u64>();
                    let fits =
                        |count: usize| (population as u64 * tail(count + 1)) << bits <= total;
                    let expected = (0..).find(|count| fits(*count)).unwrap();
                    let found = most_marked(population, marked, drawn, bits);
                    assert_eq!(found, expected, "{population} {marked} {drawn} {bits}");
                }
            }
        }
    }
}

#[test]
fn binomials_by_hand() {
    let choose = |count, picks| choose(count, picks).to_string();
    assert_eq!(choose(5, 2), "10");
    assert_eq!(choose(5, 6), "0");
    assert_eq!(choose(0, 0), "1");
    assert_eq!(choose(100, 50), "100891344545564193334812497256");
}

/// One random draw of a ring, of who is corrupt and of who drops out, by place.
struct Scene {
    corrupt: Vec<bool>,
    there: Vec<bool>,
}

impl Scene {
    fn draw(number: u64, agents: usize, corrupt: usize, dropouts: usize) -> Self {
        let seed = |context| Digest::of(context, &[&number.to_be_bytes()]);
        // The first slots are corrupt, fixed before the ring; who drops out is drawn apart.
        let ring = permutation::ring(&seed("ring"), agents as u16);
        let gone = &permutation::ring(&seed("gone"), agents as u16)[..dropouts];
        Self {
            corrupt: ring.iter().map(|slot| slot.index() < corrupt).collect(),
            there: ring.iter().map(|slot| !gone.contains(slot)).collect(),
        }
    }
}

/// Most and least marked places in any window of the ring.
fn windows(marked: &[bool], side: usize) -> (usize, usize) {
    range_of(marked.len(), |place| count(marked, place, side))
}

/// Most and least marked neighbours of any agent.
fn neighbourhoods(marked: &[bool], side: usize) -> (usize, usize) {
    let agents = marked.len();
    range_of(agents, |place| {
        count(marked, place + 1, side) + count(marked, place + agents - side, side)
    })
}

fn count(marked: &[bool], start: usize, places: usize) -> usize {
    (start..start + places).filter(|place| marked[place % marked.len()]).count()
}

fn range_of(agents: usize, value: impl Fn(usize) -> usize) -> (usize, usize) {
    (0..agents)
        .map(value)
        .fold((0, usize::MAX), |(most, least), value| (most.max(value), least.min(value)))
}

/// The bounds hold, and none could be one tighter, in many random rings with failure
/// probabilities large enough to be seen.
#[test]
fn simulated_rings_fail_as_seldom_as_promised_and_not_much_more_seldom() {
    const RINGS: u64 = 6_000;
    for (agents, corrupt, dropouts, bits) in [(60, 6, 9, 3), (90, 9, 18, 5), (140, 28, 14, 4)] {
        let levels = Levels { privacy_bits: bits, correctness_bits: bits };
        let ring = RingParameters::find_at(&levels, agents, corrupt, dropouts).unwrap();
        let side = ring.window();
        let (_, window_least) = levels.bounds(agents, corrupt, dropouts, side).unwrap();
        let scenes: Vec<Scene> =
            (0..RINGS).map(|number| Scene::draw(number, agents, corrupt, dropouts)).collect();
        let rate = |fails: &dyn Fn(&Scene) -> bool| {
            scenes.iter().filter(|scene| fails(scene)).count() as f64 / RINGS as f64
        };
        let promised = 0.5_f64.powi(bits as i32);
        let check = |what: &str, at_bound: f64, one_tighter: f64| {
            let story = format!("{what}, {agents} agents: {at_bound} {one_tighter} {promised}");
            // Four standard deviations of the observation.
            let slack = 4.0 * (promised / RINGS as f64).sqrt();
            assert!(at_bound <= promised + slack, "more often than promised: {story}");
            // The promise adds up over all places, which overlap: at most this far off.
            assert!(one_tighter > promised / 12.0, "absurdly safe: {story}");
        };

        let most = ring.window_survivors();
        check(
            "corrupt in a window",
            rate(&|scene| windows(&scene.corrupt, side).0 > most),
            rate(&|scene| windows(&scene.corrupt, side).0 > most - 1),
        );
        let most = ring.threshold_min() - 1;
        check(
            "corrupt neighbours",
            rate(&|scene| neighbourhoods(&scene.corrupt, side).0 > most),
            rate(&|scene| neighbourhoods(&scene.corrupt, side).0 > most - 1),
        );
        check(
            "survivors in a window",
            rate(&|scene| windows(&scene.there, side).1 < window_least),
            rate(&|scene| windows(&scene.there, side).1 < window_least + 1),
        );
        let least = ring.threshold_max();
        check(
            "surviving neighbours",
            rate(&|scene| neighbourhoods(&scene.there, side).1 < least),
            rate(&|scene| neighbourhoods(&scene.there, side).1 < least + 1),
        );
    }
}

/// What all the counting is for: whenever a survivor set keeps the window rule and the corrupt
/// agents are as spread as promised, the honest survivors are joined by masks of their own.
#[test]
fn the_window_rule_keeps_honest_survivors_joined() {
    let levels = Levels { privacy_bits: 3, correctness_bits: 3 };
    let (agents, corrupt, dropouts) = (60, 6, 9);
    let ring = RingParameters::find_at(&levels, agents, corrupt, dropouts).unwrap();
    let side = ring.window();
    let (mut kept, mut broken_and_cut) = (0, 0);
    for number in 0..3_000 {
        let mut scene = Scene::draw(number, agents, corrupt, dropouts);
        // A coordinator that has seen the ring lets whole stretches drop out, some of them just
        // as long as the rule allows.
        let stretch = (number as usize / 7) % (2 * side);
        for start in [0, agents / 2] {
            (start..start + stretch).for_each(|place| scene.there[place] = false);
        }
        let honest = |place: usize| scene.there[place] && !scene.corrupt[place];
        let rule = windows(&scene.there, side).1 > ring.window_survivors();
        let spread = windows(&scene.corrupt, side).0 <= ring.window_survivors();
        let joined = is_joined(agents, side, honest);
        if rule && spread {
            assert!(joined, "{number}");
            kept += 1;
        } else if !joined {
            broken_and_cut += 1;
        }
    }
    // Both happened, so that the test means something.
    assert!(kept > 500 && broken_and_cut > 100, "{kept} {broken_and_cut}");
}

/// Whether all members are reachable from each other over neighbours.
fn is_joined(agents: usize, side: usize, member: impl Fn(usize) -> bool) -> bool {
    let members: Vec<usize> = (0..agents).filter(|place| member(*place)).collect();
    let mut reached = vec![false; agents];
    let mut open: Vec<usize> = members.first().copied().into_iter().collect();
    while let Some(place) = open.pop() {
        if !std::mem::replace(&mut reached[place], true) {
            open.extend(
                (1..=side)
                    .flat_map(|step| [(place + step) % agents, (place + agents - step) % agents])
                    .filter(|other| member(*other)),
            );
        }
    }
    members.iter().all(|place| reached[*place])
}

/// Every agent runs the search at every roster. The bound is generous: machines differ.
#[test]
fn the_largest_search_is_fast() {
    let start = std::time::Instant::now();
    RingParameters::find(10_000, 2_000, 2_000).unwrap();
    let largest_ms = start.elapsed().as_millis();
    assert!(largest_ms < 1_000, "{largest_ms} ms");
}
