//! The configuration as a JSON Schema, for editors: made from the commented defaults, as [`super::reference`] reads them.
//!
//! It knows keys, types and texts. What values mean together is for `check` to say: a configuration that `check` calls good
//! is valid, and not the other way round.

use serde_json::{Map, Value, json};

use super::reference::{Section, Setting, sections};

/// The schema, by JSON Schema 2020-12.
#[must_use]
pub fn schema() -> Value {
    let mut root = table();
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("The configuration of mfa-courier");
    for section in sections() {
        let place = descend(&mut root, &section.path, section.repeats);
        if !section.about.is_empty() {
            place["description"] = json!(section.about);
        }
        for setting in &section.settings {
            place["properties"][&setting.key] = of_setting(&section, setting);
        }
        // Providers have the settings of their kinds.
        if section.path.first().is_some_and(|first| first == "providers") && section.path.len() > 1 {
            place["additionalProperties"] = json!(true);
        }
    }
    root
}

fn table() -> Value {
    json!({"type": "object", "properties": {}, "additionalProperties": false})
}

/// The schema of the table at `path`, made where it is missing.
fn descend<'v>(from: &'v mut Value, path: &[String], repeats: bool) -> &'v mut Value {
    let Some((first, rest)) = path.split_first() else { return from };
    let slot = match first.as_str() {
        "<name>" => &mut from["additionalProperties"],
        key => &mut from["properties"][key],
    };
    if !slot.is_object() {
        *slot = if repeats && rest.is_empty() { json!({"type": "array", "items": table()}) } else { table() };
    }
    let inside = if slot["type"] == "array" { &mut slot["items"] } else { slot };
    descend(inside, rest, repeats)
}

fn of_setting(section: &Section, setting: &Setting) -> Value {
    let parsed = format!("value = {}", setting.value).parse::<toml::Table>().ok();
    let example = parsed.and_then(|mut table| table.remove("value"));
    let mut schema = example.as_ref().map(|example| of_value(section, setting, example)).unwrap_or_default();
    if !setting.about.is_empty() {
        schema.insert("description".to_owned(), json!(setting.about));
    }
    if let Some(example) = example.and_then(|example| serde_json::to_value(example).ok()) {
        let (name, value) = if setting.is_default { ("default", example) } else { ("examples", json!([example])) };
        schema.insert(name.to_owned(), value);
    }
    Value::Object(schema)
}

/// The type that the default or the example has. Tables and lists have several forms, and are left open.
fn of_value(section: &Section, setting: &Setting, example: &toml::Value) -> Map<String, Value> {
    let of_kind = |kind: Value| Map::from_iter([("type".to_owned(), kind)]);
    let is_secret = setting.about.contains("Secret") || is_reference(example);
    match example {
        _ if is_secret => Map::from_iter([("anyOf".to_owned(), secret())]),
        // A table again: a provider's setting for one channel alone, or another form of the same.
        toml::Value::String(_) if section.path.len() > 1 && section.path[0] == "providers" => Map::new(),
        toml::Value::String(text) if is_duration(text) => {
            let mut schema = of_kind(json!("string"));
            schema.insert("pattern".to_owned(), json!("^[0-9]+(ms|s|m|h)$"));
            schema
        }
        toml::Value::String(_) => of_kind(json!("string")),
        toml::Value::Integer(_) => of_kind(json!("integer")),
        toml::Value::Float(_) => of_kind(json!("number")),
        toml::Value::Boolean(_) => of_kind(json!("boolean")),
        toml::Value::Array(_) | toml::Value::Table(_) | toml::Value::Datetime(_) => Map::new(),
    }
}

fn is_reference(example: &toml::Value) -> bool {
    example
        .as_table()
        .is_some_and(|table| table.len() == 1 && (table.contains_key("env") || table.contains_key("file")))
}

fn is_duration(text: &str) -> bool {
    super::read::parse_duration(text).is_some()
}

/// A string, or where one is.
fn secret() -> Value {
    let elsewhere = |key: &str| {
        json!({
            "type": "object", "properties": {key: {"type": "string"}}, "required": [key],
            "additionalProperties": false,
        })
    };
    json!([{"type": "string"}, elsewhere("env"), elsewhere("file")])
}
