//! Label selectors.

use crate::metadata;
use crate::status::Status;
use serde_json::{Map, Value};

/// One condition on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// `key=value` or `key in (a,b)`.
    In(String, Vec<String>),
    /// `key!=value` or `key notin (a,b)`; true when the label is missing.
    NotIn(String, Vec<String>),
    /// `key`.
    Exists(String),
    /// `!key`.
    Missing(String),
    /// `key>number`.
    Greater(String, i64),
    /// `key<number`.
    Less(String, i64),
    /// Selects nothing: a null selector object.
    Never,
}

/// Conditions on labels that must all hold; none matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// Parses the `labelSelector` query parameter.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let requirements = Parser {
            tokens: tokens(text),
            at: 0,
        }
        .selector()
        .map_err(|e| Status::bad_request(format!("unable to parse requirement: {e}")))?;
        Ok(Self { requirements })
    }

    /// From a selector object (`matchLabels`, `matchExpressions`). As upstream: null matches
    /// nothing, an empty object everything.
    pub fn from_object(selector: &Value) -> Result<Self, Status> {
        let Value::Object(selector) = selector else {
            return Ok(Self {
                requirements: vec![Requirement::Never],
            });
        };
        let mut out = match selector.get("matchLabels") {
            Some(Value::Object(labels)) => Self::from_labels(labels),
            _ => Self::default(),
        };
        for expression in selector
            .get("matchExpressions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let key = expression
                .get("key")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            let values: Vec<String> = expression
                .get("values")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect();
            let operator = expression
                .get("operator")
                .and_then(Value::as_str)
                .unwrap_or_default();
            out.requirements.push(match operator {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::Missing(key),
                other => {
                    return Err(Status::bad_request(format!(
                        "\"{other}\" is not a valid label selector operator"
                    )));
                }
            });
        }
        Ok(out)
    }

    /// From a plain map of labels.
    pub fn from_labels(labels: &Map<String, Value>) -> Self {
        let requirements = labels
            .iter()
            .map(|(key, value)| {
                Requirement::In(
                    key.clone(),
                    vec![value.as_str().unwrap_or_default().to_owned()],
                )
            })
            .collect();
        Self { requirements }
    }

    /// The conditions.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether labels, looked up by key, fulfil every condition.
    pub fn matches_with<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let number = |text: Option<&str>| text.and_then(|t| t.parse::<i64>().ok());
        self.requirements
            .iter()
            .all(|requirement| match requirement {
                Requirement::In(key, values) => {
                    label(key).is_some_and(|v| values.iter().any(|w| w == v))
                }
                Requirement::NotIn(key, values) => {
                    label(key).is_none_or(|v| values.iter().all(|w| w != v))
                }
                Requirement::Exists(key) => label(key).is_some(),
                Requirement::Missing(key) => label(key).is_none(),
                Requirement::Greater(key, than) => number(label(key)).is_some_and(|n| n > *than),
                Requirement::Less(key, than) => number(label(key)).is_some_and(|n| n < *than),
                Requirement::Never => false,
            })
    }

    /// Whether an object's labels fulfil every condition.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        self.matches_with(|key| labels?.get(key)?.as_str())
    }

    /// The text form, as `status.selector` of a `Scale` carries it.
    pub fn to_query(&self) -> String {
        let parts: Vec<String> = self
            .requirements
            .iter()
            .map(|requirement| match requirement {
                Requirement::In(key, values) if values.len() == 1 => format!("{key}={}", values[0]),
                Requirement::In(key, values) => format!("{key} in ({})", values.join(",")),
                Requirement::NotIn(key, values) if values.len() == 1 => {
                    format!("{key}!={}", values[0])
                }
                Requirement::NotIn(key, values) => format!("{key} notin ({})", values.join(",")),
                Requirement::Exists(key) => key.clone(),
                Requirement::Missing(key) => format!("!{key}"),
                Requirement::Greater(key, than) => format!("{key}>{than}"),
                Requirement::Less(key, than) => format!("{key}<{than}"),
                Requirement::Never => "<none>".into(),
            })
            .collect();
        parts.join(",")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Symbol(&'static str),
}

const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

fn tokens(text: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(symbol) = SYMBOLS.into_iter().find(|s| rest.starts_with(s)) {
            out.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
        } else {
            let end = rest
                .find(|c: char| c.is_whitespace() || "=!(),<>".contains(c))
                .unwrap_or(rest.len());
            out.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    out
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn selector(mut self) -> Result<Vec<Requirement>, String> {
        let mut out = Vec::new();
        if self.tokens.is_empty() {
            return Ok(out);
        }
        loop {
            out.push(self.requirement()?);
            match self.next() {
                None => return Ok(out),
                Some(Token::Symbol(",")) => {}
                Some(other) => return Err(found(Some(&other), "',' or 'end of string'")),
            }
        }
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn key(&mut self) -> Result<String, String> {
        match self.next() {
            Some(Token::Word(key)) => match metadata::qualified_name(&key).first() {
                None => Ok(key),
                Some(why) => Err(format!("key: Invalid value: {key:?}: {why}")),
            },
            other => Err(found(other.as_ref(), "identifier")),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.peek() == Some(&Token::Symbol("!")) {
            self.at += 1;
            return Ok(Requirement::Missing(self.key()?));
        }
        let key = self.key()?;
        match self.peek() {
            None | Some(Token::Symbol(",")) => return Ok(Requirement::Exists(key)),
            _ => {}
        }
        match self.next() {
            Some(Token::Symbol("=" | "==")) => Ok(Requirement::In(key, vec![self.value()?])),
            Some(Token::Symbol("!=")) => Ok(Requirement::NotIn(key, vec![self.value()?])),
            Some(Token::Symbol(symbol @ (">" | "<"))) => {
                let text = self.value()?;
                let number = text.parse().map_err(|_| {
                    format!("for 'Gt', 'Lt' operators, the value must be an integer: {text:?}")
                })?;
                let requirement = if symbol == ">" {
                    Requirement::Greater
                } else {
                    Requirement::Less
                };
                Ok(requirement(key, number))
            }
            Some(Token::Word(word)) if word == "in" => Ok(Requirement::In(key, self.values()?)),
            Some(Token::Word(word)) if word == "notin" => {
                Ok(Requirement::NotIn(key, self.values()?))
            }
            other => Err(found(other.as_ref(), "in, notin, =, ==, !=, gt, lt")),
        }
    }

    /// A value; nothing before a comma or the end is the empty value.
    fn value(&mut self) -> Result<String, String> {
        match self.peek() {
            None | Some(Token::Symbol("," | ")")) => Ok(String::new()),
            Some(Token::Word(_)) => match self.next() {
                Some(Token::Word(value)) => match metadata::label_value(&value).first() {
                    None => Ok(value),
                    Some(why) => Err(format!("values[0]: Invalid value: {value:?}: {why}")),
                },
                other => Err(found(other.as_ref(), "identifier")),
            },
            other => Err(found(other, "identifier")),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            Some(Token::Symbol("(")) => {}
            other => return Err(found(other.as_ref(), "'('")),
        }
        let mut out = Vec::new();
        loop {
            out.push(self.value()?);
            match self.next() {
                Some(Token::Symbol(",")) => {}
                Some(Token::Symbol(")")) => return Ok(out),
                other => return Err(found(other.as_ref(), "',', or ')'")),
            }
        }
    }
}

fn found(token: Option<&Token>, expected: &str) -> String {
    let text = match token {
        Some(Token::Word(word)) => word,
        Some(Token::Symbol(symbol)) => *symbol,
        None => "",
    };
    format!("found '{text}', expected: {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn matches(selector: &str, labels: Value) -> bool {
        LabelSelector::parse(selector)
            .unwrap()
            .matches(&json!({"metadata": {"labels": labels}}))
    }

    #[test]
    fn query_strings() {
        let labels = json!({"app": "web", "tier": "1", "empty": ""});
        for (selector, want) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web , tier", true),
            ("app=db", false),
            ("app!=db", true),
            ("app!=web", false),
            ("missing!=x", true),
            ("app in (db, web)", true),
            ("app notin (db)", true),
            ("missing notin (a)", true),
            ("missing in (a)", false),
            ("app", true),
            ("missing", false),
            ("!missing", true),
            ("!app", false),
            ("tier>0", true),
            ("tier<1", false),
            ("app>0", false),
            ("empty=", true),
            ("empty in ()", true),
            ("kubernetes.io/os!=linux", true),
        ] {
            assert_eq!(matches(selector, labels.clone()), want, "{selector}");
        }
    }

    #[test]
    fn mistakes() {
        for (selector, want) in [
            (
                "a=b=c",
                "unable to parse requirement: found '=', expected: ',' or 'end of string'",
            ),
            (
                "=b",
                "unable to parse requirement: found '=', expected: identifier",
            ),
            (
                "a in b",
                "unable to parse requirement: found 'b', expected: '('",
            ),
            (
                "a in (b",
                "unable to parse requirement: found '', expected: ',', or ')'",
            ),
            (
                "a,",
                "unable to parse requirement: found '', expected: identifier",
            ),
        ] {
            let status = LabelSelector::parse(selector).unwrap_err();
            assert_eq!((status.code(), status.message()), (400, want));
        }
        assert!(LabelSelector::parse("a=b/c").is_err() && LabelSelector::parse("a/b/c").is_err());
    }

    #[test]
    fn objects() {
        let pod = json!({"metadata": {"labels": {"app": "web"}}});
        for (selector, want) in [
            (json!(null), false),
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "db"}}), false),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}),
                false,
            ),
        ] {
            assert_eq!(
                LabelSelector::from_object(&selector).unwrap().matches(&pod),
                want,
                "{selector}"
            );
        }
        assert!(
            LabelSelector::from_object(
                &json!({"matchExpressions": [{"key": "a", "operator": "Near"}]})
            )
            .is_err()
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-z=!(), <>/.]{0,30}|.{0,20}") {
            if let Ok(selector) = LabelSelector::parse(&text) {
                selector.matches(&json!({}));
                prop_assert_eq!(LabelSelector::parse(&selector.to_query()).unwrap(), selector);
            }
        }
    }
}
