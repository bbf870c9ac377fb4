//! Protobuf side: field numbers out of `k8s-pb`.

use anyhow::Result;
use std::collections::BTreeMap;
use std::path::Path;
use syn::Item;

/// A field as protobuf knows it.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    /// Lower case without underscores: the one form in which the two crates' names agree.
    pub(crate) squashed: String,
    pub(crate) number: u32,
    /// Definition of the message, for message fields that are not lists or maps.
    pub(crate) message: Option<String>,
}

/// Definition name in lower case → fields.
pub(crate) type Numbers = BTreeMap<String, Vec<Field>>;

pub(crate) fn squash(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

pub(crate) fn read(root: &Path) -> Result<Numbers> {
    let mut files = Vec::new();
    crate::openapi::walk(root, &mut files)?;
    let mut out = Numbers::new();
    for path in files {
        let folder = path.parent().unwrap_or(root).strip_prefix(root)?;
        let module: Vec<String> = folder
            .iter()
            .map(|s| s.to_string_lossy().into_owned())
            .collect();
        let file = syn::parse_file(&std::fs::read_to_string(&path)?)?;
        for item in &file.items {
            let Item::Struct(item) = item else { continue };
            let fields = item
                .fields
                .iter()
                .filter_map(|f| field(f, &module))
                .collect();
            out.insert(definition(&module, &item.ident.to_string()), fields);
        }
    }
    Ok(out)
}

/// `api::core::v1` and `Pod` → `io.k8s.api.core.v1.pod`. Lower case, since prost renames
/// `TCPSocketAction` to `TcpSocketAction`.
fn definition(module: &[String], name: &str) -> String {
    let path = module
        .join(".")
        .replace("apiextensions_apiserver", "apiextensions-apiserver");
    format!("io.k8s.{path}.{name}").to_lowercase()
}

fn field(field: &syn::Field, module: &[String]) -> Option<Field> {
    let attribute = field.attrs.iter().find(|a| a.path().is_ident("prost"))?;
    let syn::Meta::List(list) = &attribute.meta else {
        return None;
    };
    let tokens = list.tokens.to_string();
    let number = tokens
        .split("tag = \"")
        .nth(1)?
        .split('"')
        .next()?
        .parse()
        .ok()?;
    let message = (tokens.starts_with("message") && !tokens.contains("repeated"))
        .then(|| resolve(&field.ty, module))
        .flatten();
    let name = field.ident.as_ref()?.to_string();
    Some(Field {
        squashed: squash(name.trim_start_matches("r#")),
        number,
        message,
    })
}

/// The definition behind `Option<super::super::X>` or `Option<Box<X>>`.
fn resolve(ty: &syn::Type, module: &[String]) -> Option<String> {
    let syn::Type::Path(path) = ty else {
        return None;
    };
    let last = path.path.segments.last()?;
    if let syn::PathArguments::AngleBracketed(args) = &last.arguments {
        return args.args.iter().find_map(|a| match a {
            syn::GenericArgument::Type(inner) => resolve(inner, module),
            _ => None,
        });
    }
    let mut at = module.to_vec();
    let segments: Vec<String> = path
        .path
        .segments
        .iter()
        .map(|s| s.ident.to_string())
        .collect();
    let (name, folders) = segments.split_last()?;
    for folder in folders {
        if folder == "super" {
            at.pop();
        } else {
            at.push(folder.clone());
        }
    }
    Some(definition(&at, name))
}
