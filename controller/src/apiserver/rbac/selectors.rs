//! The selectors of a question about rights: which of the objects it is about.
//!
//! Checks and wording: `validateFieldSelectorAttributes` and `validateLabelSelectorAttributes` in
//! `pkg/apis/authorization/validation/validation.go`; how they are read: `ResourceAttributesFrom` and
//! `BuildEvaluationError` in `pkg/registry/authorization/util/helpers.go`. What can't be read is left
//! out and said: all terms must hold, so the question is about more then, never about less.

use bramble_api::metadata;
use bramble_api::selector::LabelSelector;
use bramble_api::status::Cause;
use serde::Deserialize;

/// What a selector selects by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Fields,
    Labels,
}

impl Of {
    fn path(self) -> &'static str {
        match self {
            Self::Fields => "spec.resourceAttributes.fieldSelector",
            Self::Labels => "spec.resourceAttributes.labelSelector",
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Selector {
    raw_selector: Option<String>,
    requirements: Option<Vec<Requirement>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Requirement {
    key: Option<String>,
    operator: Option<String>,
    values: Option<Vec<String>>,
}

/// What was understood of a selector.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// Fields that must have a value.
    equal: Vec<(String, String)>,
    understood: usize,
    ignored: Option<Of>,
}

impl Read {
    /// The value that a field must have.
    pub(super) fn exact(&self, field: &str) -> Option<&str> {
        let mut fitting = self.equal.iter().filter(|(key, _)| key == field);
        fitting.next().map(|(_, value)| value.as_str())
    }

    /// What to say of what was not understood.
    pub(super) fn ignored(&self) -> Option<String> {
        let of = self.ignored?;
        let partially = if self.understood > 0 {
            "partially "
        } else {
            ""
        };
        Some(format!(
            "{} {partially}ignored due to parse error",
            of.path()
        ))
    }
}

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

impl Selector {
    fn requirements(&self) -> &[Requirement] {
        self.requirements.as_deref().unwrap_or_default()
    }

    /// What is wrong with it. An unknown operator is one of a newer client's, and no error.
    pub(super) fn check(&self, of: Of) -> Vec<Cause> {
        let (path, raw) = (of.path(), text(&self.raw_selector));
        let mut causes = Vec::new();
        if !raw.is_empty() && !self.requirements().is_empty() {
            let why = "may not specified at the same time as requirements";
            causes.push(Cause::invalid(
                format!("{path}.rawSelector"),
                &raw.into(),
                why,
            ));
        }
        if raw.is_empty() && self.requirements().is_empty() {
            let why = format!("when {path} is specified, requirements or rawSelector is required");
            causes.push(Cause::required(format!("{path}.requirements"), &why));
        }
        for (at, one) in self.requirements().iter().enumerate() {
            one.check(of, &format!("{path}.requirements[{at}]"), &mut causes);
        }
        causes
    }

    pub(super) fn read(&self, of: Of) -> Read {
        let mut read = Read::default();
        let raw = text(&self.raw_selector);
        if !raw.is_empty() {
            match of {
                Of::Fields => match fields(raw) {
                    Some(equal) => {
                        read.understood = 1;
                        read.equal = equal;
                    }
                    None => read.ignored = Some(of),
                },
                Of::Labels if LabelSelector::parse(raw).is_ok() => read.understood = 1,
                Of::Labels => read.ignored = Some(of),
            }
        }
        for one in self.requirements() {
            match (of, text(&one.operator), one.values.as_deref()) {
                (Of::Fields, "In", Some([value])) => {
                    read.equal.push((text(&one.key).to_owned(), value.clone()));
                    read.understood += 1;
                }
                (Of::Fields, "NotIn", Some([_]))
                | (Of::Labels, "In" | "NotIn" | "Exists" | "DoesNotExist", _) => {
                    read.understood += 1;
                }
                _ => read.ignored = Some(of),
            }
        }
        read
    }
}

impl Requirement {
    fn check(&self, of: Of, path: &str, causes: &mut Vec<Cause>) {
        let key = text(&self.key);
        match of {
            Of::Fields if key.is_empty() => {
                causes.push(Cause::required(format!("{path}.key"), "must be specified"));
            }
            Of::Fields => {}
            Of::Labels => {
                let why = metadata::qualified_name(key);
                let cause = |why: &String| Cause::invalid(format!("{path}.key"), &key.into(), why);
                causes.extend(why.iter().map(cause));
            }
        }
        let values = self.values.as_deref().unwrap_or_default();
        let field = format!("{path}.values");
        match text(&self.operator) {
            "In" | "NotIn" if values.is_empty() => causes.push(Cause::required(
                field,
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => causes.push(Cause::forbidden(
                field,
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            _ => {}
        }
        if of == Of::Labels {
            for (at, value) in values.iter().enumerate() {
                let field = format!("{path}.values[{at}]");
                let why = metadata::label_value(value);
                let cause =
                    |why: &String| Cause::invalid(field.clone(), &value.as_str().into(), why);
                causes.extend(why.iter().map(cause));
            }
        }
    }
}

/// The fields of `a=b,c!=d` that must have a value; `None` when it can't be read.
fn fields(raw: &str) -> Option<Vec<(String, String)>> {
    let mut equal = Vec::new();
    for term in raw.split(',').filter(|term| !term.is_empty()) {
        let (key, rest) = term.split_once('=')?;
        if !key.ends_with('!') {
            let value = rest.strip_prefix('=').unwrap_or(rest);
            equal.push((key.to_owned(), value.to_owned()));
        }
    }
    Some(equal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn selector(value: Value) -> Selector {
        serde_json::from_value(value).unwrap()
    }

    fn one(key: &str, operator: &str, values: Value) -> Value {
        json!({"requirements": [{"key": key, "operator": operator, "values": values}]})
    }

    #[test]
    fn selectors_are_checked_as_upstream_does() {
        let fields = "spec.resourceAttributes.fieldSelector";
        let labels = "spec.resourceAttributes.labelSelector";
        let none = json!([]);
        for (of, value, want) in [
            (Of::Fields, one("a", "In", json!(["x"])), None),
            (Of::Fields, one("a", "Newer", none.clone()), None),
            (
                Of::Fields,
                json!({}),
                Some(format!(
                    "{fields}.requirements: Required value: when {fields} is specified, \
                     requirements or rawSelector is required"
                )),
            ),
            (
                Of::Labels,
                json!({"rawSelector": "foo", "requirements": [{"key": "a", "operator": "Exists"}]}),
                Some(format!(
                    "{labels}.rawSelector: Invalid value: \"foo\": may not specified at the same \
                     time as requirements"
                )),
            ),
            (
                Of::Fields,
                one("", "Exists", none.clone()),
                Some(format!(
                    "{fields}.requirements[0].key: Required value: must be specified"
                )),
            ),
            (
                Of::Labels,
                one("a", "NotIn", none),
                Some(format!(
                    "{labels}.requirements[0].values: Required value: must be specified when \
                     `operator` is 'In' or 'NotIn'"
                )),
            ),
            (
                Of::Fields,
                one("a", "Exists", json!(["x"])),
                Some(format!(
                    "{fields}.requirements[0].values: Forbidden: may not be specified when \
                     `operator` is 'Exists' or 'DoesNotExist'"
                )),
            ),
        ] {
            let causes = selector(value.clone()).check(of);
            let got: Vec<String> = (causes.iter())
                .map(|cause| format!("{}: {}", cause.field, cause.message))
                .collect();
            assert_eq!(got, Vec::from_iter(want), "{value}");
        }
        let bad = selector(one("-a", "In", json!(["-b"]))).check(Of::Labels);
        let at: Vec<&str> = bad.iter().map(|cause| cause.field.as_str()).collect();
        let path = |end: &str| format!("{labels}.requirements[0].{end}");
        assert_eq!(at, [path("key"), path("values[0]")]);
    }

    #[test]
    fn what_is_not_understood_is_left_out_and_said() {
        let node = |value: Value| {
            let read = selector(value).read(Of::Fields);
            (
                read.exact("spec.nodeName").map(str::to_owned),
                read.ignored(),
            )
        };
        let raw = |text: &str| json!({"rawSelector": text});
        let n = Some("n".to_owned());
        for text in ["spec.nodeName=n", "a!=b,spec.nodeName==n"] {
            assert_eq!(node(raw(text)), (n.clone(), None));
        }
        assert_eq!(node(raw("spec.nodeName!=n")), (None, None));
        let ignored = |how: &str| {
            Some(format!(
                "spec.resourceAttributes.fieldSelector {how}ignored due to parse error"
            ))
        };
        // One term that can't be read spoils the text, but not the list.
        assert_eq!(node(raw("spec.nodeName=n,x")), (None, ignored("")));
        let both = json!({"requirements": [{"key": "x", "operator": "Exists"},
            {"key": "spec.nodeName", "operator": "In", "values": ["n"]}]});
        assert_eq!(node(both), (n, ignored("partially ")));
        let two = one("spec.nodeName", "In", json!(["n", "m"]));
        assert_eq!(node(two), (None, ignored("")));
        let labels = selector(raw("a in (")).read(Of::Labels).ignored();
        let want = "spec.resourceAttributes.labelSelector ignored due to parse error";
        assert_eq!(labels.as_deref(), Some(want));
    }
}
