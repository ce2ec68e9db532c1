//! What the examples share: a federation's model of persons who lie in one place, and arguments.

use std::{error::Error, path::Path, process::ExitCode, str::FromStr};

use chorale_people::features::Contributors;
use chorale_task::{
    Catalogue, Cooccurrence, Gram, Model, People as _, Popularity, Tensor, Weighting,
};

/// What a matrix covers where nothing is said.
pub(crate) const COVERED_MAX: usize = 2400;

/// How a process ends whose work came to `result`: what went wrong is printed for people.
#[allow(clippy::print_stderr)]
pub(crate) fn end(result: Result<(), Box<dyn Error>>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("{error}");
    ExitCode::from(2)
}

/// The catalogue in `folder`.
pub(crate) fn catalogue(folder: &Path) -> Result<Catalogue, Box<dyn Error>> {
    let path = folder.join("catalogue.csv");
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Catalogue::read_csv(&bytes)?)
}

/// The model that a federation of `people` would have without noise: popularity, and the item-item
/// matrix over the `covered_max` items that most of them bought.
pub(crate) fn model(
    catalogue: &Catalogue,
    people: &mut Contributors,
    covered_max: usize,
    weighting: Weighting,
) -> Result<Model, Box<dyn Error>> {
    let items = catalogue.len();
    let bought_by = bought_by(people, items);
    let covered = covered(&bought_by, covered_max);
    people.rewind();
    let gram = Gram::pooled(people, items as u32, &covered, weighting);
    let side = covered.len();
    let places = (0..side).flat_map(|row| (row..side).map(move |column| [row, column]));
    let packed: Vec<f64> = places.map(|place| gram.matrix()[place]).collect();
    let covered: Vec<f64> = covered.into_iter().map(f64::from).collect();
    let mut model = popular(catalogue, &bought_by)?;
    for (name, values) in [
        (Cooccurrence::TENSOR, &packed[..]),
        (Cooccurrence::COVERED, &covered),
        (Cooccurrence::NOISE, &[0.0]),
    ] {
        model = model.with_tensor("pooled", name, Tensor::vector(values)?)?;
    }
    Ok(model.with_note(Cooccurrence::WEIGHTING, weighting.name())?)
}

/// The items that most bought, at most `covered_max` of them, ascending.
pub(crate) fn covered(bought_by: &[f64], covered_max: usize) -> Vec<u32> {
    let mut covered: Vec<u32> = (0..bought_by.len() as u32).collect();
    covered.sort_by(|a, b| bought_by[*b as usize].total_cmp(&bought_by[*a as usize]));
    covered.truncate(covered_max);
    covered.sort_unstable();
    covered
}

/// The model that holds nothing but how many bought each item.
pub(crate) fn popular(catalogue: &Catalogue, bought_by: &[f64]) -> Result<Model, Box<dyn Error>> {
    let total: f64 = bought_by.iter().sum();
    let shares: Vec<f64> = bought_by.iter().map(|count| (count + 1.0) / total.max(1.0)).collect();
    let popularity = Tensor::vector(&shares)?;
    Ok(Model::for_catalogue(catalogue)?.with_tensor("pooled", Popularity::TENSOR, popularity)?)
}

/// How many of `people` bought each item.
pub(crate) fn bought_by(people: &mut Contributors, items: usize) -> Vec<f64> {
    people.rewind();
    let mut bought_by = vec![0.0; items];
    while let Some(person) = people.next_person() {
        person.items.iter().for_each(|(item, _)| bought_by[*item as usize] += 1.0);
    }
    bought_by
}

/// Arguments: values in order, and `--name VALUE`.
pub(crate) struct Arguments {
    usage: &'static str,
    values: std::vec::IntoIter<String>,
    options: Vec<(String, String)>,
}

impl Arguments {
    /// Of this process; `names` are the options that there are. Prints `usage` and ends where
    /// `--help` is asked for.
    #[allow(clippy::print_stdout)]
    pub(crate) fn read(usage: &'static str, names: &[&str]) -> Result<Self, Box<dyn Error>> {
        let (mut values, mut options) = (Vec::new(), Vec::new());
        let mut given = std::env::args().skip(1);
        while let Some(word) = given.next() {
            if word == "--help" || word == "-h" {
                println!("{usage}");
                std::process::exit(0);
            }
            match word.strip_prefix("--") {
                None => values.push(word),
                Some(name) if names.contains(&name) => {
                    let value = given.next().ok_or(format!("{word} needs a value\n{usage}"))?;
                    options.push((name.to_owned(), value));
                }
                Some(_) => return Err(format!("there is no option {word}\n{usage}").into()),
            }
        }
        Ok(Self { usage, values: values.into_iter(), options })
    }

    /// The next value, which is called `name`.
    pub(crate) fn value<T: FromStr>(&mut self, name: &str) -> Result<T, Box<dyn Error>> {
        let word = self.values.next().ok_or(format!("{name} is missing\n{}", self.usage))?;
        word.parse().map_err(|_| format!("{name} cannot be {word:?}\n{}", self.usage).into())
    }

    /// The option `name`, if it was given.
    pub(crate) fn option<T: FromStr>(&self, name: &str) -> Result<Option<T>, Box<dyn Error>> {
        let Some((_, word)) = self.options.iter().rfind(|(given, _)| given == name) else {
            return Ok(None);
        };
        let wrong = || format!("--{name} cannot be {word:?}\n{}", self.usage);
        Ok(Some(word.parse().map_err(|_| wrong())?))
    }

    /// The option `--weighting`, else `otherwise`.
    pub(crate) fn weighting(&self, otherwise: Weighting) -> Result<Weighting, Box<dyn Error>> {
        let Some(word) = self.option::<String>("weighting")? else { return Ok(otherwise) };
        Weighting::parse(&word)
            .ok_or_else(|| format!("--weighting cannot be {word:?}\n{}", self.usage).into())
    }
}
