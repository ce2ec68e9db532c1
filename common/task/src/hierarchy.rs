//! The public product hierarchy as models carry it: each item's category and department.
//!
//! It comes from the declared catalogue, so that it costs no privacy. It serves twice: items of
//! one category start with similar factors, and a person's taste for a category is a feature of
//! its own that no round has to learn.

use std::collections::BTreeMap;

use ndarray::Array2;

use crate::{Catalogue, Model, ModelError, Tensor, linalg::symmetric_eigen};

/// Category and department of every item, as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    category: Vec<u32>,
    department: Vec<u32>,
    categories: usize,
    departments: usize,
}

impl Hierarchy {
    /// The tensor of category numbers, shape `[items]`.
    pub const CATEGORY: &'static str = "item_category";

    /// The tensor of department numbers, shape `[items]`.
    pub const DEPARTMENT: &'static str = "item_department";

    /// The hierarchy of a catalogue. A category is a pair (department, category), because two
    /// departments may use one word; numbers follow the alphabetical order of the names.
    #[must_use]
    pub fn of(catalogue: &Catalogue) -> Self {
        let items = catalogue.items();
        let pairs = items.iter().map(|item| (item.department.as_str(), item.category.as_str()));
        let (category, categories) = numbered(pairs);
        let departments = items.iter().map(|item| (item.department.as_str(), ""));
        let (department, departments) = numbered(departments);
        Self { category, department, categories, departments }
    }

    /// The hierarchy that the model carries.
    ///
    /// # Errors
    /// [`ModelError`] when it carries none or its numbers are not below the number of items.
    pub fn from_model(model: &Model) -> Result<Self, ModelError> {
        let (category, categories) = read(model, Self::CATEGORY)?;
        let (department, departments) = read(model, Self::DEPARTMENT)?;
        Ok(Self { category, department, categories, departments })
    }

    /// Each item's category number.
    #[must_use]
    pub fn category(&self) -> &[u32] {
        &self.category
    }

    /// Each item's department number.
    #[must_use]
    pub fn department(&self) -> &[u32] {
        &self.department
    }

    /// Number of categories.
    #[must_use]
    pub fn categories(&self) -> usize {
        self.categories
    }

    /// Number of departments.
    #[must_use]
    pub fn departments(&self) -> usize {
        self.departments
    }

    /// At most `rank` directions, one value for each item, along which the items' places in the
    /// hierarchy differ most under `popularity` (probabilities): the principal components of
    /// [√(1-d)·one-hot(category) | √d·one-hot(department)], d = `department_share`.
    ///
    /// Agents and coordinator must find the same numbers, so only operations that IEEE 754
    /// defines to the last bit are used, in an order that does not depend on the processor: no
    /// matrix product, whose kernels differ between processors.
    pub(crate) fn principal_components(
        &self,
        popularity: &[f64],
        department_share: f64,
        rank: usize,
    ) -> Vec<Vec<f64>> {
        let width = self.categories + self.departments;
        let scales = [(1.0 - department_share).sqrt(), department_share.sqrt()];
        let places = |item: usize| {
            let category = self.category[item] as usize;
            let department = self.categories + self.department[item] as usize;
            [(category, scales[0]), (department, scales[1])]
        };
        let mut mean = vec![0.0; width];
        let mut covariance = Array2::<f64>::zeros((width, width));
        for (item, &share) in popularity.iter().enumerate() {
            for (a, x) in places(item) {
                mean[a] += share * x;
                for (b, y) in places(item) {
                    covariance[[a, b]] += share * x * y;
                }
            }
        }
        for a in 0..width {
            for b in 0..width {
                covariance[[a, b]] -= mean[a] * mean[b];
            }
        }
        let (values, vectors) = symmetric_eigen(covariance);
        let least = 1e-9 * values[0].max(0.0);
        let kept = values.iter().take(rank).take_while(|value| **value > least);
        (0..kept.count())
            .map(|column| {
                let of = |place: usize| vectors[[place, column]];
                let middle: f64 = (0..width).map(|place| mean[place] * of(place)).sum();
                (0..popularity.len())
                    .map(|item| {
                        let own: f64 = places(item).iter().map(|&(a, x)| x * of(a)).sum();
                        own - middle
                    })
                    .collect()
            })
            .collect()
    }
}

impl Model {
    /// The model that a federation over `catalogue` starts from: empty but for the public product
    /// hierarchy, which later tasks and scorers read.
    ///
    /// # Errors
    /// [`ModelError::Limit`] when the catalogue is larger than a model may be.
    pub fn for_catalogue(catalogue: &Catalogue) -> Result<Self, ModelError> {
        let hierarchy = Hierarchy::of(catalogue);
        let tensor = |numbers: &[u32]| {
            let values: Vec<f64> = numbers.iter().map(|&number| f64::from(number)).collect();
            Tensor::vector(&values)
        };
        let items = u32::try_from(catalogue.len()).unwrap_or(u32::MAX);
        Self::initial(items, catalogue.digest())?
            .with_tensor("initial", Hierarchy::CATEGORY, tensor(&hierarchy.category)?)?
            .with_tensor("initial", Hierarchy::DEPARTMENT, tensor(&hierarchy.department)?)
    }
}

fn numbered<'a>(names: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> (Vec<u32>, usize) {
    let mut numbers: BTreeMap<_, u32> = names.clone().map(|name| (name, 0)).collect();
    for (number, place) in numbers.values_mut().enumerate() {
        *place = number as u32;
    }
    let of_items = names.map(|name| numbers[&name]).collect();
    (of_items, numbers.len())
}

fn read(model: &Model, name: &'static str) -> Result<(Vec<u32>, usize), ModelError> {
    let tensor = model.require(name, &[model.items()])?;
    let whole =
        |value: &f32| value.fract() == 0.0 && *value >= 0.0 && *value < model.items() as f32;
    if !tensor.values().iter().all(whole) {
        return Err(ModelError::Content {
            tensor: name,
            expected: "whole numbers below the number of items",
        });
    }
    let numbers: Vec<u32> = tensor.values().iter().map(|&value| value as u32).collect();
    let count = numbers.iter().max().map_or(0, |most| *most as usize + 1);
    Ok((numbers, count))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_word_in_two_departments_is_two_categories() {
        let text = "index,item_id,department,category\n\
            0,PEARS,PRODUCE,FRUIT\n1,PEACH TIN,GROCERY,FRUIT\n2,APPLES,PRODUCE,FRUIT\n";
        let catalogue = Catalogue::read_csv(text.as_bytes()).unwrap();
        let hierarchy = Hierarchy::of(&catalogue);
        assert_eq!(hierarchy.category(), [1, 0, 1]);
        assert_eq!(hierarchy.department(), [1, 0, 1]);
        assert_eq!((hierarchy.categories(), hierarchy.departments()), (2, 2));
        let model = Model::for_catalogue(&catalogue).unwrap();
        assert_eq!(Hierarchy::from_model(&model).unwrap(), hierarchy);
        assert_eq!(*model.catalogue(), catalogue.digest());
    }

    #[test]
    fn foreign_numbers_are_refused() {
        let catalogue = Catalogue::read_csv(b"index,item_id,department,category\n0,A,B,C\n");
        let model = Model::for_catalogue(&catalogue.unwrap()).unwrap();
        for bad in [1.0, -1.0, 0.5] {
            let broken = model
                .clone()
                .with_tensor("t", Hierarchy::CATEGORY, Tensor::vector(&[bad]).unwrap())
                .unwrap();
            assert!(Hierarchy::from_model(&broken).is_err(), "{bad}");
        }
        let bare = Model::initial(1, *model.catalogue()).unwrap();
        assert!(matches!(Hierarchy::from_model(&bare), Err(ModelError::Missing { .. })));
    }
}
