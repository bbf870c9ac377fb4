//! Which level holds in a namespace, and in which version.

use std::fmt;

use bramble_api::status::Cause;
use serde_json::Value;

use crate::admission::{part, text};

/// The newest version that differs from the one before; `latest` means it.
const NEWEST: u32 = 37;

/// How strict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything goes.
    Privileged,
    /// Known ways out of a container are closed.
    Baseline,
    /// Hardened.
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "privileged" => Self::Privileged,
            "baseline" => Self::Baseline,
            "restricted" => Self::Restricted,
            _ => return None,
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

/// Whose rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The newest that we know.
    Latest,
    /// Those of `v1.N`.
    Minor(u32),
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::Latest);
        }
        let digits = text.strip_prefix("v1.")?;
        let plain = !digits.is_empty()
            && digits.bytes().all(|b| b.is_ascii_digit())
            && (digits == "0" || !digits.starts_with('0'));
        plain.then(|| digits.parse().ok())?.map(Self::Minor)
    }

    pub(super) fn minor(self) -> u32 {
        match self {
            Self::Latest => NEWEST,
            Self::Minor(minor) => minor.min(NEWEST),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Minor(minor) => write!(f, "v1.{minor}"),
        }
    }
}

/// `restricted:latest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelVersion {
    /// How strict.
    pub level: Level,
    /// Whose rules.
    pub version: Version,
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level, self.version)
    }
}

const OPEN: LevelVersion = LevelVersion {
    level: Level::Privileged,
    version: Version::Latest,
};

/// What holds in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Pods that break this are refused.
    pub enforce: LevelVersion,
    /// What breaks this would be noted in the audit log. There is none; the labels are checked.
    pub audit: LevelVersion,
    /// What breaks this is warned about.
    pub warn: LevelVersion,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            enforce: OPEN,
            audit: OPEN,
            warn: OPEN,
        }
    }
}

impl Policy {
    /// Reads a namespace's labels. There is always a policy: what can't be read is enforced as the
    /// strictest level, and neither warned about nor audited.
    #[must_use]
    pub fn of(namespace: &Value) -> (Self, Vec<Cause>) {
        let labels = part(part(namespace, "metadata"), "labels");
        let mut policy = Self::default();
        let mut causes = Vec::new();
        read(
            labels,
            "enforce",
            &mut policy.enforce,
            Level::Restricted,
            &mut causes,
        );
        read(
            labels,
            "audit",
            &mut policy.audit,
            Level::Privileged,
            &mut causes,
        );
        read(
            labels,
            "warn",
            &mut policy.warn,
            Level::Privileged,
            &mut causes,
        );
        let has = |mode: &str| labels.get(format!("{PREFIX}{mode}")).is_some();
        // Whoever enforces and says nothing of warnings wants to hear of templates in time.
        if has("enforce") && !has("warn") && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if !has("warn-version") {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, causes)
    }

    /// Whether nothing is ever found.
    #[must_use]
    pub fn is_open(&self) -> bool {
        [self.enforce, self.warn]
            .iter()
            .all(|level| level.level == Level::Privileged)
    }

    /// Whether changing the labels from `old` to this can put pods that are there in the wrong.
    #[must_use]
    pub fn tightens(&self, old: &Self) -> bool {
        let (new, old) = (self.enforce, old.enforce);
        new != old
            && new.level != Level::Privileged
            && (new.version != old.version || new.level > old.level)
    }
}

const PREFIX: &str = "pod-security.kubernetes.io/";

fn read(
    labels: &Value,
    mode: &str,
    into: &mut LevelVersion,
    unreadable: Level,
    causes: &mut Vec<Cause>,
) {
    let mut invalid = |key: &str, value: &str, why: &str| {
        causes.push(Cause::invalid(
            format!("metadata.labels[{key}]"),
            &value.into(),
            why,
        ));
    };
    let key = format!("{PREFIX}{mode}");
    if labels.get(&key).is_some() {
        let value = text(labels, &key);
        into.level = Level::parse(value).unwrap_or_else(|| {
            invalid(
                &key,
                value,
                "must be one of privileged, baseline, restricted",
            );
            unreadable
        });
    }
    let key = format!("{PREFIX}{mode}-version");
    if labels.get(&key).is_some() {
        let value = text(labels, &key);
        into.version = Version::parse(value).unwrap_or_else(|| {
            invalid(&key, value, "must be \"latest\" or \"v1.x\"");
            Version::Latest
        });
    }
}
