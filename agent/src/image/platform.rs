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
///
/// A 64-bit ARM board also runs 32-bit ARM images, and a 64-bit PC those of a 386, where there is
/// nothing better; the few processors and kernels that can't will say so when the program starts.
pub fn suits(image: &Platform, board: &Platform) -> Option<u32> {
    if !image.os.is_empty() && image.os != board.os {
        return None;
    }
    let (arm, wanted) = match (image.architecture.as_str(), board.architecture.as_str()) {
        ("arm", "arm") => (true, level(&board.variant, 6)),
        ("arm", "arm64") => (true, 8),
        ("386", "amd64") => return Some(1),
        (image, board) if image == board => (false, 0),
        _ => return None,
    };
    if arm {
        // An arm image without a variant is v7 by the specification of images.
        let needs = level(&image.variant, 7);
        return (needs <= wanted).then_some(needs);
    }
    // arm64 without a variant is v8; amd64 variants (v2, v3) can't be told from here.
    let plain = image.variant.is_empty() || image.variant == board.variant;
    plain.then_some(100)
}

fn level(variant: &str, unknown: u32) -> u32 {
    match variant {
        "v5" => 5,
        "v6" => 6,
        "v7" => 7,
        "v8" => 8,
        _ => unknown,
    }
}

/// Every platform of images that run on the board, best first: `linux/arm/v7`, `linux/arm/v6`.
pub fn runs_on(board: &Platform) -> Vec<String> {
    let platform = |architecture: &str, variant: &str| Platform {
        os: "linux".to_owned(),
        architecture: architecture.to_owned(),
        variant: variant.to_owned(),
    };
    let mut known: Vec<Platform> = [
        ("arm64", "v8"),
        ("arm", "v8"),
        ("arm", "v7"),
        ("arm", "v6"),
        ("arm", "v5"),
        ("386", ""),
    ]
    .map(|(architecture, variant)| platform(architecture, variant))
    .to_vec();
    if !known.contains(board) {
        known.insert(0, board.clone());
    }
    known.retain(|image| suits(image, board).is_some());
    known.iter().map(Platform::to_string).collect()
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

    #[test]
    fn a_board_names_what_it_runs_best_first() {
        for (machine, expected) in [
            ("x86_64", "linux/amd64 linux/386"),
            (
                "aarch64",
                "linux/arm64/v8 linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5",
            ),
            ("armv7l", "linux/arm/v7 linux/arm/v6 linux/arm/v5"),
            ("armv6l", "linux/arm/v6 linux/arm/v5"),
            ("riscv64", "linux/riscv64"),
        ] {
            assert_eq!(runs_on(&of_machine(machine)).join(" "), expected);
        }
    }
}
