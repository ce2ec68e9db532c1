//! Synthetic shops: the same purchases at every run, with names that cannot be missed in a
//! recording.

use std::fmt::Write as _;

/// One shop with customers at home there.
#[derive(Clone, Copy, Debug)]
pub struct Shop {
    /// Its number, 0 to 99.
    pub number: u32,
    /// Customers, at most 1000.
    pub customers: u32,
    /// Items of the catalogue.
    pub items: u32,
}

impl Shop {
    /// Its name, which is also its agent's.
    #[must_use]
    pub fn name(&self) -> String {
        format!("store-{:02}", self.number)
    }

    /// A customer's raw id.
    #[must_use]
    pub fn customer(&self, customer: u32) -> String {
        format!("HOUSEHOLD-88{:02}{customer:03}", self.number)
    }

    /// What a customer buys: catalogue indices, ascending, and in how many baskets.
    #[must_use]
    pub fn history(&self, customer: u32) -> Vec<(u32, u32)> {
        // SplitMix64: spread, and the same everywhere.
        let mixed = |word: u64| {
            let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ (word >> 31)
        };
        (0..self.items)
            .filter_map(|item| {
                let seed =
                    u64::from(self.number) << 40 | u64::from(customer) << 20 | u64::from(item);
                let word = mixed(seed.wrapping_add(0x9e37_79b9_7f4a_7c15));
                // Low indices are popular; nobody buys nothing.
                let likely = word % u64::from(self.items) >= u64::from(item);
                let bought = (likely && word >> 32 & 1 == 0) || item == customer % self.items;
                bought.then_some((item, 1 + (word >> 40) as u32 % 3))
            })
            .collect()
    }

    /// Its receipts as CSV.
    #[must_use]
    pub fn receipts(&self) -> String {
        let mut csv = "when,customer,home,item,quantity,price,receipt,line\n".to_owned();
        let mut line = 0;
        for customer in 0..self.customers {
            for (item, baskets) in self.history(customer) {
                for basket in 0..baskets {
                    line += 1;
                    let (who, home, item) = (self.customer(customer), self.number, item_name(item));
                    let day = 1 + basket * 7;
                    writeln!(
                        csv,
                        "2026-01-{day:02} 10:30:00,{who},{home},{item},1,2.50,{who}-{day},{line}"
                    )
                    .unwrap();
                }
            }
        }
        csv
    }
}

/// The name of an item.
#[must_use]
pub fn item_name(item: u32) -> String {
    format!("SMOKED EEL {item:03}")
}

/// A catalogue of `items` items.
#[must_use]
pub fn catalogue(items: u32) -> String {
    let mut csv = "index,item_id,department,category\n".to_owned();
    for item in 0..items {
        let (department, category) = (item % 2, item % 4);
        writeln!(csv, "{item},{},DEPARTMENT {department},CATEGORY {category}", item_name(item))
            .unwrap();
    }
    csv
}

/// How the columns of [`Shop::receipts`] become events.
pub const EVENT_SQL: &str = "SELECT \"when\" AS event_time, customer AS person, \
    home AS home_store, 'purchase' AS kind, item, quantity, price AS amount, receipt AS basket, \
    line AS event_id FROM receipts";
