//! A report as one screen of text.

use super::problem::Problem;
use super::{NodeLine, Report};
use crate::output::{plain, table};

/// Lines of each part; what is left out is counted. Nodes that are not Ready come first.
const NODES: usize = 20;
const PROBLEMS: usize = 20;
/// A longer reason is cut: it is a screen, not a log.
const WIDTH: usize = 160;

pub(super) fn text(report: &Report) -> String {
    let version = match report.version.as_str() {
        "" => "not a Bramble controller".to_owned(),
        version => format!("Bramble {}", plain(version)),
    };
    let mut out = format!(
        "{version} (Kubernetes {}) at {}\n\n",
        plain(&report.kubernetes_version),
        report.server
    );
    nodes(report, &mut out);
    out.push('\n');
    pods(report, &mut out);
    problems(&report.unhealthy, &mut out);
    out
}

fn nodes(report: &Report, out: &mut String) {
    if report.nodes.is_empty() {
        out.push_str(
            "No nodes yet: `bramble token create` here, then `bramble join` on a board.\n",
        );
        return;
    }
    let mut lines: Vec<&NodeLine> = report.nodes.iter().collect();
    lines.sort_by_key(|node| node.ready);
    let rows: Vec<Vec<String>> = lines
        .iter()
        .take(NODES)
        .map(|node| {
            vec![
                plain(&node.name),
                plain(&node.status),
                plain(&node.version),
                plain(&node.address),
                node.pods.to_string(),
            ]
        })
        .collect();
    out.push_str(&table(
        &["NODE", "STATUS", "VERSION", "ADDRESS", "PODS"],
        &rows,
    ));
    if lines.len() > NODES {
        let ready = report.nodes.iter().filter(|n| n.ready).count();
        out.push_str(&format!(
            "… {} more; {ready} of {} are Ready (all: kubectl get nodes)\n",
            lines.len() - NODES,
            lines.len()
        ));
    }
}

fn pods(report: &Report, out: &mut String) {
    let phases: Vec<String> = report
        .pods
        .by_phase
        .iter()
        .map(|(phase, count)| format!("{count} {}", plain(phase)))
        .collect();
    match phases.as_slice() {
        [] => out.push_str("No pods.\n"),
        _ => out.push_str(&format!(
            "Pods: {} ({})\n",
            report.pods.total,
            phases.join(", ")
        )),
    }
}

fn problems(problems: &[Problem], out: &mut String) {
    if problems.is_empty() {
        out.push_str("Nothing is unhealthy.\n");
        return;
    }
    out.push_str("\nUnhealthy:\n");
    for problem in problems.iter().take(PROBLEMS) {
        out.push_str(&line(problem));
        out.push('\n');
    }
    if problems.len() > PROBLEMS {
        out.push_str(&format!(
            "  … {} more (all: bramble status -o json)\n",
            problems.len() - PROBLEMS
        ));
    }
}

fn line(problem: &Problem) -> String {
    let mut text = match problem.kind {
        "pod" => format!("  pod {}/{}", problem.namespace, problem.name),
        kind => format!("  {kind} {}", problem.name),
    };
    if !problem.node.is_empty() {
        text.push_str(&format!(" on {}", problem.node));
    }
    text.push_str(&format!(": {}", problem.reason));
    if !problem.message.is_empty() {
        text.push_str(&format!(": {}", problem.message));
    }
    let text = plain(&text);
    if text.chars().count() <= WIDTH {
        return text;
    }
    let mut cut: String = text.chars().take(WIDTH - 1).collect();
    cut.push('…');
    cut
}
