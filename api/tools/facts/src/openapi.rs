//! JSON side: struct definitions, field names and merge strategies out of `k8s-openapi`.

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::path::Path;
use syn::{GenericArgument, Item, PathArguments, Type};

/// How a field's values are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    One,
    List,
    Map,
    MapOfLists,
}

/// What a value is: a scalar's name in the table, or the definition of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Of {
    Scalar(&'static str),
    Message(String),
}

/// A field as JSON knows it.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) json: String,
    pub(crate) shape: Shape,
    pub(crate) of: Of,
    pub(crate) required: bool,
    pub(crate) merge: Merge,
}

/// How lists merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Merge {
    None,
    Atomic,
    Set,
    Keys(Vec<String>),
}

/// Definition name → fields.
pub(crate) type Messages = BTreeMap<String, Vec<Field>>;

pub(crate) fn read(root: &Path) -> Result<Messages> {
    let mut files = Vec::new();
    walk(root, &mut files)?;
    // Types are named by Rust path; definitions by the comment in the first line of their file.
    let mut names = BTreeMap::new();
    let mut texts = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let Some(definition) = text
            .lines()
            .next()
            .and_then(|l| l.strip_prefix("// Generated from definition "))
            .map(str::to_owned)
        else {
            continue;
        };
        let folder = file
            .parent()
            .context("a file has a folder")?
            .strip_prefix(root)?;
        let module = folder.to_string_lossy().replace('/', "::");
        let short = definition.rsplit('.').next().unwrap_or_default().to_owned();
        names.insert(format!("{module}::{short}"), definition.clone());
        texts.push((definition, short, text));
    }
    let mut messages = Messages::new();
    for (definition, short, text) in texts {
        // The one generic type; lists are not in the table.
        if definition == "io.k8s.List" {
            continue;
        }
        if let Some(fields) = fields(&short, &text, &names).with_context(|| definition.clone())? {
            messages.insert(definition, fields);
        }
    }
    Ok(messages)
}

pub(crate) fn walk(dir: &Path, out: &mut Vec<std::path::PathBuf>) -> Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(dir)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, out)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
    Ok(())
}

/// The fields of a struct; `None` for enums and newtypes, which the table treats as scalars.
fn fields(short: &str, text: &str, names: &BTreeMap<String, String>) -> Result<Option<Vec<Field>>> {
    let file = syn::parse_file(text)?;
    let json_names = json_names(text);
    let merges = merges(text);
    let is_resource = text.contains(&format!("impl crate::Resource for {short}"));
    for item in &file.items {
        let Item::Struct(item) = item else { continue };
        if item.ident != short {
            continue;
        }
        let named = match &item.fields {
            syn::Fields::Named(named) => named,
            syn::Fields::Unit => return Ok(Some(Vec::new())),
            syn::Fields::Unnamed(_) => return Ok(None),
        };
        let mut out = Vec::new();
        if is_resource {
            for json in ["apiVersion", "kind"] {
                out.push(Field {
                    json: json.into(),
                    shape: Shape::One,
                    of: Of::Scalar("Str"),
                    required: false,
                    merge: Merge::None,
                });
            }
        }
        for field in &named.named {
            let rust = field
                .ident
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            let json = json_names
                .get(&rust)
                .with_context(|| format!("no JSON name for {rust}"))?;
            let (optional, ty) = unwrap_option(&field.ty);
            let (shape, of) = classify(ty, names).with_context(|| rust.clone())?;
            let doc: String = field.attrs.iter().filter_map(doc_text).collect();
            let merge = merges.get(&rust).cloned().unwrap_or(Merge::None);
            // The crate makes fields with a schema default plain too; those are not required.
            let required = !optional && json != "metadata" && !doc.contains("effectively required");
            out.push(Field {
                json: json.clone(),
                shape,
                of,
                required,
                merge,
            });
        }
        out.sort_by(|a, b| a.json.cmp(&b.json));
        return Ok(Some(out));
    }
    Ok(None)
}

fn doc_text(attribute: &syn::Attribute) -> Option<String> {
    let syn::Meta::NameValue(pair) = &attribute.meta else {
        return None;
    };
    match &pair.value {
        syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(text),
            ..
        }) => Some(text.value()),
        _ => None,
    }
}

/// Rust field name → JSON name, from `"key" => Field::Key_key,`.
fn json_names(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| {
            let (json, rust) = line
                .trim()
                .strip_prefix('"')?
                .split_once("\" => Field::Key_")?;
            Some((rust.strip_suffix(',')?.to_owned(), json.to_owned()))
        })
        .collect()
}

/// Rust field name → list strategy, from the `DeepMerge` implementation's calls.
fn merges(text: &str) -> BTreeMap<String, Merge> {
    let mut out = BTreeMap::new();
    for part in text.split("crate::merge_strategies::list::").skip(1) {
        let Some(field) = part.split_once("&mut self.").map(|(_, rest)| {
            rest.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        }) else {
            continue;
        };
        let merge = if part.starts_with("atomic") {
            Merge::Atomic
        } else if part.starts_with("set") {
            Merge::Set
        } else {
            let call = part.split("],").next().unwrap_or_default();
            let keys = call
                .split("|lhs, rhs| lhs.")
                .skip(1)
                .map(|k| k.split(" ==").next().unwrap_or_default())
                // JSON names of the item's fields; they differ from Rust's only by case.
                .map(|k| lower_camel(k.trim_end_matches('_')))
                .collect();
            Merge::Keys(keys)
        };
        out.insert(field, merge);
    }
    out
}

fn lower_camel(snake: &str) -> String {
    let mut out = String::new();
    let mut upper = false;
    for c in snake.chars() {
        if c == '_' {
            upper = true;
        } else if upper {
            out.extend(c.to_uppercase());
            upper = false;
        } else {
            out.push(c);
        }
    }
    out.replace("Id", "ID")
}

fn last_segment(ty: &Type) -> Option<(&syn::PathSegment, String)> {
    let Type::Path(path) = ty else { return None };
    let full: Vec<String> = path
        .path
        .segments
        .iter()
        .map(|s| s.ident.to_string())
        .collect();
    Some((path.path.segments.last()?, full.join("::")))
}

fn inner(segment: &syn::PathSegment, at: usize) -> Option<&Type> {
    let PathArguments::AngleBracketed(args) = &segment.arguments else {
        return None;
    };
    match args.args.iter().nth(at)? {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    }
}

fn unwrap_option(ty: &Type) -> (bool, &Type) {
    match last_segment(ty) {
        Some((segment, _)) if segment.ident == "Option" => (true, inner(segment, 0).unwrap_or(ty)),
        _ => (false, ty),
    }
}

fn classify(ty: &Type, names: &BTreeMap<String, String>) -> Result<(Shape, Of)> {
    let (segment, full) = last_segment(ty).context("a type is a path")?;
    match segment.ident.to_string().as_str() {
        "Box" => classify(inner(segment, 0).context("Box of")?, names),
        "Vec" => {
            let (shape, of) = classify(inner(segment, 0).context("Vec of")?, names)?;
            anyhow::ensure!(shape == Shape::One, "a list of lists");
            Ok((Shape::List, of))
        }
        "BTreeMap" => match classify(inner(segment, 1).context("map of")?, names)? {
            (Shape::One, of) => Ok((Shape::Map, of)),
            (Shape::List, of) => Ok((Shape::MapOfLists, of)),
            other => anyhow::bail!("a map of {other:?}"),
        },
        _ => Ok((Shape::One, scalar_or_message(&full, names)?)),
    }
}

fn scalar_or_message(full: &str, names: &BTreeMap<String, String>) -> Result<Of> {
    let scalar = match full.trim_start_matches("crate::") {
        "std::string::String" => "Str",
        "bool" => "Bool",
        "i32" => "Int32",
        "i64" => "Int64",
        "f64" => "Double",
        "ByteString" => "Bytes",
        path => {
            let definition = names
                .get(path)
                .with_context(|| format!("unknown type {path}"))?;
            match definition.rsplit('.').next().unwrap_or_default() {
                "Time" => "Time",
                "MicroTime" => "MicroTime",
                "Quantity" => "Quantity",
                "IntOrString" => "IntOrString",
                "RawExtension" => "Raw",
                "FieldsV1" => "FieldsV1",
                "JSON"
                | "JSONSchemaPropsOrArray"
                | "JSONSchemaPropsOrBool"
                | "JSONSchemaPropsOrStringArray" => "Any",
                _ => return Ok(Of::Message(definition.clone())),
            }
        }
    };
    Ok(Of::Scalar(scalar))
}
