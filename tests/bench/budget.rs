//! Budgets: what a figure may be at most (`--check` fails over one). They are the design's, for a board;
//! on a shared machine the slow ones are met by the median.

use std::cell::RefCell;

/// Figures over their budget.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    over: RefCell<Vec<String>>,
}

impl Budgets {
    /// Notes a figure; says whether it is within its budget.
    pub(crate) fn check(&self, what: &str, figure: f64, limit: f64, unit: &str) {
        let held = figure <= limit;
        let mark = if held { "within" } else { "OVER" };
        println!("    {mark} its budget: {what} {figure:.1} {unit}, at most {limit:.0} {unit}");
        if !held {
            self.over
                .borrow_mut()
                .push(format!("{what}: {figure:.1} {unit} over {limit:.0} {unit}"));
        }
    }

    /// Everything over its budget.
    pub(crate) fn over(self) -> Vec<String> {
        self.over.into_inner()
    }
}
