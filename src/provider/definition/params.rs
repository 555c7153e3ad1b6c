//! What fills the places of a text that a vendor approved beforehand: which values, and under which names or in
//! which order, is the operator's to say, since the vendor holds the text.
//!
//! The setting names variables, parted by commas: `code, minutes`; a name of the vendor's own stands before its
//! variable: `product=tenant, code`. A definition says with `list` or `object` in which shape they go. Values stay
//! values: they are put into JSON by its own library.

use serde_json::{Map, Value};

use super::request::Unfit;
use super::variables::{SETTINGS, Values};

/// The variables that a person may be told.
pub const VARIABLES: [&str; 6] = ["code", "minutes", "purpose", "tenant", "text", "language"];

/// In which shape the values go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An array, in the order of the setting.
    List,
    /// An object, by name.
    Object,
}

/// The places of an approved text.
#[derive(Clone, Debug)]
pub struct Params {
    /// The setting that names the variables.
    pub(super) setting: String,
    pub(super) shape: Shape,
}

impl Params {
    /// The values for one message.
    pub(super) fn fill(&self, place: &str, values: &Values<'_>) -> Result<Value, Unfit> {
        let missing = |variable: &str| Unfit::Missing { place: place.to_owned(), variable: variable.to_owned() };
        let variable = format!("{SETTINGS}{}", self.setting);
        let named = values.get(&variable).ok_or_else(|| missing(&variable))?;
        let named = parse(&named).ok_or_else(|| missing(&variable))?;
        let filled = named.into_iter().map(|(name, variable)| {
            let value = values.get(variable).ok_or_else(|| missing(variable))?;
            Ok((name, Value::String(value.into_owned())))
        });
        Ok(match self.shape {
            Shape::List => Value::Array(filled.map(|pair| pair.map(|(_, value)| value)).collect::<Result<_, _>>()?),
            Shape::Object => {
                let pairs = filled.map(|pair| pair.map(|(name, value)| (name.to_owned(), value)));
                Value::Object(pairs.collect::<Result<Map<_, _>, _>>()?)
            }
        })
    }
}

/// The names and variables of a setting; `None` where it names a variable that is none, or a name twice.
#[must_use]
pub fn parse(text: &str) -> Option<Vec<(&str, &str)>> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for part in text.split(',') {
        let (name, variable) = part.split_once('=').unwrap_or((part, part));
        let (name, variable) = (name.trim(), variable.trim());
        let is_repeated = pairs.iter().any(|(earlier, _)| *earlier == name);
        if name.is_empty() || is_repeated || !VARIABLES.contains(&variable) {
            return None;
        }
        pairs.push((name, variable));
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_names_variables_in_order() {
        assert_eq!(parse("code"), Some(vec![("code", "code")]));
        assert_eq!(parse(" code , time=minutes "), Some(vec![("code", "code"), ("time", "minutes")]));
        for bad in ["", "code,", "=code", "cod", "time=", "settings.key", "to", "code, code", "a=code, a=text"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
