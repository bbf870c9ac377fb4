//! A failing run made shorter: fewer steps of faults, mischief and people, fewer nodes, reliable links,
//! as long as the same invariant does not hold.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::only::{Only, Step};
use super::{Options, Outcome, run};

struct Shrinker {
    best: Options,
    outcome: Outcome,
    deadline: Instant,
}

/// The shortest run that breaks the same invariant, as far as it is found in the time.
pub fn shrink(options: &Options, outcome: &Outcome, most: Duration) -> (Options, Outcome) {
    let mut shrinker = Shrinker {
        best: options.clone(),
        outcome: run(options),
        deadline: Instant::now() + most,
    };
    if outcome.violation.is_none() || shrinker.outcome.violation != outcome.violation {
        return (shrinker.best, shrinker.outcome);
    }
    // What was not reached is left out at once.
    let steps = shrinker.outcome.steps.clone();
    shrinker.tries(&steps);
    shrinker.sweep();
    shrinker.ddmin();
    shrinker.sweep();
    (shrinker.best, shrinker.outcome)
}

impl Shrinker {
    fn steps(&self) -> Vec<Step> {
        let steps = self.best.only.steps.as_ref();
        steps.map_or_else(
            || self.outcome.steps.clone(),
            |steps| steps.iter().copied().collect(),
        )
    }

    fn tries(&mut self, steps: &[Step]) -> bool {
        let steps: BTreeSet<Step> = steps.iter().copied().collect();
        let only = Only {
            steps: Some(Arc::new(steps)),
            ..self.best.only.clone()
        };
        self.attempt(only)
    }

    /// Takes a shorter run if it still fails in the same way.
    fn attempt(&mut self, only: Only) -> bool {
        if Instant::now() >= self.deadline || only == self.best.only {
            return false;
        }
        let options = Options {
            only,
            ..self.best.clone()
        };
        let outcome = run(&options);
        let same = match (&outcome.violation, &self.outcome.violation) {
            (Some(one), Some(other)) => one.invariant == other.invariant,
            _ => false,
        };
        if same {
            self.best = options;
            self.outcome = outcome;
        }
        same
    }

    /// Everything but the steps.
    fn sweep(&mut self) {
        let links = Only {
            links: false,
            ..self.best.only.clone()
        };
        self.attempt(links);
        for nodes in 1..self.outcome.nodes {
            let fewer = Only {
                nodes: Some(nodes),
                ..self.best.only.clone()
            };
            if self.attempt(fewer) {
                break;
            }
        }
        let mut until_ms = self.outcome.until_ms;
        loop {
            let sooner = Only {
                until_ms: Some(until_ms),
                ..self.best.only.clone()
            };
            if !self.attempt(sooner) || until_ms < 1_000 {
                return;
            }
            until_ms = self.outcome.until_ms * 3 / 4;
        }
    }

    /// Leaves out ever smaller parts of the steps, until none of them can be spared.
    fn ddmin(&mut self) {
        let mut parts = 2;
        loop {
            let steps = self.steps();
            if steps.is_empty() || Instant::now() >= self.deadline {
                return;
            }
            let parts_now = parts.min(steps.len());
            let size = steps.len().div_ceil(parts_now);
            let shorter = (0..steps.len()).step_by(size).any(|from| {
                let to = (from + size).min(steps.len());
                let rest: Vec<Step> = [&steps[..from], &steps[to..]].concat();
                self.tries(&rest)
            });
            if shorter {
                parts = 2.max(parts_now - 1);
            } else if parts_now == steps.len() {
                return;
            } else {
                parts = parts_now * 2;
            }
        }
    }
}
