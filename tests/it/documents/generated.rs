//! Documents that the code writes. `make docs` writes them (it runs these tests with `COURIER_WRITE_DOCS` set).

use std::path::Path;

use mfa_courier::broker::wire::asyncapi;
use mfa_courier::broker::wire::schema::Body;
use serde_json::Value;

use super::{read, reference};

/// Writes the document where that is asked for, else holds the committed one against it.
fn is_current(name: &str, text: &str) {
    if std::env::var_os("COURIER_WRITE_DOCS").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(name), text).expect("writable");
        return;
    }
    assert!(read(name) == text, "{name} is not what the code says any more: run `make docs` and look at what changed");
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

#[test]
fn schemas_of_messages_are_current() {
    for body in Body::ALL {
        is_current(&format!("docs/schemas/{}.json", body.as_str()), &pretty(&body.schema().into()));
    }
}

#[test]
fn the_schema_of_the_configuration_is_current() {
    is_current("docs/schemas/config.json", &pretty(&mfa_courier::config::schema::schema()));
}

#[test]
fn the_asyncapi_document_is_current() {
    is_current("docs/schemas/asyncapi.json", &pretty(&asyncapi::document()));
}

#[test]
fn the_reference_of_settings_is_current() {
    is_current("docs/configuration.md", &reference::markdown());
}
