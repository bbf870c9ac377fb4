//! `docs/compatibility.md`, written from the list. `BRAMBLE_BLESS=1 cargo test` rewrites it.

use super::*;
use crate::kind::KINDS;
use std::fmt::Write as _;

#[test]
fn compatibility_document_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compatibility.md");
    let text = document();
    if std::env::var_os("BRAMBLE_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == text,
        "docs/compatibility.md differs: run BRAMBLE_BLESS=1 cargo test -p bramble-api"
    );
}

fn document() -> String {
    let mut out = format!(
        "# What of Kubernetes works\n\n\
         The API is that of Kubernetes {}. This page is written from the list that the API server uses\n\
         (`api/src/support/rules`). Tests hold it against upstream's schema and against the workspace: a field of a\n\
         served kind that is not listed fails, and so does an honoured one whose test is not there.\n\n\
         - **honoured**: carried out. The test that shows it is named.\n\
         - **warned**: stored, not carried out; the answer has a `Warning` header, which kubectl prints.\n\
         - **refused**: answered with 422 and the field's path, because leaving it out would break or endanger the workload.\n\n\
         What is *kept* does its work by being there: it is stored, and served to whoever reads it.\n\
         A kind that is not listed here is not served. The numbers count fields that have no fields of their own; those\n\
         of a pod template count in each kind that has one.\n\n",
        crate::discovery::KUBERNETES_VERSION
    );
    summary(&mut out);
    for kind in KINDS {
        let name = kind.kind;
        let group = if kind.group.is_empty() {
            String::new()
        } else {
            format!(" ({})", kind.group)
        };
        writeln!(out, "\n## {name}{group}\n").unwrap();
        out.push_str("| Field | | Shown by, or what to know |\n|---|---|---|\n");
        leaves(kind, &mut |leaf| row(&mut out, kind, leaf));
    }
    out.push_str(
        "\nMetadata of every kind, and the pod in every template, follow the Pod's list.\n\n\
         In `resources`, `cpu`, `memory` and `ephemeral-storage` are honoured; other resources are refused.\n\
         `fieldRef` knows `metadata.name`, `metadata.namespace`, `metadata.uid`, `metadata.labels['KEY']`,\n\
         `metadata.annotations['KEY']`, `spec.nodeName`, `spec.serviceAccountName`, `status.podIP` and `status.hostIP`.\n",
    );
    out
}

fn summary(out: &mut String) {
    out.push_str(
        "| Kind | API version | Short names | Subresources | Fields honoured | warned | refused |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut all = [0; 3];
    for kind in KINDS {
        let [honoured, warned, refused] = totals(kind);
        for (sum, count) in all.iter_mut().zip([honoured, warned, refused]) {
            *sum += count;
        }
        let subresources: Vec<&str> = kind.subresources.iter().map(|s| s.name).collect();
        writeln!(
            out,
            "| {} | {} | {} | {} | {honoured} | {warned} | {refused} |",
            kind.kind,
            kind.api_version(),
            kind.short_names.join(", "),
            subresources.join(", ")
        )
        .unwrap();
    }
    let [honoured, warned, refused] = all;
    writeln!(
        out,
        "| **{} kinds** | | | | **{honoured}** | **{warned}** | **{refused}** |",
        KINDS.len()
    )
    .unwrap();
}

fn row(out: &mut String, kind: &Kind, leaf: Leaf<'_>) {
    let path = leaf.path;
    // Pod templates repeat the pod; object metadata is the same everywhere.
    let repeated = path.starts_with("spec.template.spec.")
        || path.starts_with("spec.template.metadata.")
        || path.starts_with("template.spec.")
        || path.starts_with("template.metadata.")
        || (kind.kind != "Pod" && path.starts_with("metadata."));
    if repeated {
        return;
    }
    let Some(rule) = leaf.rule else {
        return writeln!(out, "| `{path}` | **unknown** | |").unwrap();
    };
    let (verdict, test) = match rule.verdict {
        Verdict::Inside => ("honoured", ""),
        Verdict::Honoured(test) => ("honoured", test),
        Verdict::Warned => ("warned", ""),
        Verdict::Refused => ("refused", ""),
    };
    let mut remarks = Vec::new();
    if !test.is_empty() {
        remarks.push(format!("`{test}`"));
    }
    if !rule.note.is_empty() {
        remarks.push(rule.note.to_owned());
    }
    if !rule.fine.is_empty() {
        let fine: Vec<String> = rule.fine.iter().map(|f| format!("`{f}`")).collect();
        remarks.push(format!("{} accepted", fine.join(", ")));
    }
    writeln!(out, "| `{path}` | {verdict} | {} |", remarks.join("; ")).unwrap();
}
