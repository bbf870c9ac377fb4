//! Runs one target for some seconds. `bramble-fuzz TARGET [SECONDS [SEED]]`.

mod mutate;
mod targets;

use std::panic;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let wanted = args.first().map(String::as_str).unwrap_or_default();
    let Some(target) = targets::TARGETS.iter().find(|target| target.name == wanted) else {
        let names: Vec<&str> = targets::TARGETS.iter().map(|target| target.name).collect();
        eprintln!(
            "usage: TARGET [SECONDS [SEED]], TARGET one of: {}",
            names.join(" ")
        );
        return ExitCode::from(2);
    };
    let number = |at: usize| args.get(at).and_then(|text| text.parse::<u64>().ok());
    let seconds = Duration::from_secs(number(1).unwrap_or(60));
    let first = number(2).unwrap_or_else(|| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        now.as_secs() << 20
    });
    let (began, mut seed, mut slowest) = (Instant::now(), first, Duration::ZERO);
    while began.elapsed() < seconds {
        let mut random = mutate::Random::new(seed);
        let input = mutate::input(&mut random, target.seeds);
        let start = Instant::now();
        let found = panic::catch_unwind(|| (target.run)(&input)).is_err();
        let took = start.elapsed();
        slowest = slowest.max(took);
        if found || took > Duration::from_secs(5) {
            let path = format!("fuzz/findings/{}-{seed}", target.name);
            let written = std::fs::create_dir_all("fuzz/findings")
                .and_then(|()| std::fs::write(&path, &input));
            let what = if found { "panicked" } else { "took too long" };
            eprintln!(
                "{} {what} after {took:?}: seed {seed}, input in {path} ({written:?})",
                target.name
            );
            return ExitCode::FAILURE;
        }
        seed += 1;
    }
    let count = seed - first;
    println!(
        "{}: {count} inputs from seed {first}, the slowest {slowest:?}",
        target.name
    );
    ExitCode::SUCCESS
}
