//! `./x cards`: a board on a card loses its power again and again, in the middle of work; what was not
//! flushed is lost in part. Each time it must start by itself, alone, with what it had accepted, run
//! nothing twice that may run once, and leave a file system that is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Board;
use crate::local::{run, wait_until};

const PATIENCE: Duration = Duration::from_secs(300);

/// Shows a number of a ConfigMap, and which pods have begun.
const WEB: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: web }
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: bramble.test/busybox:1
      command:
        - sh
        - -c
        - |
          : >> /kept/begun
          mkdir -p /tmp/www && busybox ln -s /kept/begun /tmp/www/begun && busybox ln -s /counter/value /tmp/www/value
          exec httpd -f -p 8080 -h /tmp/www
      volumeMounts: [{ name: counter, mountPath: /counter }, { name: kept, mountPath: /kept }]
  volumes:
    - { name: counter, configMap: { name: counter } }
    - { name: kept, hostPath: { path: /var/lib/bramble/kept, type: DirectoryOrCreate } }
"#;

fn counter(value: u64) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: counter}}\ndata: {{value: \"{value}\"}}\n"
    )
}

/// A pod that runs once: it writes its uid down, surely, and then works for a while.
fn once(number: u64) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: once-{number}, labels: {{ sort: once }} }}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: bramble.test/busybox:1
      command: [sh, -c, "echo $UID_OF_POD | dd of=/kept/begun oflag=append conv=notrunc,fsync; sleep {pause}"]
      env: [{{ name: UID_OF_POD, valueFrom: {{ fieldRef: {{ fieldPath: metadata.uid }} }} }}]
      volumeMounts: [{{ name: kept, mountPath: /kept }}]
  volumes: [{{ name: kept, hostPath: {{ path: /var/lib/bramble/kept }} }}]
"#,
        pause = number % 4
    )
}

/// A board and what it was given.
struct Trial<'a> {
    board: &'a mut Board,
    /// Newest number in the ConfigMap, and the newest that the board has shown.
    written: u64,
    seen: u64,
    pods: u64,
    random: u64,
}

/// Plays the rounds; says what each cut took.
///
/// # Errors
/// What was lost, or came twice, with the round's number.
pub fn play(board: &mut Board, rounds: u64, seed: u64) -> Result<()> {
    board.apply(&counter(0))?;
    board.apply(WEB)?;
    let mut trial = Trial {
        board,
        written: 0,
        seen: 0,
        pods: 0,
        random: seed,
    };
    trial.shows(0)?;
    for round in 1..=rounds {
        let begun = Instant::now();
        let line = trial
            .round(round)
            .with_context(|| format!("round {round} of seed {seed}"))?;
        println!(
            "{:6.1}s  cut {round}: {line}",
            begun.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

impl Trial<'_> {
    fn draw(&mut self, bound: u64) -> u64 {
        self.random = (self.random)
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound
    }

    fn round(&mut self, round: u64) -> Result<String> {
        self.churn()?;
        self.board.power_off();
        let seed = self.random;
        let card = self.board.card().context("the board has no card")?;
        let cut = card.cut(seed)?;
        self.whole_file_system()?;
        self.board.kill_controller();
        self.board.power_on(None)?;
        self.shows(self.seen)?;
        self.board.start_controller()?;
        self.board.wait_ready()?;
        self.all_end()?;
        let count = self.none_twice()?;
        Ok(format!(
            "{} writes were not flushed, {} lost, {}; {count} pods ran once by round {round}",
            cut.pending,
            cut.dropped,
            if cut.torn { "one torn" } else { "none torn" },
        ))
    }

    /// Changes, pods that come and pods that go, for a time that is drawn; then the power goes, in the
    /// middle of what the board writes.
    fn churn(&mut self) -> Result<()> {
        let time = Duration::from_millis(1000 + self.draw(5000));
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.change()?;
            self.look();
        }
        let mut writes = 1 + self.draw(12) as usize;
        let begun = Instant::now();
        loop {
            let card = self.board.card().context("the board has no card")?;
            if card.is_dead() {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "the board writes nothing");
            card.burn(writes);
            self.change()?;
            // What it does now may write less at a time.
            writes = writes.saturating_sub(1);
        }
    }

    fn change(&mut self) -> Result<()> {
        self.written += 1;
        self.board.apply(&counter(self.written))?;
        self.pods += 1;
        self.board.apply(&once(self.pods))?;
        if self.pods > 3 && self.draw(3) == 0 {
            let name = format!("once-{}", self.pods - 3);
            let gone = ["delete", "pod", &name, "--wait=false", "--ignore-not-found"];
            self.board.kubectl(&gone)?;
        }
        Ok(())
    }

    /// A number that the board shows is in a document that it has accepted.
    fn look(&mut self) {
        let shown = self.board.ask("/value");
        if let Some(value) = shown.ok().and_then(|text| text.trim().parse().ok()) {
            self.seen = self.seen.max(value);
        }
    }

    /// The board shows this number or a later one.
    fn shows(&mut self, least: u64) -> Result<()> {
        let mut last = String::new();
        let there = wait_until(PATIENCE, || {
            last = match self.board.ask("/value") {
                Ok(text) => text,
                Err(error) => format!("{error:#}"),
            };
            Ok(last.trim().parse().is_ok_and(|value: u64| value >= least))
        })?;
        ensure!(
            there,
            "the board shows {last:?}, after it had shown {least}\n{}",
            self.board.tail("console.log")
        );
        Ok(())
    }

    /// What the card is left with is a whole file system once its journal is played.
    fn whole_file_system(&self) -> Result<()> {
        let copy = self.board.dir().join("disk.copy");
        let mut cp = Command::new("cp");
        run(cp.arg("--sparse=always").args([&self.board.disk(), &copy]))?.success()?;
        let check = |args: &[&str]| run(Command::new("e2fsck").args(args).arg(&copy));
        check(&["-y", "-E", "journal_only"])?;
        let found = check(&["-f", "-n"])?;
        ensure!(found.code == 0, "{}{}", found.stdout, found.stderr);
        Ok(())
    }

    /// Every pod that runs once comes to an end.
    fn all_end(&self) -> Result<()> {
        let path = "jsonpath={range .items[*]}{.metadata.name}={.status.phase} {end}";
        let mut left = Vec::new();
        let ended = wait_until(PATIENCE, || {
            let out = self
                .board
                .kubectl(&["get", "pods", "-l", "sort=once", "-o", path])?;
            left = (out.stdout.split_whitespace())
                .filter(|pod| !pod.ends_with("=Succeeded") && !pod.ends_with("=Failed"))
                .map(str::to_owned)
                .collect();
            Ok(left.is_empty())
        })?;
        ensure!(ended, "not ended: {left:?}");
        Ok(())
    }

    /// No pod has begun twice; how many have begun.
    fn none_twice(&self) -> Result<usize> {
        let mut answer = Err(anyhow::anyhow!("not asked"));
        wait_until(PATIENCE, || {
            answer = self.board.ask("/begun");
            Ok(answer.is_ok())
        })?;
        let text = answer.context("which pods have begun")?;
        let mut times: BTreeMap<&str, u32> = BTreeMap::new();
        for uid in text.lines() {
            *times.entry(uid).or_default() += 1;
        }
        let twice: BTreeSet<_> = times.iter().filter(|(_, n)| **n > 1).collect();
        ensure!(twice.is_empty(), "began more than once: {twice:?}");
        Ok(times.len())
    }
}
