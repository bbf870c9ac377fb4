//! A board's reboot: nothing of it is left but its data directory, and its kernel has another boot id.
//!
//! A namespace has no boot id of its own. From its first reboot on, a board's programs run in a mount
//! namespace where a file of ours lies over the kernel's; the run directory is shared with the host's, so
//! that what they mount there is found and cleared as ever.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::layout::Board;
use super::{Cluster, Options, network, run};

/// The file, then the program and its arguments; what is below `/proc` is nobody else's.
const OTHER_BOOT_ID: &str = r#"mount --make-rprivate /proc && mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@""#;

impl Cluster {
    /// Ends a board as a power cut does and boots it: as [`Cluster::power_cycle`]; then its agent is
    /// started.
    ///
    /// # Errors
    /// When something of it can't be removed or made.
    pub fn reboot(&self, board: usize) -> Result<String> {
        let boot_id = self.power_cycle(board)?;
        self.start_agent(board)?;
        Ok(boot_id)
    }

    /// A board that was switched off and on, and starts nothing yet: every process in its namespaces,
    /// its run directory, its mounts, control groups, links and bridges are gone, and the boot id is
    /// another one, which is returned.
    ///
    /// # Errors
    /// When something of it can't be removed or made.
    pub fn power_cycle(&self, board: usize) -> Result<String> {
        self.power_cut(board)?;
        let place = &self.layout.boards[board];
        network::remove_board(place)?;
        network::ensure(&self.layout)?;
        std::fs::create_dir_all(&place.run_dir)?;
        let mount = |args: &[&str]| run(Command::new("mount").args(args))?.success().map(drop);
        mount(&["-t", "tmpfs", "-o", "mode=755", "run", &place.run_dir])?;
        mount(&["--make-shared", &place.run_dir])?;
        let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        let file = boot_id(&self.options, place);
        std::fs::write(&file, &id).with_context(|| format!("writing {}", file.display()))?;
        Ok(id.trim().to_owned())
    }

    /// What stands before a program that is to run on a board.
    pub(super) fn on_board(&self, board: &Board) -> Vec<String> {
        let netns = format!("--net=/run/netns/{}", board.netns);
        let mut words = vec!["nsenter", &netns, "--"];
        let id = boot_id(&self.options, board);
        let file = id.display().to_string();
        if id.exists() {
            // Without `unchanged` the run directory would not be shared.
            words.extend(["unshare", "--mount", "--propagation", "unchanged"]);
            words.extend(["sh", "-c", OTHER_BOOT_ID, &file]);
        }
        words.into_iter().map(str::to_owned).collect()
    }
}

fn boot_id(options: &Options, board: &Board) -> PathBuf {
    options.dir.join(format!("{}.boot-id", board.node))
}
