//! Completion scripts, made from the command line's own description.

use anyhow::Result;
use clap::CommandFactory as _;

use crate::args::{Cli, Shell};
use crate::output;

/// Prints the script for a shell.
pub(crate) fn print(shell: Shell) -> Result<()> {
    output::print(&script(shell))
}

fn script(shell: Shell) -> String {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bramble", &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_script_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for word in ["kubeconfig", "token", "image", "status"] {
                assert!(script.contains(word), "{shell:?} lacks {word}");
            }
        }
    }
}
