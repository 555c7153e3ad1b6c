//! How the requests of a channel prove who sends them: the schemes by name, each with its own keys.

use super::{Scope, read_header_name, read_template};
use crate::delivery::message::Template;
use crate::provider::definition::auth::{Auth, Signing, SigningScheme};
use crate::provider::definition::reader::{Mistakes, Node, Section};

const SCHEMES: &str = "none, basic, bearer, header, jwt, standard_webhooks, aws_sigv4, acs3, tc3, azure_hmac";

pub(super) fn read_auth(node: &Node<'_>, scope: &Scope, mistakes: &Mistakes<'_>) -> Option<Auth> {
    let mut table = node.table(mistakes)?;
    let scheme = table.need("scheme", SCHEMES, mistakes)?;
    let name = scheme.text(SCHEMES, mistakes)?;
    let mut template = |key: &str, optional| need_template(&mut table, key, scope, optional, mistakes);
    let (auth, keys): (Option<Auth>, &[&str]) = match name {
        "none" => (Some(Auth::None), &["scheme"]),
        "basic" => {
            let (username, password) = (template("username", false), template("password", false));
            let auth = username.zip(password).map(|(username, password)| Auth::Basic { username, password });
            (auth, &["scheme", "username", "password"])
        }
        "bearer" => (template("token", false).map(|token| Auth::Bearer { token }), &["scheme", "token"]),
        "header" => {
            let value = template("value", false);
            let name = table.need("name", "the name of a header", mistakes);
            let name = name.and_then(|node| read_header_name(node.text("a name", mistakes)?, &node, mistakes));
            (name.zip(value).map(|(name, value)| Auth::Header { name, value }), &["scheme", "name", "value"])
        }
        "jwt" => {
            let key = template("key", false);
            let lifetime = table.need("lifetime", "a number of seconds", mistakes);
            let lifetime = lifetime.and_then(|node| node.number(60..86_401, mistakes));
            let claims = table.take("claims").map(|node| read_claims(&node, scope, mistakes)).unwrap_or_default();
            let auth = key.zip(lifetime).map(|(key, lifetime)| Auth::Jwt { key, claims, lifetime });
            (auth, &["scheme", "key", "claims", "lifetime"])
        }
        "standard_webhooks" => {
            (template("secret", true).map(|secret| Auth::StandardWebhooks { secret }), &["scheme", "secret"])
        }
        _ => return read_signing(&scheme, table, scope, mistakes).map(Auth::Signed),
    };
    table.finish(keys, mistakes);
    auth
}

fn need_template(
    table: &mut Section<'_>,
    key: &str,
    scope: &Scope,
    optional: bool,
    mistakes: &Mistakes<'_>,
) -> Option<Template> {
    let node = table.need(key, "a template over the settings", mistakes)?;
    read_template(&node, scope, optional, mistakes)
}

fn read_signing(scheme: &Node<'_>, mut table: Section<'_>, scope: &Scope, mistakes: &Mistakes<'_>) -> Option<Signing> {
    let scheme: SigningScheme = scheme.word(SCHEMES, mistakes)?;
    let [takes_id, takes_region, takes_service] = scheme.takes();
    let secret = need_template(&mut table, "secret", scope, false, mistakes);
    let mut named = |key, is_taken: bool| {
        if is_taken { need_template(&mut table, key, scope, false, mistakes).map(Some) } else { Some(None) }
    };
    let (key_id, region) = (named("key_id", takes_id), named("region", takes_region));
    let service = if takes_service {
        let node = table.need("service", "the vendor's name of the service", mistakes);
        node.and_then(|node| node.text("a name", mistakes)).map(|name| Some(name.to_owned()))
    } else {
        Some(None)
    };
    let taken = [("key_id", takes_id), ("region", takes_region), ("service", takes_service)];
    let keys = taken.into_iter().filter(|(_, is_taken)| *is_taken).map(|(key, _)| key);
    table.finish(&["scheme", "secret"].into_iter().chain(keys).collect::<Vec<_>>(), mistakes);
    Some(Signing { scheme, key_id: key_id?, secret: secret?, region: region?, service: service? })
}

/// What a token claims beside what every token of ours does.
fn read_claims(node: &Node<'_>, scope: &Scope, mistakes: &Mistakes<'_>) -> Vec<(String, Template)> {
    let entries = node.table(mistakes).map(|mut table| table.entries()).unwrap_or_default();
    let claim = |(name, node): (&str, Node<'_>)| {
        if ["iat", "exp", "jti"].contains(&name) {
            mistakes.add(node.at, &node.path, format!("`{name}`"), "claims other than iat, exp and jti");
        }
        Some((name.to_owned(), read_template(&node, scope, false, mistakes)?))
    };
    entries.into_iter().filter_map(claim).collect()
}
