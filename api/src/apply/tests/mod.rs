//! Cases of structured-merge-diff and apimachinery, told with served kinds; and properties.

mod items;
mod ownership;
mod properties;
mod sets;
mod upgrade;
mod walks;

use super::*;
use crate::kind;
use serde_json::json;

/// An object on a server with nothing but server-side apply.
struct Server {
    kind: &'static Kind,
    object: Option<Value>,
    seconds: u32,
}

/// YAML as a value.
fn yaml(text: &str) -> Value {
    decode::untyped(Some("application/yaml"), text.as_bytes()).unwrap()
}

impl Server {
    fn of(resource: &str) -> Self {
        let group = match resource {
            "deployments" => "apps",
            _ => "",
        };
        Self {
            kind: kind::find(group, "v1", resource).unwrap(),
            object: None,
            seconds: 0,
        }
    }

    /// With an object that nobody applied.
    fn with(resource: &str, object: &str) -> Self {
        let mut server = Self::of(resource);
        let mut object = server.full(yaml(object));
        object["metadata"]["uid"] = "u".into();
        server.object = Some(server.stored(object));
        server
    }

    /// With its kind and name.
    fn full(&self, mut config: Value) -> Value {
        if config.is_null() {
            config = json!({});
        }
        config["apiVersion"] = self.kind.api_version().into();
        config["kind"] = self.kind.kind.into();
        config["metadata"]["name"] = "x".into();
        config
    }

    fn stored(&self, object: Value) -> Value {
        decode::check(self.kind, object, FieldValidation::Ignore)
            .unwrap()
            .value
    }

    fn request<'a>(&mut self, manager: &'a str, subresource: Option<&'a str>) -> Request<'a> {
        self.seconds += 1;
        let now = format!(
            "2026-01-01T00:{:02}:{:02}Z",
            self.seconds / 60,
            self.seconds % 60
        );
        Request {
            kind: self.kind,
            subresource,
            manager,
            force: false,
            now: Timestamp::parse(&now).unwrap(),
        }
    }

    fn run(&mut self, request: &Request<'_>, config: &Value) -> Result<(), Status> {
        let applied = apply(request, self.object.as_ref(), config)?;
        let mut object = self.stored(applied.object);
        object["metadata"]["uid"] = "u".into();
        set_managed_fields(&mut object, applied.managed_fields);
        if !self
            .object
            .as_ref()
            .is_some_and(|old| is_same(old, &object))
        {
            self.object = Some(object);
        }
        Ok(())
    }

    fn try_apply(&mut self, manager: &str, config: &str) -> Result<(), Status> {
        let config = self.full(yaml(config));
        let request = self.request(manager, None);
        self.run(&request, &config)
    }

    #[track_caller]
    fn apply(&mut self, manager: &str, config: &str) -> &mut Self {
        self.try_apply(manager, config).unwrap();
        self
    }

    #[track_caller]
    fn force(&mut self, manager: &str, config: &str) -> &mut Self {
        let config = self.full(yaml(config));
        let mut request = self.request(manager, None);
        request.force = true;
        self.run(&request, &config).unwrap();
        self
    }

    /// The fields in conflict, with their owners.
    #[track_caller]
    fn conflicts(&mut self, manager: &str, config: &str) -> Vec<String> {
        let before = self.object.clone();
        let status = self.try_apply(manager, config).unwrap_err();
        assert_eq!(
            (status.code(), status.reason()),
            (409, "Conflict"),
            "{status}"
        );
        assert_eq!(self.object, before);
        let causes = &status.details().unwrap().causes;
        assert!(causes.iter().all(|c| c.reason == "FieldManagerConflict"));
        causes
            .iter()
            .map(|c| format!("{}: {}", c.message, c.field))
            .collect()
    }

    /// A write of the whole object that is no apply.
    fn replace(&mut self, manager: &str, object: &str) -> &mut Self {
        let object = self.full(yaml(object));
        self.write(manager, None, |live| {
            let metadata = live["metadata"].clone();
            *live = object;
            for key in ["uid", "managedFields"] {
                if let Some(value) = metadata.get(key) {
                    live["metadata"][key] = value.clone();
                }
            }
        })
    }

    fn write(
        &mut self,
        manager: &str,
        subresource: Option<&str>,
        change: impl FnOnce(&mut Value),
    ) -> &mut Self {
        let old = self.object.clone().unwrap();
        let mut new = old.clone();
        change(&mut new);
        let sent = Sent::take(&mut new);
        let mut new = self.stored(new);
        update(&self.request(manager, subresource), &old, &mut new, &sent);
        self.object = Some(new);
        self
    }

    fn live(&self) -> &Value {
        self.object.as_ref().unwrap()
    }

    /// Checks the object, without its name and managed fields.
    #[track_caller]
    fn is(&mut self, want: &str) -> &mut Self {
        let mut want = self.full(yaml(want));
        want["metadata"]["uid"] = "u".into();
        assert_eq!(without_managed(self.live()), want);
        self
    }

    /// What a manager owns, one path a line, sorted.
    fn owned(&self, manager: &str) -> Vec<String> {
        let managers = Managers::decode(live_managers(self.live())).unwrap();
        let mut out: Vec<String> = managers
            .0
            .iter()
            .filter(|(id, _)| id.manager == manager)
            .flat_map(|(_, owned)| owned.fields.paths())
            .map(|path| show(&path))
            .collect();
        out.sort();
        out
    }

    #[track_caller]
    fn owns(&mut self, manager: &str, want: &[&str]) -> &mut Self {
        let mut want = want.to_vec();
        want.sort_unstable();
        assert_eq!(self.owned(manager), want, "{manager}");
        self
    }

    /// Managers with their operations, as listed.
    fn managers(&self) -> Vec<String> {
        let list = live_managers(self.live()).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .map(|entry| {
                let text = |key: &str| entry[key].as_str().unwrap_or("-");
                let sub = entry["subresource"].as_str().unwrap_or_default();
                format!("{} {} {sub}", text("manager"), text("operation"))
                    .trim_end()
                    .to_owned()
            })
            .collect()
    }

    fn time_of(&self, manager: &str) -> String {
        let list = live_managers(self.live())
            .and_then(Value::as_array)
            .unwrap();
        let entry = list.iter().find(|e| e["manager"] == manager).unwrap();
        entry["time"].as_str().unwrap().to_owned()
    }
}
