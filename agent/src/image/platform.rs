//! Which of an image's variants runs on this board.

use serde::Deserialize;

/// Platform of a manifest in an index, or of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Platform {
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `amd64`, `arm64`, `arm`, ….
    #[serde(default)]
    pub architecture: String,
    /// `v6`, `v7`, `v8`, or nothing.
    #[serde(default)]
    pub variant: String,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

/// The board's processor in the words of images, from the kernel's `machine` (`uname -m`).
pub fn of_machine(machine: &str) -> Platform {
    let (architecture, variant) = match machine {
        "x86_64" => ("amd64", ""),
        "aarch64" | "arm64" => ("arm64", "v8"),
        "armv7l" | "armv8l" => ("arm", "v7"),
        "armv6l" => ("arm", "v6"),
        "i386" | "i586" | "i686" => ("386", ""),
        other => (other, ""),
    };
    Platform {
        os: "linux".to_owned(),
        architecture: architecture.to_owned(),
        variant: variant.to_owned(),
    }
}

/// How well an image's platform suits the board: higher is better, `None` doesn't run.
pub fn suits(image: &Platform, board: &Platform) -> Option<u32> {
    let os = image.os.is_empty() || image.os == board.os;
    if !os || image.architecture != board.architecture {
        return None;
    }
    if image.architecture != "arm" {
        // arm64 without a variant is v8; amd64 variants (v2, v3) can't be told from here.
        let plain = image.variant.is_empty() || image.variant == board.variant;
        return plain.then_some(1);
    }
    let level = |variant: &str, unknown| match variant {
        "v5" => 5,
        "v6" => 6,
        "v7" => 7,
        "v8" => 8,
        _ => unknown,
    };
    // An arm image without a variant is v7 by the specification of images.
    let needs = level(&image.variant, 7);
    (needs <= level(&board.variant, 6)).then_some(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Platform {
            os: next(),
            architecture: next(),
            variant: next(),
        }
    }

    #[test]
    fn the_best_variant_that_runs_is_chosen() {
        let choices = [
            "linux/amd64",
            "linux/arm/v5",
            "linux/arm/v6",
            "linux/arm/v7",
            "linux/arm64",
        ];
        for (machine, want) in [
            ("x86_64", Some("linux/amd64")),
            ("aarch64", Some("linux/arm64")),
            ("armv7l", Some("linux/arm/v7")),
            ("armv6l", Some("linux/arm/v6")),
            ("riscv64", None),
        ] {
            let board = of_machine(machine);
            let best = choices
                .iter()
                .filter_map(|c| suits(&platform(c), &board).map(|score| (score, *c)))
                .max();
            assert_eq!(best.map(|b| b.1), want, "{machine}");
        }
        assert_eq!(
            suits(&platform("windows/amd64"), &of_machine("x86_64")),
            None
        );
        assert!(suits(&platform("linux/arm64/v8"), &of_machine("aarch64")).is_some());
    }
}
