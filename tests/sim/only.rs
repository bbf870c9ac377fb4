//! What of a seed's run to leave in: the whole of it, or what a shorter run of the same failure needs.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::anyhow;

/// Who takes steps of their own accord.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Concern {
    /// Something breaks.
    Fault,
    /// The broker does harm.
    Mischief,
    /// A person changes something.
    User,
}

impl Concern {
    /// The name of its stream of chance.
    pub fn stream(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Mischief => "mischief",
            Self::User => "user",
        }
    }
}

/// One step of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step {
    /// Whose.
    pub concern: Concern,
    /// The how-many-th.
    pub number: u32,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.concern {
            Concern::Fault => 'f',
            Concern::Mischief => 'm',
            Concern::User => 'u',
        };
        write!(f, "{letter}{}", self.number)
    }
}

/// What is left in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Only {
    /// Of faults, mischief and people; `None`: everything.
    pub steps: Option<Arc<BTreeSet<Step>>>,
    /// Messages are lost, doubled, late and withheld.
    pub links: bool,
    /// So many nodes at most.
    pub nodes: Option<usize>,
    /// Faults stop after so many virtual milliseconds.
    pub until_ms: Option<u64>,
}

impl Default for Only {
    fn default() -> Self {
        Self {
            steps: None,
            links: true,
            nodes: None,
            until_ms: None,
        }
    }
}

impl Only {
    /// Whether a step is taken.
    pub fn takes(&self, step: Step) -> bool {
        self.steps
            .as_ref()
            .is_none_or(|steps| steps.contains(&step))
    }

    /// Whether nothing is left out.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Only {
    /// As `--only` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = match &self.steps {
            Some(steps) if steps.is_empty() => vec!["none".into()],
            Some(steps) => steps.iter().map(Step::to_string).collect(),
            None => vec!["all".into()],
        };
        if self.links {
            parts.push("links".into());
        }
        if let Some(nodes) = self.nodes {
            parts.push(format!("nodes={nodes}"));
        }
        if let Some(until) = self.until_ms {
            parts.push(format!("until={until}"));
        }
        f.write_str(&parts.join(","))
    }
}

impl FromStr for Only {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut steps = BTreeSet::new();
        let mut only = Self {
            links: false,
            ..Self::default()
        };
        let mut all = false;
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let wrong =
                || anyhow!("'{part}' is none of all, none, links, fN, mN, uN, nodes=N, until=MS");
            let number = |digits: &str| digits.parse::<u64>().map_err(|_| wrong());
            if let Some(count) = part.strip_prefix("nodes=") {
                only.nodes = Some(number(count)? as usize);
                continue;
            }
            if let Some(until) = part.strip_prefix("until=") {
                only.until_ms = Some(number(until)?);
                continue;
            }
            match part {
                "all" => all = true,
                "none" => {}
                "links" => only.links = true,
                _ => {
                    let concern = match part.get(..1) {
                        Some("f") => Concern::Fault,
                        Some("m") => Concern::Mischief,
                        Some("u") => Concern::User,
                        _ => return Err(wrong()),
                    };
                    let number = part[1..].parse().map_err(|_| wrong())?;
                    steps.insert(Step { concern, number });
                }
            }
        }
        only.steps = (!all).then(|| Arc::new(steps));
        Ok(only)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again() {
        for text in [
            "all,links",
            "f3,f17,m2,u1",
            "f3,links,nodes=2,until=31000",
            "all",
            "all,links,nodes=2",
            "none,links",
        ] {
            let only: Only = text.parse().unwrap();
            assert_eq!(only.to_string(), text);
        }
        assert!("all,links".parse::<Only>().unwrap().is_everything());
        for wrong in ["x3", "f", "f-1", "nodes=", "until=x", "links,é"] {
            assert!(wrong.parse::<Only>().is_err(), "{wrong}");
        }
        let some: Only = "f3".parse().unwrap();
        let step = |number| Step {
            concern: Concern::Fault,
            number,
        };
        assert!(some.takes(step(3)) && !some.takes(step(4)) && Only::default().takes(step(4)));
    }
}
