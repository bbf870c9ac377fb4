//! `./x bench`: what the node and the API take. Prints tables; every figure in the documents comes from
//! here. `--check` ends with 1 when a figure is over its budget.

mod alone;
mod api;
mod budget;
mod http;
mod node;

use anyhow::{Context, Result, bail};

use budget::Budgets;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut scope = node::Scope {
        runs: 20,
        idle: 300,
    };
    let (mut pods, mut agents, mut only, mut check) = (5000, 500, None, false);
    while let Some(name) = args.next() {
        let mut value = || args.next().with_context(|| format!("{name} needs a value"));
        match name.as_str() {
            "--runs" => scope.runs = value()?.parse().context("--runs needs a number")?,
            "--idle" => scope.idle = value()?.parse().context("--idle needs seconds")?,
            "--pods" => pods = value()?.parse().context("--pods needs a number")?,
            "--agents" => agents = value()?.parse().context("--agents needs a number")?,
            "--only" => only = Some(value()?),
            "--check" => check = true,
            _ => bail!(
                "usage: bramble-bench [--runs N] [--idle SECONDS] [--pods N] [--agents N] \
                 [--only node|api|alone|return] [--check]"
            ),
        }
    }
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    let budgets = Budgets::default();
    if wanted("node") {
        node::measure(scope, &budgets)?;
    }
    if wanted("api") {
        api::run(pods, &budgets)?;
    }
    if wanted("alone") {
        alone::measure(scope.idle, &budgets)?;
    }
    if wanted("alone") || wanted("return") {
        alone::comeback(agents, &budgets)?;
    }
    let over = budgets.over();
    if !over.is_empty() {
        println!("\nover budget:\n  {}", over.join("\n  "));
        if check {
            bail!("{} figures are over their budget", over.len());
        }
    }
    Ok(())
}
