//! The rows that new files add to the SQL's result, where that is all they do to it.

use std::collections::BTreeSet;

use datafusion::{
    common::{
        JoinType,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    logical_expr::{EmptyRelation, Expr, LogicalPlan, Volatility},
};

/// The plan for the rows that the tables `grown`, which hold new rows only, add to those of `plan`
/// over the old ones; all other tables hold what they held. `None` where new rows change others
/// or where one cannot tell: sums, sorting, limits, windows, sub-queries over a grown table and
/// functions such as now().
pub(super) fn added_rows(plan: LogicalPlan, grown: &BTreeSet<&str>) -> Option<LogicalPlan> {
    if !is_linear(&plan, grown) {
        return None;
    }
    // Beside a part that grows, the others of a union have yielded their rows before.
    let without_old = plan.transform_down(|node| match node {
        LogicalPlan::Union(mut union) if union.inputs.iter().any(|input| grows(input, grown)) => {
            for input in union.inputs.iter_mut().filter(|input| !grows(input, grown)) {
                let schema = input.schema().clone();
                let nothing = EmptyRelation { produce_one_row: false, schema };
                *input = LogicalPlan::EmptyRelation(nothing).into();
            }
            Ok(Transformed::yes(LogicalPlan::Union(union)))
        }
        other => Ok(Transformed::no(other)),
    });
    without_old.ok().map(|plan| plan.data)
}

/// Whether every row that comes from the tables `grown` is made of one row of one of them.
fn is_linear(plan: &LogicalPlan, grown: &BTreeSet<&str>) -> bool {
    if !same_every_time(plan) {
        return false;
    }
    // Sub-queries stand in expressions, which the descent below does not enter.
    let (mut in_all, mut in_tree) = (0, 0);
    let count = |counter: &mut usize, plan: &LogicalPlan| {
        if scanned(plan).is_some_and(|name| grown.contains(name)) {
            *counter += 1;
        }
        Ok(TreeNodeRecursion::Continue)
    };
    let all = plan.apply_with_subqueries(|plan| count(&mut in_all, plan));
    let tree = plan.apply(|plan| count(&mut in_tree, plan));
    all.is_ok() && tree.is_ok() && in_all == in_tree && adds_rows(plan, grown)
}

fn adds_rows(plan: &LogicalPlan, grown: &BTreeSet<&str>) -> bool {
    if !grows(plan, grown) {
        return true;
    }
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Union(_) => plan.inputs().into_iter().all(|input| adds_rows(input, grown)),
        LogicalPlan::Join(join) => {
            let (left, right) = (grows(&join.left, grown), grows(&join.right, grown));
            let one_side = match join.join_type {
                JoinType::Inner => left != right,
                JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                    left && !right
                }
                JoinType::Right
                | JoinType::RightSemi
                | JoinType::RightAnti
                | JoinType::RightMark => right && !left,
                JoinType::Full => false,
            };
            one_side && adds_rows(&join.left, grown) && adds_rows(&join.right, grown)
        }
        _ => false,
    }
}

fn grows(plan: &LogicalPlan, grown: &BTreeSet<&str>) -> bool {
    plan.exists(|plan| Ok(scanned(plan).is_some_and(|name| grown.contains(name)))).unwrap_or(true)
}

fn scanned(plan: &LogicalPlan) -> Option<&str> {
    match plan {
        LogicalPlan::TableScan(scan) => Some(scan.table_name.table()),
        _ => None,
    }
}

/// Whether no function in the plan gives another answer another time.
fn same_every_time(plan: &LogicalPlan) -> bool {
    let mut same = true;
    let looked = plan.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expression| {
            expression.apply(|part| {
                if let Expr::ScalarFunction(call) = part
                    && call.func.signature().volatility != Volatility::Immutable
                {
                    same = false;
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    looked.is_ok() && same
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use datafusion::{
        arrow::datatypes::{DataType, Field, Schema},
        datasource::empty::EmptyTable,
        execution::context::SessionContext,
    };

    use super::*;

    #[test]
    fn only_what_adds_rows_is_linear() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let context = SessionContext::new();
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("at", DataType::Int64, true),
        ]));
        for name in ["sales", "visits", "products"] {
            context.register_table(name, Arc::new(EmptyTable::new(Arc::clone(&schema)))).unwrap();
        }
        let linear = |sql: &str, grown: &[&str]| {
            let frame = runtime.block_on(context.sql(sql)).unwrap();
            is_linear(frame.logical_plan(), &grown.iter().copied().collect())
        };
        for sql in [
            "SELECT id, upper(cast(at AS varchar)) FROM sales WHERE at > 3",
            "SELECT s.id FROM sales s JOIN products p ON p.id = s.id",
            "SELECT s.id FROM sales s LEFT JOIN products p ON p.id = s.id",
            "SELECT id FROM sales UNION ALL SELECT id FROM products",
            "SELECT id FROM sales WHERE id IN (SELECT id FROM products)",
            "WITH p AS (SELECT id, max(at) AS at FROM products GROUP BY id) \
             SELECT s.id FROM sales s JOIN p ON p.id = s.id",
        ] {
            assert!(linear(sql, &["sales"]), "{sql}");
        }
        for sql in [
            "SELECT id, count(*) FROM sales GROUP BY id",
            "SELECT DISTINCT id FROM sales",
            "SELECT id FROM sales ORDER BY id LIMIT 3",
            "SELECT id, row_number() OVER (ORDER BY at) FROM sales",
            "SELECT s.id FROM products p LEFT JOIN sales s ON p.id = s.id",
            "SELECT a.id FROM sales a JOIN sales b ON a.id = b.id",
            "SELECT id FROM products WHERE id NOT IN (SELECT id FROM sales)",
            "SELECT id FROM sales WHERE at > (SELECT max(at) FROM sales)",
            "SELECT id FROM sales WHERE cast(now() AS date) > '2026-01-01'",
        ] {
            assert!(!linear(sql, &["sales"]), "{sql}");
        }
        let both = "SELECT id FROM sales UNION ALL SELECT id FROM visits";
        assert!(linear(both, &["sales", "visits"]));
        let joined = "SELECT s.id FROM sales s JOIN visits v ON v.id = s.id";
        assert!(!linear(joined, &["sales", "visits"]) && linear(joined, &["visits"]));
    }
}
