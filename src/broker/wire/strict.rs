//! JSON read strictly: no key twice in one object, no deep nesting, nothing after the end.
//!
//! `serde_json::Value` keeps the last of two equal keys in silence; whoever signs or checks a message may
//! have looked at the first.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deepest nesting that is read.
const MAX_DEPTH: u8 = 16;

/// Reads a JSON object.
///
/// # Errors
/// What is wrong, without any of the content.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }.deserialize(&mut from).map_err(|why| shape_of(&why))?;
    from.end().map_err(|why| shape_of(&why))?;
    match value {
        Value::Object(map) => Ok(map),
        _ => Err("not a JSON object".to_owned()),
    }
}

/// What went wrong and where; serde's own text may quote the content.
fn shape_of(why: &serde_json::Error) -> String {
    let kind = match why.classify() {
        serde_json::error::Category::Eof => "ends too early",
        serde_json::error::Category::Syntax => "not JSON",
        serde_json::error::Category::Data if why.to_string().starts_with(DUPLICATE) => "has a key twice",
        serde_json::error::Category::Data | serde_json::error::Category::Io => "not JSON that is read here",
    };
    format!("{kind}, at line {} column {}", why.line(), why.column())
}

const DUPLICATE: &str = "duplicate key";

struct Strict {
    depth: u8,
}

impl Strict {
    fn inner<E: Error>(&self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH { Err(E::custom("nested too deep")) } else { Ok(Self { depth }) }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.inner()?)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self.inner()?)?;
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom(DUPLICATE));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hostile inputs 21 to 26.
    #[test]
    fn reads_only_one_clean_object() {
        assert!(object(br#" {"a": {"b": [1, "x", null, true]}} "#).is_ok());
        let deep = "[".repeat(100_000);
        let nested = format!("{}1{}", r#"{"a":"#.repeat(17), "}".repeat(17));
        for bad in [
            "",
            "{",
            "null",
            "[]",
            "\"x\"",
            "{} {}",
            "\u{feff}{}",
            r#"{"a":1,"a":1}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            &deep,
            &nested,
            r#"{"a":1e400}"#,
            r#"{"a":NaN}"#,
            r#"{"a":"\ud800"}"#,
        ] {
            assert!(object(bad.as_bytes()).is_err(), "{}", &bad[..bad.len().min(20)]);
        }
        assert!(object(b"{\"a\":\"\xc0\xaf\"}").is_err() && object(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn says_what_is_wrong_without_quoting() {
        let why = object(br#"{"code":"123456","code":"1"}"#).expect_err("refused");
        assert!(why.starts_with("has a key twice") && !why.contains("123456"), "{why}");
    }
}
