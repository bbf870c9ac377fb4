//! Manifests of a board's own pods, compiled to what its agent runs.
//!
//! In: text that a person wrote. Out: pods, ConfigMaps and Secrets as the agent takes them, or what is wrong. A
//! file counts as a whole. The same decoding, defaults and checks as the API's, strict about fields that are
//! not known.

use std::fs::File as FsFile;
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Result, ensure};
use bramble_api::admit;
use bramble_api::decode::{self, FieldValidation};
use bramble_api::kind::{self, Kind};
use bramble_api::view;
use bramble_controller_core::document;
use bramble_wire::manifest::{FILE_MAX, File, Made, OUTPUT_MAX};
use bramble_wire::object::{ConfigMap, ObjectName, PodUid, SecretData};
use serde_json::Value;

use crate::args::CompilePods;

/// Carries out `bramble compile-pods`, for the agent.
pub(crate) fn run(args: &CompilePods) -> Result<()> {
    let compile = |name: &String| File {
        name: name.clone(),
        made: read(&args.directory.join(name)).and_then(|text| made(name, &text)),
    };
    let files: Vec<File> = args.files.iter().map(compile).collect();
    let bytes = bramble_wire::encode(&files);
    ensure!(
        bytes.len() <= OUTPUT_MAX,
        "the manifests make more than {OUTPUT_MAX} bytes"
    );
    std::io::stdout().write_all(&bytes)?;
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let file = FsFile::open(path).map_err(|error| error.to_string())?;
    let read = file.take(FILE_MAX + 1).read_to_end(&mut text);
    read.map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_MAX {
        return Err(format!("it has more than {FILE_MAX} bytes"));
    }
    Ok(text)
}

/// What a file of this name says.
pub(crate) fn made(file: &str, text: &[u8]) -> Result<Made, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not text".to_owned())?;
    let mut made = Made::default();
    for document in documents(text) {
        add(file, &document, &mut made)?;
    }
    if made == Made::default() {
        return Err("there is nothing in it".to_owned());
    }
    Ok(made)
}

/// The documents of a YAML stream. A line that begins with `---` ends one wherever it stands.
fn documents(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.lines() {
        let rest = line.strip_prefix("---");
        let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if rest.is_some() {
            all.push(String::new());
        }
        if let Some(document) = all.last_mut() {
            document.push_str(rest.unwrap_or(line));
            document.push('\n');
        }
    }
    let says = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    all.retain(|document| document.lines().any(says));
    all
}

fn add(file: &str, document: &str, made: &mut Made) -> Result<(), String> {
    let (value, _) = decode::configuration(document.as_bytes()).map_err(|e| e.to_string())?;
    let said = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let wanted = match (said("apiVersion"), said("kind")) {
        ("v1", kind @ ("Pod" | "ConfigMap" | "Secret")) => kind::find_kind("", "v1", kind),
        _ => None,
    };
    let Some(kind) = wanted else {
        let (version, kind) = (said("apiVersion"), said("kind"));
        return Err(format!(
            "{version} {kind}: only Pods, ConfigMaps and Secrets of v1 can be a board's own"
        ));
    };
    let (value, key) = admitted(file, kind, document).map_err(|error| {
        let name = value.pointer("/metadata/name").and_then(Value::as_str);
        format!(
            "{} {}: {error}",
            kind.kind,
            name.unwrap_or("without a name")
        )
    })?;
    let bytes = value.to_string().into_bytes();
    let unreadable = |error: serde_json::Error| error.to_string();
    match kind.kind {
        "Pod" => {
            let pod: view::FullPod = view::decode(&bytes).map_err(unreadable)?;
            let compiled = document::compile_pod(&pod).map_err(|error| error.to_string())?;
            made.pods.push(bramble_wire::object::Pod {
                uid: key,
                // Nothing but this board decides about it.
                once: false,
                ..compiled
            });
        }
        "ConfigMap" => {
            let map: view::ConfigMap = view::decode(&bytes).map_err(unreadable)?;
            made.config_maps.push(ConfigMap {
                name: name_of(&value),
                data: map.bytes(),
            });
        }
        _ => {
            let secret: view::Secret = view::decode(&bytes).map_err(unreadable)?;
            let data = SecretData(secret.bytes());
            made.secrets.push((name_of(&value), data));
        }
    }
    Ok(())
}

/// An object as the API would store it, and the hash of it as it was written.
fn admitted(file: &str, kind: &'static Kind, document: &str) -> Result<(Value, PodUid), String> {
    let yaml = Some("application/yaml");
    let decoded = decode::body(yaml, document.as_bytes(), kind, FieldValidation::Strict);
    let mut value = decoded.map_err(|error| error.to_string())?.value;
    let namespace = value.pointer("/metadata/namespace").and_then(Value::as_str);
    let namespace = namespace.unwrap_or("default").to_owned();
    let mut hash = blake3::Hasher::new();
    for part in [file, &namespace, &value.to_string()] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize().as_bytes()[..16]);
    let key = PodUid(key);
    let context = admit::Create {
        now: crate::now(),
        uid: &key.to_string(),
        suffix: "",
        namespace: Some(&namespace),
    };
    let named = value
        .pointer("/metadata/name")
        .is_some_and(Value::is_string);
    if !named {
        return Err("metadata.name is missing".to_owned());
    }
    admit::create(kind, &mut value, &context).map_err(|error| error.to_string())?;
    Ok((value, key))
}

fn name_of(value: &Value) -> ObjectName {
    let text = |pointer: &str| {
        let text = value.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    ObjectName {
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "\
apiVersion: v1
kind: Pod
metadata: { name: kiosk }
spec:
  hostNetwork: true
  containers:
    - { name: main, image: kiosk:v1 }
";

    #[test]
    fn a_file_says_pods_and_what_they_read() {
        let text = format!(
            "# ours\n---\n{POD}--- # its settings\napiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: c }}\n\
             data: {{ a: b }}\n---\napiVersion: v1\nkind: Secret\nmetadata: {{ name: s, namespace: lab }}\n\
             stringData: {{ k: v }}\n"
        );
        let made = made("a.yaml", text.as_bytes()).unwrap();
        let pod = &made.pods[0];
        assert_eq!(pod.name.to_string(), "default/kiosk");
        assert!(pod.host_network);
        assert_eq!(pod.containers[0].image, "kiosk:v1");
        assert_eq!(made.config_maps[0].data["a"], b"b");
        assert_eq!(made.secrets[0].0.to_string(), "lab/s");
        assert_eq!(made.secrets[0].1.0["k"], b"v");
    }

    #[test]
    fn what_is_written_makes_the_uid_and_what_is_not_does_not() {
        let uid = |file: &str, text: &str| made(file, text.as_bytes()).unwrap().pods[0].uid;
        let first = uid("a.yaml", POD);
        assert_eq!(uid("a.yaml", &format!("# a word\n{POD}")), first);
        assert_ne!(uid("b.yaml", POD), first);
        assert_ne!(uid("a.yaml", &POD.replace("v1 }", "v2 }")), first);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: d }\n";
        for (text, why) in [
            ("", "nothing in it"),
            ("# only a word\n---\n", "nothing in it"),
            ("a: [", "YAML"),
            ("\u{0}\u{1}", "YAML"),
            (deployment, "apps/v1 Deployment"),
            (&POD.replace("image:", "imag:"), "imag"),
            (&POD.replace("name: kiosk", "name: Kiosk_"), "Pod Kiosk_"),
            (&POD.replace("name: kiosk", "labels: {}"), "name is missing"),
            // Half of it is there.
            (&POD[..60], "Pod kiosk"),
        ] {
            let error = made("a.yaml", text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        assert!(made("a.yaml", &[0xff, 0xfe]).is_err());
    }
}
