//! `/v1/items`: what the store says about its items.

use std::sync::Arc;

use axum::extract::State;
use chorale_people::live::ItemRecord;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::{App, checked},
    keeper::{ItemEdit, Work},
    problem::{Failures, Kind, Problem},
    request::{Answer, At, Body, Context},
};

/// One item.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ItemIn {
    /// The item's id, as events name it.
    #[schema(min_length = 1, max_length = 256, example = "OOLONG")]
    item: String,
    /// For people, and for matching a search's words.
    #[schema(max_length = 256)]
    title: Option<String>,
    /// Department. For items of the federation's catalogue, the catalogue's own stands.
    #[schema(max_length = 256)]
    department: Option<String>,
    /// Category. For items of the federation's catalogue, the catalogue's own stands.
    #[schema(max_length = 256)]
    category: Option<String>,
    /// Words to filter by, at most 32.
    labels: Option<Vec<String>>,
    /// Price in the store's currency, 0 to 1e9.
    price: Option<f64>,
    /// Pieces in stock; 0 keeps the item out of answers.
    stock: Option<u64>,
    /// Keeps the item out of every answer.
    hidden: Option<bool>,
}

/// What changes about an item; what is absent stays as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    /// For people, and for matching a search's words.
    #[schema(max_length = 256)]
    title: Option<String>,
    /// Department. For items of the federation's catalogue, the catalogue's own stands.
    #[schema(max_length = 256)]
    department: Option<String>,
    /// Category. For items of the federation's catalogue, the catalogue's own stands.
    #[schema(max_length = 256)]
    category: Option<String>,
    /// Words to filter by, at most 32.
    labels: Option<Vec<String>>,
    /// Price in the store's currency, 0 to 1e9.
    price: Option<f64>,
    /// Pieces in stock; 0 keeps the item out of answers.
    stock: Option<u64>,
    /// Keeps the item out of every answer.
    hidden: Option<bool>,
}

/// How many items were changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Changed {
    /// Items.
    changed: usize,
}

/// Most items in one request.
const ITEMS_MAX: usize = 1000;

/// Most labels of an item.
const LABELS_MAX: usize = 32;

/// Add or replace items
#[utoipa::path(
    post, path = "/v1/items", tag = "items",
    request_body(content = Vec<ItemIn>, example = json!([{
        "item": "OOLONG", "title": "Oolong tea, 100 g", "category": "TEA", "labels": ["organic"],
        "price": 6.9, "stock": 12
    }])),
    responses((status = 200, body = Answer<Changed>), Failures)
)]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    context: Context,
    Body(items): Body<Vec<ItemIn>>,
) -> Result<Answer<Changed>, Problem> {
    if items.is_empty() || items.len() > ITEMS_MAX {
        return Err(Problem::bad(format!("send 1 to {ITEMS_MAX} items")));
    }
    let changed = items.len();
    let mut edits = Vec::with_capacity(changed);
    for item in items {
        let (item, says) = item.parts();
        checked("item", &item)?;
        says.check()?;
        let edit: ItemEdit = Box::new(move |_| says.over(ItemRecord::default()));
        edits.push((item, edit));
    }
    app.keeper.work(Work::Items(edits)).await?;
    Ok(context.answer(&app.world(), "items", None, Changed { changed }))
}

/// Change what is known about an item
#[utoipa::path(
    patch, path = "/v1/items/{item}", tag = "items",
    params(("item" = String, Path, description = "The item's id")),
    request_body(content = Said, example = json!({"stock": 0})),
    responses((status = 200, body = Answer<Changed>), Failures)
)]
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    context: Context,
    At(item): At<String>,
    Body(says): Body<Said>,
) -> Result<Answer<Changed>, Problem> {
    says.check()?;
    edit(&app, item, Box::new(move |before| says.over(before.unwrap_or_default()))).await?;
    Ok(context.answer(&app.world(), "items", None, Changed { changed: 1 }))
}

/// Take an item out
///
/// The item is hidden and what the store said about it is dropped; events about it stay. A later
/// POST brings it back.
#[utoipa::path(
    delete, path = "/v1/items/{item}", tag = "items",
    params(("item" = String, Path, description = "The item's id")),
    responses((status = 200, body = Answer<Changed>), Failures)
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    context: Context,
    At(item): At<String>,
) -> Result<Answer<Changed>, Problem> {
    let gone = |before: Option<ItemRecord>| {
        let before = before.unwrap_or_default();
        let (department, category) = (before.department, before.category);
        ItemRecord { hidden: true, department, category, ..ItemRecord::default() }
    };
    edit(&app, item, Box::new(gone)).await?;
    Ok(context.answer(&app.world(), "items", None, Changed { changed: 1 }))
}

async fn edit(app: &App, item: String, edit: ItemEdit) -> Result<(), Problem> {
    if app.world().shelf.index_of(&item).is_none() {
        return Err(Problem::new(Kind::UnknownItem, "POST /v1/items adds items"));
    }
    app.keeper.work(Work::Items(vec![(item, edit)])).await?;
    Ok(())
}

impl ItemIn {
    fn parts(self) -> (String, Said) {
        let Self { item, title, department, category, labels, price, stock, hidden } = self;
        (item, Said { title, department, category, labels, price, stock, hidden })
    }
}

impl Said {
    fn check(&self) -> Result<(), Problem> {
        let texts = [
            ("title", &self.title),
            ("department", &self.department),
            ("category", &self.category),
        ];
        for (what, text) in texts {
            if let Some(text) = text {
                checked(what, text)?;
            }
        }
        let labels = self.labels.as_deref().unwrap_or_default();
        if labels.len() > LABELS_MAX {
            return Err(Problem::bad(format!("an item has at most {LABELS_MAX} labels")));
        }
        for label in labels {
            checked("labels", label)?;
        }
        if self.price.is_some_and(|price| !(0.0..=1e9).contains(&price)) {
            return Err(Problem::bad("'price' must be 0 to 1e9"));
        }
        Ok(())
    }

    fn over(self, before: ItemRecord) -> ItemRecord {
        ItemRecord {
            item: before.item,
            position: before.position,
            title: self.title.or(before.title),
            department: self.department.or(before.department),
            category: self.category.or(before.category),
            labels: self.labels.unwrap_or(before.labels),
            price: self.price.or(before.price),
            stock: self.stock.or(before.stock),
            hidden: self.hidden.unwrap_or(before.hidden),
        }
    }
}
