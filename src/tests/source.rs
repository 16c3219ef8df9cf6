//! Rust source as far as imports go: comments, literals and tests taken out, paths read.

use std::collections::{BTreeMap, BTreeSet};

/// A module by its path from the crate's root.
pub(crate) type Module = Vec<String>;

/// One file, without comments, literals and test code.
pub(crate) struct Source {
    /// Where it lies, from the package's root.
    pub(crate) path: String,
    /// The module that it is.
    pub(crate) module: Module,
    tokens: Vec<String>,
}

impl Source {
    /// Reads a file. Also tells which of its child modules are test code.
    pub(crate) fn parse(path: &str, text: &str) -> (Self, Vec<Module>) {
        let mut module: Module = path
            .trim_start_matches("src/")
            .trim_end_matches(".rs")
            .split('/')
            .map(String::from)
            .collect();
        if module.last().is_some_and(|last| last == "mod") || module == ["lib"] {
            module.pop();
        }
        let (tokens, tests) = without_tests(tokens(text));
        let child = |name: String| [module.clone(), vec![name]].concat();
        let tests = tests.into_iter().map(child).collect();
        (Self { path: path.into(), module, tokens }, tests)
    }

    /// Whether a word stands anywhere in the code.
    pub(crate) fn has_word(&self, word: &str) -> bool {
        self.tokens.iter().any(|token| token == word)
    }

    /// Every path that leads into the crate, from its root, and the name that a public
    /// `use` gives to its end.
    fn paths(&self, modules: &BTreeSet<Module>) -> Vec<(Module, Option<String>)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let is_start = matches!(&*self.tokens[at], "crate" | "super" | "self")
                && self.after(at) == "::"
                && self.before(at) != "::";
            if self.tokens[at] == "use" {
                let is_public = matches!(self.before(at), "pub" | ")");
                let mut leaves = Vec::new();
                at = self.tree(at + 1, &[], &mut leaves);
                for (path, name) in leaves {
                    let inside = self.absolute(&path, modules);
                    found.extend(inside.map(|path| (path, is_public.then_some(name))));
                }
            } else if is_start {
                let mut path = Vec::new();
                at = self.path(at, &mut path);
                found.extend(self.absolute(&path, modules).map(|path| (path, None)));
            } else {
                at += 1;
            }
        }
        found
    }

    /// A path with its start resolved. `None`: it leads out of the crate.
    fn absolute(&self, path: &[String], modules: &BTreeSet<Module>) -> Option<Module> {
        let mut from = self.module.clone();
        let mut rest = path;
        while let Some((first, after)) = rest.split_first() {
            match &**first {
                "crate" => from.clear(),
                "super" => drop(from.pop()),
                "self" => {}
                // The binary sees the library by its name.
                "damso" if self.path == "src/main.rs" => from.clear(),
                _ => break,
            }
            rest = after;
        }
        let named = rest.len() < path.len();
        let child = [from.clone(), rest.iter().take(1).cloned().collect()].concat();
        (named || modules.contains(&child)).then(|| [from, rest.to_vec()].concat())
    }

    /// Reads a tree of `use` from `at` on; returns where it ends.
    fn tree(&self, at: usize, prefix: &[String], leaves: &mut Vec<(Module, String)>) -> usize {
        let mut path = prefix.to_vec();
        let mut at = self.path(at, &mut path);
        if self.word(at) == "{" {
            at += 1;
            while !matches!(self.word(at), "}" | "") {
                at = self.tree(at, &path, leaves);
                at += usize::from(self.word(at) == ",");
            }
            return at + 1;
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if self.word(at) == "as" {
            name = self.word(at + 1).into();
            at += 2;
        }
        leaves.push((path, name));
        // A glob, or something that is no import: go on behind it.
        if matches!(self.word(at), "," | "}" | ";") { at } else { at + 1 }
    }

    /// Reads `a::b::c` into `path`, up to a brace or the last word; returns where it ends.
    fn path(&self, mut at: usize, path: &mut Vec<String>) -> usize {
        while is_word(self.word(at)) {
            // `{self, ...}` names the prefix itself.
            if self.word(at) != "self" || path.is_empty() {
                path.push(self.word(at).into());
            }
            at += 1;
            if self.word(at) != "::" {
                break;
            }
            at += 1;
        }
        at
    }

    fn word(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", String::as_str)
    }

    fn after(&self, at: usize) -> &str {
        self.word(at + 1)
    }

    fn before(&self, at: usize) -> &str {
        at.checked_sub(1).map_or("", |at| self.word(at))
    }
}

/// Who imports whom, re-exports followed to where things are defined.
pub(crate) fn imports(sources: &[Source]) -> Vec<(&Source, Module)> {
    let prefixes = |source: &Source| {
        (0..=source.module.len()).map(|len| source.module[..len].to_vec()).collect::<Vec<_>>()
    };
    let modules: BTreeSet<Module> = sources.iter().flat_map(prefixes).collect();
    let mut exports = BTreeMap::new();
    for source in sources {
        for (path, name) in source.paths(&modules) {
            if let Some(name) = name {
                exports.insert([source.module.clone(), vec![name]].concat(), path);
            }
        }
    }
    let mut found = Vec::new();
    for source in sources {
        for (path, _) in source.paths(&modules) {
            found.push((source, resolve(&path, &modules, &exports)));
        }
    }
    found
}

/// The module in which the end of `path` is defined.
fn resolve(
    path: &[String],
    modules: &BTreeSet<Module>,
    exports: &BTreeMap<Module, Module>,
) -> Module {
    let mut module = Module::new();
    // Each step goes into a module or follows one re-export; a circle of them ends here.
    let mut rest: Vec<String> = path.iter().rev().cloned().collect();
    for _ in 0..100 {
        let Some(name) = rest.pop() else { break };
        let child = [module.clone(), vec![name]].concat();
        if modules.contains(&child) {
            module = child;
        } else if let Some(target) = exports.get(&child).filter(|target| **target != child) {
            module.clear();
            rest.extend(target.iter().rev().cloned());
        } else {
            break;
        }
    }
    module
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first == '_' || first.is_alphabetic())
}

/// Words, `::`, and every other sign alone. Comments and literals are left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = match first {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => quoted(rest, 1),
            '\'' => character(rest),
            _ if raw_hashes(rest).is_some() => {
                let end = format!("\"{}", "#".repeat(raw_hashes(rest).unwrap_or_default()));
                let open = rest.find('"').unwrap_or_default() + 1;
                rest[open..].find(&end).map_or(rest.len(), |at| open + at + end.len())
            }
            _ if rest.starts_with("::") => {
                tokens.push("::".into());
                2
            }
            _ if first == '_' || first.is_alphanumeric() => {
                let is_end = |sign: char| sign != '_' && !sign.is_alphanumeric();
                let len = rest.find(is_end).unwrap_or(rest.len());
                tokens.push(rest[..len].into());
                len
            }
            _ if first.is_whitespace() => first.len_utf8(),
            _ => {
                tokens.push(first.into());
                first.len_utf8()
            }
        };
        rest = &rest[len..];
    }
    tokens
}

/// Length of a literal whose inside begins at `from` and ends with `"`.
fn quoted(text: &str, from: usize) -> usize {
    let mut escaped = false;
    for (at, sign) in text[from..].char_indices() {
        match sign {
            '"' if !escaped => return from + at + 1,
            _ => escaped = sign == '\\' && !escaped,
        }
    }
    text.len()
}

/// Length of a character literal, or of the mark of a lifetime.
fn character(text: &str) -> usize {
    let mut inside = text[1..].char_indices();
    match inside.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(text.len(), |end| end + 4),
        Some((_, sign)) if text[1 + sign.len_utf8()..].starts_with('\'') => sign.len_utf8() + 2,
        _ => 1,
    }
}

/// How many `#` a raw string literal begins with. `None`: it is none.
fn raw_hashes(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = inside.len() - inside.trim_start_matches('#').len();
    inside[hashes..].starts_with('"').then_some(hashes)
}

/// The tokens without items under `#[cfg(test)]`, and the names of test modules in files.
fn without_tests(tokens: Vec<String>) -> (Vec<String>, Vec<String>) {
    let marker = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut modules) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        if !tokens[at..].iter().map(String::as_str).take(marker.len()).eq(marker) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += marker.len();
        let item = at;
        let mut depth = 0;
        while at < tokens.len() {
            match &*tokens[at] {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            at += 1;
            if depth == 0 && matches!(&*tokens[at - 1], "}" | ";") {
                break;
            }
        }
        if let Some(name) = tokens[item..at].iter().position(|token| token == "mod") {
            modules.extend(tokens.get(item + name + 1).cloned());
        }
    }
    (kept, modules)
}
