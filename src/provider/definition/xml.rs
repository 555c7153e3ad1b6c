//! XML as a tree of the definition: what it says and how it nests is data, what a message holds is text.
//!
//! Writing is all that is needed, and a writer of a library leaves two things to its caller that decide
//! whether the other side reads the very value: characters that XML has no way to hold, and line ends and
//! tabs, which a reader folds into spaces. So the few lines stand here, and the tests read them back with a
//! parser of somebody else's.

use std::fmt::Write as _;

use super::request::{Unfit, fill, leave_out};
use super::variables::Values;
use crate::delivery::message::Template;

/// An element, its attributes in order, and what it holds.
#[derive(Clone, Debug)]
pub struct Element {
    pub(super) name: String,
    /// The most characters that it may have as it is written.
    pub(super) longest: Option<usize>,
    /// Name, whether it may be left out, value.
    pub(super) attributes: Vec<(String, bool, Template)>,
    pub(super) children: Vec<Child>,
}

/// What stands in an element.
#[derive(Clone, Debug)]
pub enum Child {
    /// Text, whatever it looks like.
    Text(Template),
    /// A whole element.
    Element(Element),
}

impl Element {
    /// Whether it can't be made without a variable that `is_meant`.
    pub(super) fn asks_for(&self, is_meant: &impl Fn(&str) -> bool) -> bool {
        let mut needed = self.attributes.iter().filter(|(_, optional, _)| !optional);
        needed.any(|(_, _, template)| template.names().any(is_meant))
            || self.children.iter().any(|child| match child {
                Child::Text(template) => template.names().any(is_meant),
                Child::Element(element) => element.asks_for(is_meant),
            })
    }

    /// The element for one message, without a declaration.
    pub(super) fn fill(&self, values: &Values<'_>) -> Result<String, Unfit> {
        let mut xml = String::new();
        self.write(&mut xml, values)?;
        match self.longest.filter(|longest| xml.chars().count() > *longest) {
            Some(longest) => Err(Unfit::TooLong { place: self.name.clone(), longest }),
            None => Ok(xml),
        }
    }

    fn write(&self, xml: &mut String, values: &Values<'_>) -> Result<(), Unfit> {
        let name = &self.name;
        xml.push('<');
        xml.push_str(name);
        for (attribute, optional, template) in &self.attributes {
            if let Some(value) = leave_out(fill(attribute, template, values), *optional)? {
                xml.push(' ');
                xml.push_str(attribute);
                xml.push_str("=\"");
                escape(xml, &value).ok_or_else(|| Unfit::Xml(attribute.clone()))?;
                xml.push('"');
            }
        }
        if self.children.is_empty() {
            xml.push_str("/>");
            return Ok(());
        }
        xml.push('>');
        for child in &self.children {
            match child {
                Child::Text(template) => {
                    escape(xml, &fill(name, template, values)?).ok_or_else(|| Unfit::Xml(name.clone()))?;
                }
                Child::Element(element) => element.write(xml, values)?,
            }
        }
        xml.push_str("</");
        xml.push_str(name);
        xml.push('>');
        Ok(())
    }
}

/// Writes `text` so that it is read back as it is, in an element as in a quoted attribute; `None` where it has
/// a character that XML can't hold, not even as a reference (XML 1.0, production 2).
pub(in crate::provider) fn escape(xml: &mut String, text: &str) -> Option<()> {
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\t' | '\n' | '\r' => write!(xml, "&#{};", u32::from(c)).ok()?,
            '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}' => xml.push(c),
            _ => return None,
        }
    }
    Some(())
}

/// Whether `text` can name an element or an attribute of the vendors' languages.
pub(super) fn is_name(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_can_not_hold_is_refused_and_the_rest_is_read_back() {
        for text in ["\0", "\u{1}", "\u{b}", "\u{1f}", "a\u{fffe}", "\u{ffff}"] {
            assert_eq!(escape(&mut String::new(), text), None, "{text:?}");
        }
        let text = "\t\r\n ]]>&lt;'\"\u{7f}\u{85}\u{2028}\u{fffd}\u{10ffff}<!--";
        let mut xml = String::new();
        escape(&mut xml, text).expect("all of it may stand in XML");
        let document = format!("<a b=\"{xml}\">{xml}</a>");
        let parsed = roxmltree::Document::parse(&document).expect("well formed");
        assert_eq!((parsed.root_element().attribute("b"), parsed.root_element().text()), (Some(text), Some(text)));
    }

    #[test]
    fn names_are_names() {
        for good in ["Say", "say-as", "xml:lang", "_x1"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "1a", "-a", "a b", "a>", "a\"", "é"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
