//! What comes before everything else on the screen: what waits for a person after the store was set
//! back, and boards that are no members.

use bramble_api::time::{Timestamp, human_duration};
use bramble_wire::standing::{Duplicate, Rival, Standing, Stranger, Unclaimed};

use crate::output::{plain, table};
use crate::release::name_of;

/// Lines of each part; what is left out is counted.
const PODS: usize = 20;
const NODES: usize = 8;
const STRANGERS: usize = 8;

/// Empty when nobody has anything to decide.
pub(super) fn text(standing: &Standing, now: Timestamp) -> String {
    let mut out = String::new();
    rival(standing.rival.as_ref(), now, &mut out);
    if standing.is_set_back() {
        set_back(standing, now, &mut out);
    } else if standing.unclaimed_total > 0 {
        out.push_str(&format!(
            "Pods that were let go and have still to stop: {} (bramble status -o json).\n",
            standing.unclaimed_total
        ));
    }
    strangers(&standing.strangers, now, &mut out);
    duplicates(&standing.duplicates, now, &mut out);
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

fn set_back(standing: &Standing, now: Timestamp, out: &mut String) {
    out.push_str(&format!(
        "This cluster's store was set back (epoch {}): nodes keep what it does not know until you decide.\n",
        standing.epoch
    ));
    if standing.braked {
        out.push_str(
            "That was three times in ten minutes: are there two controllers of this identity? Stop one of them.\n",
        );
    }
    if let Some(first) = standing.waiting_for.first() {
        let shown: Vec<String> = (standing.waiting_for.iter().take(NODES))
            .map(|node| plain(node))
            .collect();
        let more = match standing.waiting.saturating_sub(shown.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        out.push_str(&format!(
            "Waiting for: {}{more} (bramble node remove {}, if it will not come back)\n",
            shown.join(", "),
            plain(first)
        ));
    }
    let Some(first) = standing.unclaimed.iter().find(|pod| !pod.released) else {
        let done = match (standing.waiting, standing.unclaimed_total) {
            (0, 0) => "Every node has said what it runs, and nothing of it is unknown.",
            (_, 0) => "Nothing is unclaimed so far.",
            _ => "What is unclaimed was let go and has still to stop.",
        };
        out.push_str(&format!("{done}\n  confirm: bramble release --all\n"));
        return;
    };
    let rows: Vec<Vec<String>> = (standing.unclaimed.iter().take(PODS))
        .map(|pod| row(pod, now))
        .collect();
    out.push_str(&table(&["UNCLAIMED", "NODE", "IMAGES", "SINCE"], &rows));
    let more = standing.unclaimed_total.saturating_sub(rows.len());
    if more > 0 {
        out.push_str(&format!("… {more} more (all: bramble status -o json)\n"));
    }
    out.push_str(&format!(
        "  keep:  bramble adopt {name}\n  \
         drop:  bramble release {name}\n  \
         all:   bramble adopt --all | bramble release --all\n",
        name = plain(&name_of(first))
    ));
}

fn row(pod: &Unclaimed, now: Timestamp) -> Vec<String> {
    let name = match pod.name.as_str() {
        "" => pod.uid.clone(),
        name => format!("{}/{name}", pod.namespace),
    };
    let since = match pod.released {
        true => "let go".to_owned(),
        false => ago(&pod.since, now),
    };
    vec![
        plain(&name),
        plain(&pod.node),
        plain(&pod.images.join(",")),
        since,
    ]
}

fn strangers(strangers: &[Stranger], now: Timestamp, out: &mut String) {
    if strangers.is_empty() {
        return;
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(
        "Boards with a certificate of this cluster that are no members of it; what they run goes on:\n",
    );
    let rows: Vec<Vec<String>> = (strangers.iter().take(STRANGERS))
        .map(|stranger| {
            vec![
                plain(&stranger.node),
                plain(&stranger.address),
                ago(&stranger.last_seen, now),
            ]
        })
        .collect();
    out.push_str(&table(&["STRANGER", "ADDRESS", "LAST SEEN"], &rows));
    if strangers.len() > rows.len() {
        let more = strangers.len() - rows.len();
        out.push_str(&format!("… {more} more (all: bramble status -o json)\n"));
    }
    out.push_str(
        "  in again:  there, bramble uninstall --purge, then bramble join with a new token (its data goes)\n  \
         never:     there, bramble uninstall\n",
    );
}

fn rival(rival: Option<&Rival>, now: Timestamp, out: &mut String) {
    let Some(rival) = rival else { return };
    let which = format!(
        "(start {}, epoch {}, last heard {} ago)",
        rival.boot,
        rival.epoch,
        ago(&rival.last_seen, now)
    );
    out.push_str(&match rival.goes_on {
        true => format!(
            "Another controller has this cluster's identity {which} and goes on; the one that answers here does\n\
             nothing any more. Stop one of the two: the one that was started more often goes on.\n\n"
        ),
        false => format!(
            "Another controller had this cluster's identity {which}; it does nothing any more. Stop it.\n\n"
        ),
    });
}

fn duplicates(duplicates: &[Duplicate], now: Timestamp, out: &mut String) {
    if duplicates.is_empty() {
        return;
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(
        "Boards that are refused because another board with the same identity is there; what they run goes on:\n",
    );
    let rows: Vec<Vec<String>> = (duplicates.iter().take(STRANGERS))
        .map(|board| {
            let hardware = match board.hardware.as_str() {
                "" => "-".to_owned(),
                hardware => plain(hardware),
            };
            vec![plain(&board.node), hardware, ago(&board.last_seen, now)]
        })
        .collect();
    out.push_str(&table(&["DUPLICATE OF", "BOARD", "LAST SEEN"], &rows));
    if duplicates.len() > rows.len() {
        let more = duplicates.len() - rows.len();
        out.push_str(&format!("… {more} more (all: bramble status -o json)\n"));
    }
    out.push_str(
        "  a copied card:  there, bramble uninstall --purge, then bramble join with a new token\n  \
         a moved card:   switch off the board that it came from; the other is taken within minutes\n",
    );
}

fn ago(text: &str, now: Timestamp) -> String {
    Timestamp::parse(text).map_or_else(|| plain(text), |then| human_duration(now.since(then)))
}
