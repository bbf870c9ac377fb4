//! Flags of the agent that are about images.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::gc::Watermarks;

/// Flags about images.
#[derive(Debug, Clone, Args)]
pub struct Flags {
    /// File about registries: mirrors, plain HTTP, certificates (docs/images.md); need not exist
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/bramble/registries.toml"
    )]
    pub registries: PathBuf,
    /// Images pulled at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub max_parallel_pulls: u8,
    /// Per cent of the disk in use at which images that nothing uses are removed; 100: never
    #[arg(long, value_name = "PERCENT", default_value_t = 85, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub image_gc_high_threshold: u8,
    /// Per cent of the disk in use at which removing images stops
    #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub image_gc_low_threshold: u8,
    /// Seconds that an image is on the board at least before it is removed to make room
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub minimum_image_age: u64,
    /// Directory whose image archives (*.tar) are loaded as they appear
    #[arg(long, value_name = "DIR")]
    pub import_dir: Option<PathBuf>,
    /// Label of a file system (a USB stick) whose image archives (*.tar) are loaded when it appears
    #[arg(long, value_name = "LABEL")]
    pub import_label: Option<String>,
}

impl Flags {
    /// When to make room.
    pub fn watermarks(&self) -> Watermarks {
        Watermarks {
            high: self.image_gc_high_threshold,
            low: self
                .image_gc_low_threshold
                .min(self.image_gc_high_threshold),
            min_age: Duration::from_secs(self.minimum_image_age),
        }
    }
}
