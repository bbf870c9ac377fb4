//! Pod Security: the namespace's labels decide about its pods, and what changing them would mean.

use bramble_api::status::Status;
use bramble_controller_core::admission::security::{self, Policy};
use serde_json::Value;

use super::{Admission, Attributes, Operation, name_of};

/// Subresources of a pod that can change what it may do.
const SUBRESOURCES: [&str; 2] = ["ephemeralcontainers", "resize"];

impl Admission {
    pub(super) fn check_security(
        &self,
        attributes: &Attributes<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<String>, Status> {
        if attributes.is("", "namespaces") {
            return self.check_labels(attributes, object, old);
        }
        let is_pod = attributes.kind.group.is_empty() && attributes.kind.plural == "pods";
        let looked_at = attributes
            .subresource
            .is_none_or(|sub| is_pod && SUBRESOURCES.contains(&sub));
        let Some(template) = security::template(attributes.kind.kind, object).filter(|_| looked_at)
        else {
            return Ok(Vec::new());
        };
        if is_pod && old.is_some_and(|old| !security::is_significant(object, old)) {
            return Ok(Vec::new());
        }
        let name = attributes.namespace.unwrap_or_default();
        let namespace = self.find("", "namespaces", "", name).unwrap_or_default();
        let (policy, _) = Policy::of(&namespace);
        if policy.is_open() {
            return Ok(Vec::new());
        }
        let warning = security::judge(&policy, template, is_pod)
            .map_err(|why| attributes.forbidden(name_of(object), &why))?;
        Ok(warning.into_iter().collect())
    }

    /// The labels of a namespace can be read; whoever tightens them hears of pods in the wrong.
    fn check_labels(
        &self,
        attributes: &Attributes<'_>,
        namespace: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<String>, Status> {
        let (policy, causes) = Policy::of(namespace);
        let before = old.map(Policy::of);
        let known = before.as_ref().is_some_and(|(_, known)| *known == causes);
        if !causes.is_empty() && !known {
            return Err(attributes.kind.invalid(name_of(namespace), causes));
        }
        match before {
            Some((before, _))
                if attributes.operation == Operation::Update && policy.tightens(&before) =>
            {
                let name = name_of(namespace);
                let pods = self.all("", "pods", Some(name))?;
                Ok(security::namespace_warnings(name, policy.enforce, &pods))
            }
            _ => Ok(Vec::new()),
        }
    }
}
