//! What a request carries: forms, JSON and XML as trees, the tables that its values are looked up in, and how
//! the time left is counted.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use toml::de::DeValue;

use super::{Scope, read_template};
use crate::provider::definition::lookup::{Cell, DEFAULT_ROW, ENCODINGS, Rows};
use crate::provider::definition::params::{Params, Shape};
use crate::provider::definition::reader::{Mistakes, Node, Section};
use crate::provider::definition::request::{Body, Field, Text, Tree, Validity};
use crate::provider::definition::variables::SETTINGS;
use crate::provider::definition::xml::{Child, Element, is_name};

/// `"From?"` is `From`, left out where its variable has no value.
pub(super) fn marked(key: &str) -> (&str, bool) {
    key.strip_suffix('?').map_or((key, false), |name| (name, true))
}

/// What stands behind the `?` of the address.
pub(super) fn read_query(node: &Node<'_>, scope: &Scope, mistakes: &Mistakes<'_>) -> Option<Vec<Field>> {
    read_form(node.table(mistakes)?, scope, mistakes)
}

/// `is_all_said`: there is a query, so there need not be a body.
pub(super) fn read_body(
    section: &mut Section<'_>,
    is_all_said: bool,
    scope: &Scope,
    mistakes: &Mistakes<'_>,
) -> Option<Body> {
    match (section.take("form"), section.take("json")) {
        (None, None) if is_all_said => Some(Body::Empty),
        (Some(node), None) => read_form(node.table(mistakes)?, scope, mistakes).map(Body::Form),
        (None, Some(node)) => read_object(node.table(mistakes)?, scope, false, mistakes).map(Body::Json),
        (found, _) => {
            let found = if found.is_some() { "both `form` and `json`" } else { "nothing" };
            mistakes.add(section.at, &section.path_of("form"), found, "one table: `form` or `json`");
            None
        }
    }
}

/// What a request carries besides its `body`, in the same form.
pub(super) fn read_more(node: &Node<'_>, body: &Body, scope: &Scope, mistakes: &Mistakes<'_>) -> Option<Body> {
    let table = node.table(mistakes)?;
    match body {
        Body::Json(_) => read_object(table, scope, false, mistakes).map(Body::Json),
        // Where nothing is but a query, this is added there.
        Body::Form(_) | Body::Empty => read_form(table, scope, mistakes).map(Body::Form),
    }
}

/// The entries of a table that must have some, with no name twice (`a` and `a?` are one name).
fn read_entries<'t>(mut table: Section<'t>, mistakes: &Mistakes<'_>) -> Vec<(&'t str, bool, Node<'t>)> {
    if table.is_empty() {
        mistakes.add(table.at, &table.path, "an empty table", "at least one entry");
    }
    let mut names = BTreeSet::new();
    let mut entries = Vec::new();
    for (key, node) in table.entries() {
        let (name, optional) = marked(key);
        if !names.insert(name) {
            mistakes.add(node.at, &node.path, format!("`{name}` a second time"), "each name once");
        }
        entries.push((name, optional, node));
    }
    entries
}

fn read_form(table: Section<'_>, scope: &Scope, mistakes: &Mistakes<'_>) -> Option<Vec<Field>> {
    let field = |(name, optional, node): (&str, bool, Node<'_>)| {
        let texts = node.elements().into_iter().map(|item| {
            if is_xml(&item) {
                return read_xml(&item, scope, optional, mistakes);
            }
            if let Some((node, shape)) = params_of(&item) {
                return read_params(&node, shape, scope, mistakes).map(Text::Params);
            }
            read_template(&item, scope, optional, mistakes).map(Text::Plain)
        });
        Some(Field { name: name.to_owned(), optional, values: texts.collect::<Option<_>>()? })
    };
    read_entries(table, mistakes).into_iter().map(field).collect()
}

fn read_object(table: Section<'_>, scope: &Scope, optional: bool, mistakes: &Mistakes<'_>) -> Option<Tree> {
    let entry = |(name, mark, node): (&str, bool, Node<'_>)| {
        Some((name.to_owned(), mark, read_tree(&node, scope, optional || mark, mistakes)?))
    };
    read_entries(table, mistakes).into_iter().map(entry).collect::<Option<_>>().map(Tree::Object)
}

fn read_tree(node: &Node<'_>, scope: &Scope, optional: bool, mistakes: &Mistakes<'_>) -> Option<Tree> {
    if is_xml(node) {
        return read_xml(node, scope, optional, mistakes).map(Tree::Text);
    }
    if let Some((node, shape)) = params_of(node) {
        return read_params(&node, shape, scope, mistakes).map(Tree::Params);
    }
    match node.value {
        DeValue::Table(_) => read_object(node.table(mistakes)?, scope, optional, mistakes),
        DeValue::Array(_) => {
            let items = node.elements().into_iter().map(|item| read_tree(&item, scope, optional, mistakes));
            items.collect::<Option<_>>().map(Tree::Array)
        }
        DeValue::Boolean(flag) => Some(Tree::Literal(Value::Bool(*flag))),
        DeValue::Integer(_) => node.number(0..u64::from(u32::MAX), mistakes).map(|n| Tree::Literal(n.into())),
        DeValue::String(_) => {
            let template = read_template(node, scope, optional, mistakes)?;
            // A number to those who speak JSON; with a text around it, a text.
            let alone = |name: &&str| node.value.as_str() == Some(&format!("{{{name}}}"));
            let number =
                template.names().next().filter(alone).filter(|name| scope.get(*name).is_some_and(|v| v.is_number));
            Some(number.map_or_else(|| Tree::Text(Text::Plain(template.clone())), |name| Tree::Number(name.to_owned())))
        }
        DeValue::Float(_) | DeValue::Datetime(_) => {
            node.wrong("a text, a whole number, true, false, an array or a table", mistakes);
            None
        }
    }
}

/// `{ params_list = "template_params" }`: a table with only this in it is the places of an approved text.
fn params_of<'t>(node: &Node<'t>) -> Option<(Node<'t>, Shape)> {
    let table = node.value.as_table().filter(|table| table.len() == 1)?;
    let shape = |key: &str| match key {
        "params_list" => Some(Shape::List),
        "params_object" => Some(Shape::Object),
        _ => None,
    };
    let (key, value) = table.iter().next()?;
    let shape = shape(key.get_ref())?;
    Some((
        Node { path: format!("{}.{}", node.path, key.get_ref()), at: key.span().start, value: value.get_ref() },
        shape,
    ))
}

fn read_params(node: &Node<'_>, shape: Shape, scope: &Scope, mistakes: &Mistakes<'_>) -> Option<Params> {
    let allowed = "the name of a setting with `params = true` that is required or has a default";
    let setting = node.text(allowed, mistakes)?;
    let known = scope.get(&format!("{SETTINGS}{setting}"));
    if !known.is_some_and(|variable| variable.is_params && !variable.may_lack) {
        node.wrong(allowed, mistakes);
        return None;
    }
    Some(Params { setting: setting.to_owned(), shape })
}

pub(super) fn read_validity(node: &Node<'_>, mistakes: &Mistakes<'_>) -> Option<Validity> {
    let mut table = node.table(mistakes)?;
    let unit = table.need("unit", "s, ms, min", mistakes).and_then(|node| node.word("s, ms, min", mistakes));
    let most = 0..u64::from(u32::MAX) + 1;
    let mut bound = |key| {
        let node = table.need(key, "a whole number of units", mistakes)?;
        Some((node.number(most.clone(), mistakes)?, node))
    };
    let (min, max) = (bound("min"), bound("max"));
    table.finish(&["unit", "min", "max"], mistakes);
    let ((min, _), (max, at_max)) = (min?, max?);
    if max < min {
        at_max.wrong("at least `min`", mistakes);
    }
    Some(Validity { unit: unit?, min, max })
}

/// `{ xml = { element = … } }`: a table with this in it is XML.
fn is_xml(node: &Node<'_>) -> bool {
    let within = node.value.as_table().and_then(|table| table.get("xml")?.get_ref().as_table());
    within.is_some_and(|element| element.contains_key("element"))
}

fn read_xml(node: &Node<'_>, scope: &Scope, optional: bool, mistakes: &Mistakes<'_>) -> Option<Text> {
    let mut table = node.table(mistakes)?;
    let longest = table.take("longest").map(|node| node.number(1..u64::from(u32::MAX), mistakes));
    let root = table.take("xml").and_then(|node| read_element(&node, scope, optional, mistakes));
    table.finish(&["xml", "longest"], mistakes);
    let longest = longest.unwrap_or_default().and_then(|longest| usize::try_from(longest).ok());
    Some(Text::Xml(Element { longest, ..root? }))
}

pub(super) fn read_element(node: &Node<'_>, scope: &Scope, optional: bool, mistakes: &Mistakes<'_>) -> Option<Element> {
    let mut table = node.table(mistakes)?;
    let name = table.need("element", "the name of an element", mistakes);
    let name = name.and_then(|node| read_name(node.text("a name", mistakes)?, &node, mistakes));
    let attributes = table.take("attributes").and_then(|node| node.table(mistakes));
    let attribute = |(name, mark, node): (&str, bool, Node<'_>)| {
        let value = read_template(&node, scope, optional || mark, mistakes);
        Some((read_name(name, &node, mistakes)?, mark, value?))
    };
    let attributes = attributes.map(|table| read_entries(table, mistakes).into_iter().map(attribute).collect());
    let children = table.take("children").map(|node| node.elements()).unwrap_or_default();
    let child = |node: &Node<'_>| {
        if node.value.is_table() {
            return read_element(node, scope, optional, mistakes).map(Child::Element);
        }
        read_template(node, scope, optional, mistakes).map(Child::Text)
    };
    let children = children.iter().map(child).collect::<Option<_>>();
    table.finish(&["element", "attributes", "children"], mistakes);
    Some(Element {
        name: name?,
        longest: None,
        attributes: attributes.unwrap_or_else(|| Some(Vec::new()))?,
        children: children?,
    })
}

fn read_name(text: &str, node: &Node<'_>, mistakes: &Mistakes<'_>) -> Option<String> {
    if !is_name(text) {
        mistakes.add(node.at, &node.path, format!("`{text}`"), "a name of XML, in ASCII");
        return None;
    }
    Some(text.to_owned())
}

/// Rows by language; one has to serve all that have none.
pub(super) fn read_languages(node: &Node<'_>, mistakes: &Mistakes<'_>) -> Rows {
    let rows = read_rows(node, mistakes, "`default` and language tags such as en or pt-BR", |key| {
        let subtags = || key.split('-');
        let is_tag =
            subtags().all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()));
        is_tag || key == DEFAULT_ROW
    });
    if !rows.contains_key(DEFAULT_ROW) {
        mistakes.add(node.at, &format!("{}.{DEFAULT_ROW}", node.path), "nothing", "the row of all other languages");
    }
    rows
}

/// Rows by alphabet, which are two.
pub(super) fn read_encodings(node: &Node<'_>, mistakes: &Mistakes<'_>) -> Rows {
    let rows = read_rows(node, mistakes, &ENCODINGS.join(", "), |key| ENCODINGS.contains(&key));
    for missing in ENCODINGS.into_iter().filter(|name| !rows.contains_key(*name)) {
        mistakes.add(node.at, &format!("{}.{missing}", node.path), "nothing", "a row for each of gsm7 and ucs2");
    }
    rows
}

fn read_rows(node: &Node<'_>, mistakes: &Mistakes<'_>, allowed: &str, may_be: impl Fn(&str) -> bool) -> Rows {
    let entries = node.table(mistakes).map(|mut table| table.entries()).unwrap_or_default();
    let mut rows = Rows::new();
    let mut columns: Option<Vec<(String, bool)>> = None;
    for (key, node) in entries {
        if !may_be(key) || rows.contains_key(&key.to_ascii_lowercase()) {
            mistakes.add(node.at, &node.path, format!("`{key}`"), format!("{allowed}, each once"));
        }
        let Some(table) = node.table(mistakes) else { continue };
        let cells = read_entries(table, mistakes).into_iter();
        let row: BTreeMap<_, _> =
            cells.filter_map(|(name, _, node)| Some((name.to_owned(), read_cell(&node, mistakes)?))).collect();
        let own = row.iter().map(|(name, cell)| (name.clone(), matches!(cell, Cell::Number(_)))).collect();
        rows.insert(key.to_ascii_lowercase(), row);
        if *columns.get_or_insert_with(|| Vec::clone(&own)) != own {
            mistakes.add(node.at, &node.path, "other columns than in the first row", "the same columns in every row");
        }
    }
    rows
}

fn read_cell(node: &Node<'_>, mistakes: &Mistakes<'_>) -> Option<Cell> {
    match node.value {
        DeValue::Integer(_) => node.number(0..u64::from(u32::MAX), mistakes).map(Cell::Number),
        _ => node.text("a text or a whole number", mistakes).map(|text| Cell::Text(text.to_owned())),
    }
}
