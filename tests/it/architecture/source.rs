//! A source file as its tokens say it: which paths it names, how long its functions are.
//!
//! Read by the compiler's own rules of tokens, so comments, strings and raw strings name nothing, and what
//! stands inside a macro's parentheses counts like any other code. Items under `#[cfg(test)]` name nothing
//! either, but their sizes count.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A file, as far as its architecture goes.
pub(super) struct Source {
    /// `src/guard/quota.rs`
    pub(super) file: String,
    /// `["guard", "quota"]`; empty at the root.
    pub(super) module: Vec<String>,
    pub(super) lines: usize,
    /// Whether it begins by saying what it is.
    pub(super) has_head: bool,
    /// What it names, tests left out.
    pub(super) paths: Vec<Named>,
    pub(super) functions: Vec<Function>,
    /// The modules that it declares, and whether each is for tests only.
    pub(super) declared: Vec<(String, bool)>,
}

/// A path as written. Of an import with braces, one for each leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// `["crate", "clock", "Clock"]`; the first is empty where the path begins with `::`, a macro's name
    /// ends in `!`, and `*` stands for everything.
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    /// The inline modules that it stands in.
    pub(super) within: Vec<String>,
    pub(super) role: Role,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// `use …`, and the name that it makes.
    Import(String),
    /// `.name`
    Member,
    Other,
}

pub(super) struct Function {
    pub(super) name: String,
    pub(super) line: usize,
    /// From `fn` to the closing brace.
    pub(super) lines: usize,
}

impl Source {
    pub(super) fn read(file: &str, text: &str) -> Self {
        let tokens: TokenStream = text.parse().unwrap_or_else(|why| panic!("{file}: {why}"));
        let mut walk = Walk::default();
        walk.tokens(tokens.clone(), false);
        let mut functions = Vec::new();
        measure(tokens, &mut functions);
        Self {
            file: file.to_owned(),
            module: module_of(file),
            lines: text.lines().count(),
            has_head: text.starts_with("//!"),
            paths: walk.paths,
            functions,
            declared: walk.declared,
        }
    }

    /// Where a path leads within the crate: the top-level module, or what stands in its place.
    pub(super) fn leads_to<'a>(&self, path: &'a Named) -> Option<&'a str> {
        let (first, rest) = path.segments.split_first()?;
        match first.as_str() {
            "crate" | "mfa_courier" => Some(rest.first().map_or("", String::as_str)),
            "super" => {
                let climbs = path.segments.iter().take_while(|segment| *segment == "super").count();
                let below_root = self.module.len() + path.within.len();
                (climbs == below_root).then(|| path.segments.get(climbs).map_or("", String::as_str))
            }
            _ => None,
        }
    }

    /// Whether `name` at the start of a path means a crate: it begins with `::`, or nothing here has that name.
    pub(super) fn means_crate(&self, path: &Named, name: &str) -> bool {
        let ours = |other: &Named| match &other.role {
            Role::Import(bound) => bound == name && other.segments.len() > 1 && other.segments[0] != name,
            _ => false,
        };
        match path.segments.as_slice() {
            [root, first, ..] if root.is_empty() => first == name,
            [first, rest @ ..] if first == name && path.role != Role::Member => {
                let is_path = !rest.is_empty() || matches!(path.role, Role::Import(_));
                is_path && !self.declared.iter().any(|(module, _)| module == name) && !self.paths.iter().any(ours)
            }
            _ => false,
        }
    }
}

fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

/// Collects what is named.
#[derive(Default)]
struct Walk {
    paths: Vec<Named>,
    declared: Vec<(String, bool)>,
    within: Vec<String>,
}

impl Walk {
    fn tokens(&mut self, tokens: TokenStream, in_test: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        let mut for_tests = false;
        while at < tokens.len() {
            let rest = &tokens[at..];
            if let Some(length) = test_attribute(rest) {
                for_tests = true;
                at += length;
            } else if for_tests && !is_punct(rest.first(), '#') {
                at += self.skipped_item(rest);
                for_tests = false;
            } else {
                at += self.step(&tokens, at, in_test);
            }
        }
    }

    /// Reads what begins at `at`; says how many tokens that was.
    fn step(&mut self, tokens: &[TokenTree], at: usize, in_test: bool) -> usize {
        let rest = &tokens[at..];
        match rest {
            [TokenTree::Group(group), ..] => {
                self.tokens(group.stream(), in_test);
                1
            }
            [TokenTree::Ident(word), TokenTree::Group(group), ..] if word == "pub" && is_visibility(group) => 2,
            [TokenTree::Ident(word), TokenTree::Ident(name), after, ..] if word == "mod" => {
                self.module(&name.to_string(), after, in_test);
                3
            }
            [TokenTree::Ident(word), next, ..] if word == "use" && !is_punct(Some(next), '<') => {
                let length = rest.iter().position(|token| is_punct(Some(token), ';')).unwrap_or(rest.len());
                self.import(&[], &rest[1..length]);
                length
            }
            [TokenTree::Ident(_), ..] => self.path(tokens, at),
            _ => 1,
        }
    }

    fn module(&mut self, name: &str, after: &TokenTree, in_test: bool) {
        match after {
            TokenTree::Group(body) => {
                self.within.push(name.to_owned());
                self.tokens(body.stream(), in_test);
                self.within.pop();
            }
            _ => self.declared.push((name.to_owned(), in_test)),
        }
    }

    /// Passes over an item that is for tests only; of a module it keeps the name.
    fn skipped_item(&mut self, rest: &[TokenTree]) -> usize {
        const ITEMS: [&str; 14] = [
            "pub",
            "mod",
            "use",
            "fn",
            "impl",
            "struct",
            "enum",
            "const",
            "static",
            "type",
            "trait",
            "async",
            "let",
            "macro_rules",
        ];
        let words = rest.iter().filter(|token| !matches!(token, TokenTree::Group(_)));
        let mut words = words.skip_while(|token| token.to_string() == "pub").map(ToString::to_string);
        let first = words.next().unwrap_or_default();
        let is_field = !ITEMS.contains(&first.as_str());
        let is_end = |token: &TokenTree| match token {
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace && first != "use",
            other => is_punct(Some(other), ';') || (is_field && is_punct(Some(other), ',')),
        };
        let length = rest.iter().position(is_end).map_or(rest.len(), |end| end + 1);
        if first == "mod" && is_punct(rest.get(length - 1), ';') {
            self.declared.push((words.next().unwrap_or_default(), true));
        }
        length
    }

    /// Reads the tree of one `use`.
    fn import(&mut self, before: &[String], tree: &[TokenTree]) {
        let mut segments = before.to_vec();
        let mut bound = None;
        let mut line = 0;
        let mut at = 0;
        while let Some(token) = tree.get(at) {
            line = token.span().start().line;
            match token {
                TokenTree::Group(group) => {
                    let leaves: Vec<TokenTree> = group.stream().into_iter().collect();
                    let leaves = leaves.split(|token| is_punct(Some(token), ','));
                    leaves.filter(|leaf| !leaf.is_empty()).for_each(|leaf| self.import(&segments, leaf));
                    return;
                }
                TokenTree::Ident(word) if word == "as" => {
                    bound = tree.get(at + 1).map(ToString::to_string);
                    at += 1;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => {
                    if segments.is_empty() {
                        segments.push(String::new());
                    }
                    at += 1;
                }
                other => segments.push(other.to_string()),
            }
            at += 1;
        }
        let named = segments.iter().rev().find(|segment| *segment != "self").cloned();
        let role = Role::Import(bound.or(named).unwrap_or_default());
        self.paths.push(Named { segments, line, within: self.within.clone(), role });
    }

    /// Reads a path, or a part of one behind `>::`.
    fn path(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let mut segments = vec![tokens[at].to_string()];
        let mut end = at + 1;
        while let [first, second, TokenTree::Ident(next), ..] = &tokens[end..]
            && is_punct(Some(first), ':')
            && is_punct(Some(second), ':')
        {
            segments.push(next.to_string());
            end += 3;
        }
        if is_punct(tokens.get(end), '!') && !is_punct(tokens.get(end + 1), '=') {
            segments.last_mut().expect("at least one").push('!');
        }
        let before = |n: usize| at.checked_sub(n).and_then(|at| tokens.get(at));
        let role = match (is_punct(before(1), '.'), is_punct(before(2), '.')) {
            (true, false) => Role::Member,
            _ => Role::Other,
        };
        let after_colons = is_punct(before(1), ':') && is_punct(before(2), ':');
        if after_colons && !continues(before(3)) {
            segments.insert(0, String::new());
        }
        if !(after_colons && continues(before(3))) {
            let line = tokens[at].span().start().line;
            self.paths.push(Named { segments, line, within: self.within.clone(), role });
        }
        end - at
    }
}

/// Whether what stands before `::` is the beginning of the same path.
fn continues(before: Option<&TokenTree>) -> bool {
    const KEYWORDS: [&str; 13] =
        ["as", "break", "dyn", "else", "for", "if", "impl", "in", "match", "move", "mut", "return", "while"];
    match before {
        Some(TokenTree::Ident(word)) => !KEYWORDS.contains(&word.to_string().as_str()),
        Some(TokenTree::Punct(mark)) => mark.as_char() == '>',
        Some(TokenTree::Group(_) | TokenTree::Literal(_)) | None => false,
    }
}

/// `(crate)`, `(super)`, `(self)`, `(in …)`: who may see an item, which is no use of it.
fn is_visibility(group: &Group) -> bool {
    let first = group.stream().into_iter().next().map(|token| token.to_string()).unwrap_or_default();
    group.delimiter() == Delimiter::Parenthesis && matches!(first.as_str(), "crate" | "super" | "self" | "in")
}

/// The length of `#[cfg(test)]`, if that is what `tokens` begin with.
fn test_attribute(tokens: &[TokenTree]) -> Option<usize> {
    match tokens {
        [hash, TokenTree::Group(group), ..] if is_punct(Some(hash), '#') => {
            (group.stream().to_string().replace(' ', "") == "cfg(test)").then_some(2)
        }
        _ => None,
    }
}

fn is_punct(token: Option<&TokenTree>, mark: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == mark)
}

/// Measures every function, those inside others too.
fn measure(tokens: TokenStream, functions: &mut Vec<Function>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match (token, tokens.get(at + 1)) {
            (TokenTree::Group(group), _) => measure(group.stream(), functions),
            (TokenTree::Ident(word), Some(TokenTree::Ident(name))) if word == "fn" => {
                let line = word.span().start().line;
                let lines = last_line(&tokens[at..]).map_or(1, |last| last + 1 - line);
                functions.push(Function { name: name.to_string(), line, lines });
            }
            _ => {}
        }
    }
}

/// The last line of the body that follows a signature, if one does.
fn last_line(tokens: &[TokenTree]) -> Option<usize> {
    let end = tokens.iter().find(|token| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        other => is_punct(Some(other), ';'),
    })?;
    Some(end.span().end().line)
}
