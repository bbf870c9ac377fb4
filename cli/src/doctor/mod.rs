//! `bramble node doctor`: what this board lacks for being a node, and the line that mends it.
//!
//! In: the kernel's own files (`/proc`, `/sys`, `/lib/modules`) and the boot files of the board. Out: a
//! list of findings; exit code 1 when one of them keeps pods from running. Nothing is changed.

mod board;
mod findings;

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::json;

use crate::args::{Doctor, Output};
use crate::output;
pub(crate) use findings::{Finding, Level, findings};

/// Looks at the board and prints what was found.
pub(crate) fn run(args: &Doctor) -> Result<()> {
    let root = args.root.as_deref().unwrap_or(Path::new("/"));
    let facts = board::look(root, &args.data_dir);
    let found = findings(&facts);
    let text = match args.output {
        Output::Json => json_text(&found),
        Output::Text => text(&found),
    };
    output::print(&text)?;
    let wrong = found.iter().filter(|f| f.level == Level::Wrong).count();
    match wrong {
        0 => Ok(()),
        1 => bail!("one thing keeps pods from running on this board"),
        n => bail!("{n} things keep pods from running on this board"),
    }
}

fn text(found: &[Finding]) -> String {
    let mut text = String::new();
    for finding in found {
        let mark = match finding.level {
            Level::Fine => "ok     ",
            Level::Weak => "warning",
            Level::Wrong => "MISSING",
        };
        text.push_str(&format!(
            "{mark}  {}: {}\n",
            finding.what,
            output::plain(&finding.seen)
        ));
        for line in finding.mend.lines() {
            text.push_str(&format!("         {line}\n"));
        }
    }
    text
}

fn json_text(found: &[Finding]) -> String {
    let found: Vec<_> = found
        .iter()
        .map(|f| {
            let level = match f.level {
                Level::Fine => "ok",
                Level::Weak => "warning",
                Level::Wrong => "missing",
            };
            json!({"what": f.what, "level": level, "seen": f.seen, "mend": f.mend})
        })
        .collect();
    format!("{:#}\n", json!({ "findings": found }))
}

#[cfg(test)]
mod tests;
