use std::time::Duration;

use super::values::ttl;
use super::*;
use clap::CommandFactory as _;
use clap::error::ErrorKind;

fn parse(line: &[&str]) -> Result<Command, clap::Error> {
    Cli::try_parse_from(std::iter::once(&"bramble").chain(line)).map(|cli| cli.command)
}

fn refused(line: &[&str]) -> ErrorKind {
    let error = parse(line).expect_err(&line.join(" "));
    assert_eq!(error.exit_code(), 2, "{line:?}");
    error.kind()
}

const TOKEN: &str =
    "bramble1.a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5.abc.secret";

#[test]
fn the_description_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn programs_get_their_arguments_untouched() {
    for line in [
        &["--help"][..],
        &["-h"],
        &["--version"],
        &["drain", "--data-dir", "/x", "--kubeconfig", "y"],
        &["--listen", "0.0.0.0:1", "--", "a"],
        &[],
    ] {
        let all: Vec<&str> = std::iter::once("agent")
            .chain(line.iter().copied())
            .collect();
        match parse(&all) {
            Ok(Command::Agent(program)) => assert_eq!(program.args, line, "{line:?}"),
            other => panic!("{line:?}: {other:?}"),
        }
    }
}

#[test]
fn times_are_read_with_units() {
    for (text, seconds) in [
        ("90s", 90),
        ("30m", 1_800),
        ("24h", 86_400),
        ("7d", 604_800),
        ("1h30m", 5_400),
        ("3650d", 315_360_000),
    ] {
        assert_eq!(ttl(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    for text in [
        "",
        "0s",
        "5",
        "h",
        "5w",
        "-5h",
        "3651d",
        "99999999999999999999s",
        "1h3",
        "1é",
    ] {
        assert!(ttl(text).is_err(), "{text:?}");
    }
}

#[test]
fn join_wants_an_address_and_a_token() {
    let join = |more: &[&str]| {
        let mut line = vec!["join"];
        line.extend(more);
        parse(&line)
    };
    match join(&[
        "https://pi.lan:6443",
        "--token",
        TOKEN,
        "--",
        "--bridge",
        "b",
    ]) {
        Ok(Command::Join(join)) => {
            assert_eq!(join.server.to_string(), "https://pi.lan:6443");
            assert_eq!(join.args, ["--bridge", "b"]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        refused(&["join", "--token", TOKEN]),
        ErrorKind::MissingRequiredArgument
    );
    for (address, token, name) in [
        ("http://pi.lan:6443", TOKEN, "n"),
        ("https://pi.lan:6443", "bramble1.x", "n"),
        ("https://pi.lan:6443", TOKEN, "Not A Name"),
    ] {
        let line = ["join", address, "--token", token, "--node-name", name];
        assert_eq!(refused(&line), ErrorKind::ValueValidation, "{line:?}");
    }
}

#[test]
fn a_refused_token_is_explained() {
    let error = parse(&["join", "https://pi.lan", "--token", "nonsense"]).unwrap_err();
    assert!(
        error.to_string().contains("bramble token create"),
        "{error}"
    );
}

#[test]
fn wrong_words_are_wrong_usage() {
    for line in [
        &["frobnicate"][..],
        &["token"],
        &["token", "create", "--uses", "0"],
        &["token", "create", "--ttl", "soon"],
        &["token", "delete"],
        &["token", "delete", "a/b"],
        &["image", "load"],
        &["status", "-o", "yaml"],
        &["restore"],
        &["adopt"],
        &["adopt", "a/b/c", "--all"],
        &["release"],
        &["release", "a/b/c", "--all"],
        &["node", "remove"],
        &["node", "remove", "Not A Name"],
        &["node", "replace", "n", "--ttl", "soon"],
        &["restore", "x.tar", "--check", "--force"],
        &["completion", "tcsh"],
        &["kubeconfig", "--server", "http://x"],
        &[],
    ] {
        refused(line);
    }
}

#[test]
fn every_command_has_examples() {
    fn check(command: &clap::Command) {
        for sub in command.get_subcommands() {
            let help = sub.get_after_help().map(ToString::to_string);
            assert!(
                help.is_some_and(|h| h.contains("Examples:\n")),
                "{} has no examples",
                sub.get_name()
            );
            check(sub);
        }
    }
    check(&Cli::command());
}

/// The first thing that a person sees; a change must be seen in review too.
#[test]
fn the_first_help_is_as_recorded() {
    let help = Cli::command().render_long_help().to_string();
    let want = include_str!("help.txt");
    assert_eq!(
        help, want,
        "if this is meant, put this into help.txt:\n{help}"
    );
}

#[test]
fn a_kubeconfig_is_for_one() {
    let made = |line: &[&str]| match parse(&[&["kubeconfig"], line].concat()) {
        Ok(Command::Kubeconfig(args)) => args,
        other => panic!("{line:?}: {other:?}"),
    };
    let args = made(&[
        "--user", "ann", "--group", "a", "--group", "b", "--ttl", "30d",
    ]);
    assert_eq!(args.groups, ["a", "b"]);
    for (text, namespace, name) in [("ci", "default", "ci"), ("builds/ci", "builds", "ci")] {
        let wanted = Some(Account {
            namespace: namespace.into(),
            name: name.into(),
        });
        assert_eq!(made(&["--service-account", text]).service_account, wanted);
        assert_eq!(made(&["--token", text]).service_account, wanted);
    }
    assert!(made(&["--merge", "--force"]).force);
    for line in [
        &["--user", "ann", "--service-account", "ci"][..],
        &["--group", "a"],
        &["--ttl", "1h"],
        &["--force"],
        &["--service-account", "../x"],
        &["--service-account", "a/b/c"],
        &["--service-account", "A"],
        &["--service-account", "/"],
        &["--name", ""],
    ] {
        refused(&[&["kubeconfig"], line].concat());
    }
}
