//! Which items an answer may name, beyond what is hidden or out of stock.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::shelf::Line;

/// All conditions must hold; an absent one always does.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// One of these departments.
    #[serde(default)]
    pub(crate) departments: Vec<String>,
    /// One of these categories.
    #[serde(default)]
    pub(crate) categories: Vec<String>,
    /// At least one of these labels.
    #[serde(default)]
    pub(crate) labels_any: Vec<String>,
    /// All of these labels.
    #[serde(default)]
    pub(crate) labels_all: Vec<String>,
    /// None of these labels.
    #[serde(default)]
    pub(crate) labels_none: Vec<String>,
    /// A known price, at least this.
    pub(crate) price_min: Option<f64>,
    /// A known price, at most this.
    pub(crate) price_max: Option<f64>,
}

impl Filter {
    /// Whether an answer may name the item.
    pub(crate) fn admits(&self, line: &Line) -> bool {
        let one_of = |wanted: &[String], word: &str| {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted == word)
        };
        let has = |label: &String| line.labels().contains(label);
        let costs = |fits: &dyn Fn(f64) -> bool| line.price().is_some_and(fits);
        line.is_offered()
            && one_of(&self.departments, &line.department)
            && one_of(&self.categories, &line.category)
            && (self.labels_any.is_empty() || self.labels_any.iter().any(has))
            && self.labels_all.iter().all(has)
            && !self.labels_none.iter().any(has)
            && self.price_min.is_none_or(|min| costs(&|price| price >= min))
            && self.price_max.is_none_or(|max| costs(&|price| price <= max))
    }
}

#[cfg(test)]
mod tests {
    use chorale_people::live::ItemRecord;

    use super::*;

    fn line(price: Option<f64>, labels: &[&str]) -> Line {
        Line {
            item: "OOLONG".into(),
            department: "GROCERY".into(),
            category: "TEA".into(),
            says: Some(ItemRecord {
                price,
                labels: labels.iter().map(|label| (*label).to_owned()).collect(),
                ..ItemRecord::default()
            }),
        }
    }

    #[test]
    fn every_condition_counts() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let tea = line(Some(6.9), &["organic", "loose"]);
        let any = Filter::default();
        assert!(any.admits(&tea));
        let cases = [
            (Filter { categories: words(&["TEA", "COFFEE"]), ..any.clone() }, true),
            (Filter { departments: words(&["HOME"]), ..any.clone() }, false),
            (Filter { labels_all: words(&["organic", "loose"]), ..any.clone() }, true),
            (Filter { labels_all: words(&["organic", "fair"]), ..any.clone() }, false),
            (Filter { labels_any: words(&["fair", "loose"]), ..any.clone() }, true),
            (Filter { labels_none: words(&["loose"]), ..any.clone() }, false),
            (Filter { price_min: Some(5.0), price_max: Some(7.0), ..any.clone() }, true),
            (Filter { price_max: Some(6.0), ..any.clone() }, false),
        ];
        for (filter, admits) in cases {
            assert_eq!(filter.admits(&tea), admits, "{filter:?}");
        }
        let priceless = line(None, &[]);
        assert!(!Filter { price_max: Some(6.0), ..any.clone() }.admits(&priceless));
        let mut hidden = line(None, &[]);
        if let Some(says) = &mut hidden.says {
            says.hidden = true;
        }
        assert!(!any.admits(&hidden));
    }
}
