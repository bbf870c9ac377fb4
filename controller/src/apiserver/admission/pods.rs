//! What a new pod gets from its namespace and the cluster, in upstream's order of plugins.

use bramble_api::status::Status;
use bramble_controller_core::admission::{account, limits, priority, tolerations};
use serde_json::Value;

use super::{Admission, Attributes, early_name, name_of};
use crate::object;

impl Admission {
    pub(super) fn mutate_pod(
        &self,
        attributes: &Attributes<'_>,
        pod: &mut Value,
    ) -> Result<(), Status> {
        let namespace = attributes.namespace.unwrap_or_default();
        let ranges = self.all("", "limitranges", Some(namespace))?;
        limits::default_pod(pod, &ranges);
        if account::is_mirror(pod) {
            account::check_mirror(pod)
                .map_err(|why| attributes.forbidden(early_name(pod), &why))?;
        } else {
            let found = self.account_of(attributes, pod)?;
            let suffix = object::suffix().map_err(Status::internal)?;
            account::assign(pod, &found, &suffix);
        }
        let classes = self.all("scheduling.k8s.io", "priorityclasses", None)?;
        priority::resolve(pod, &classes)
            .map_err(|why| attributes.forbidden(early_name(pod), &why))?;
        tolerations::default_pod(pod);
        Ok(())
    }

    fn account_of(&self, attributes: &Attributes<'_>, pod: &Value) -> Result<Value, Status> {
        let namespace = attributes.namespace.unwrap_or_default();
        let name = account::name_of(pod);
        let found = self.find("", "serviceaccounts", namespace, name);
        found.ok_or_else(|| {
            let why = format!(
                "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
            );
            attributes.forbidden(early_name(pod), &why)
        })
    }

    /// The secrets that a pod's account allows it.
    pub(super) fn check_account(
        &self,
        attributes: &Attributes<'_>,
        pod: &Value,
    ) -> Result<(), Status> {
        if account::is_mirror(pod) {
            return Ok(());
        }
        let found = self.account_of(attributes, pod)?;
        let check = if attributes.adds_debug_containers() {
            account::check_debug_secrets
        } else {
            account::check_secrets
        };
        check(pod, &found).map_err(|why| attributes.forbidden(name_of(pod), &why))
    }

    /// Pods and claims keep within the namespace's LimitRanges.
    pub(super) fn check_limits(
        &self,
        attributes: &Attributes<'_>,
        object: &Value,
    ) -> Result<(), Status> {
        let namespace = attributes.namespace.unwrap_or_default();
        let check = match attributes.kind.plural {
            "pods" => limits::check_pod,
            _ => limits::check_claim,
        };
        for range in self.all("", "limitranges", Some(namespace))? {
            check(object, &range).map_err(|why| attributes.forbidden(name_of(object), &why))?;
        }
        Ok(())
    }
}
