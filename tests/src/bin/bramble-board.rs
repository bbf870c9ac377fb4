//! `./x vm` and `./x arm`: boots an emulated board and checks on it, with the real kubectl, what only a
//! kernel of its own can show.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use bramble_tests::emulated::{Board, Kind, Options, cards, checks::CHECKS};

const USAGE: &str = "\
Usage: bramble-board --machine amd64|arm64|armhf --kernel FILE --initramfs FILE [--memory MIB] [--only TEXT]
                     [--no-checks] [--cards ROUNDS [--seed N]]

  Boots the machine with a controller of its own on this one and prints a line for each check. With --cards,
  its power is then cut ROUNDS times during work, and its card loses what it was not told to flush. Exit
  code 1 when something fails, with the board's console.";

fn main() -> ExitCode {
    match real_main() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bramble-board: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn real_main() -> Result<bool> {
    let mut args = std::env::args().skip(1);
    let (mut kind, mut kernel, mut initramfs, mut memory, mut only) =
        (None, None, None, 512, String::new());
    let (mut checks, mut rounds, mut seed) = (CHECKS, 0, 1);
    while let Some(arg) = args.next() {
        let mut value = || {
            args.next()
                .with_context(|| format!("{arg} needs a value\n{USAGE}"))
        };
        match arg.as_str() {
            "--machine" => kind = Some(Kind::parse(&value()?)?),
            "--kernel" => kernel = Some(PathBuf::from(value()?)),
            "--initramfs" => initramfs = Some(PathBuf::from(value()?)),
            "--memory" => memory = value()?.parse().context("--memory needs a number of MiB")?,
            "--only" => only = value()?,
            "--no-checks" => checks = &[],
            "--cards" => rounds = value()?.parse().context("--cards needs a number")?,
            "--seed" => seed = value()?.parse().context("--seed needs a number")?,
            _ => bail!("{USAGE}"),
        }
    }
    let begun = Instant::now();
    let mut board = Board::boot(Options {
        kind: kind.context(USAGE)?,
        memory,
        kernel: kernel.context(USAGE)?,
        initramfs: initramfs.context(USAGE)?,
        programs: bramble_tests::programs()?,
        kubectl: bramble_tests::kubectl()?,
        card: rounds > 0,
    })?;
    println!(
        "{:6.1}s  the board is up and Ready",
        begun.elapsed().as_secs_f64()
    );
    let (mut passed, mut failed) = (0, 0);
    for check in checks.iter().filter(|check| check.name.contains(&only)) {
        match check.run(&mut board) {
            Ok((seen, took)) => {
                passed += 1;
                println!("{:6.1}s  {}: {seen}", took.as_secs_f64(), check.name);
            }
            Err(error) => {
                failed += 1;
                println!("FAILED   {}: {error:#}", check.name);
            }
        }
    }
    if rounds > 0 {
        match cards::play(&mut board, rounds, seed) {
            Ok(()) => passed += 1,
            Err(error) => {
                failed += 1;
                println!("FAILED   power cuts: {error:#}");
            }
        }
    }
    if failed > 0 {
        println!("{}", board.tail("console.log"));
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}
