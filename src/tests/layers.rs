//! The laws of the floor plan, read from the source.
//!
//! ```text
//! 1  import only from a lower floor        4  no import circle, among rooms or inside one
//! 2  rooms on one floor do not meet        5  a room's mod.rs holds no code
//! 3  only main.rs knows the server         6  a file says what it is, and stays short
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::source::{Module, Source, imports};

/// Each room and its floor. A room that is not here has none, and that is a violation.
const FLOORS: [(&str, u8); 13] = [
    ("model", 0),
    ("runtime", 0),
    ("store", 1),
    ("connections", 1),
    ("delivery", 2),
    ("presence", 2),
    ("consumers", 2),
    ("requests", 3),
    ("session", 4),
    ("api", 4),
    ("admin", 4),
    ("transport", 5),
    ("server", 6),
];
/// Longest file, lines.
const LINES_MAX: usize = 500;
/// Words of code that has no place in a `mod.rs`.
const CODE: [&str; 8] = ["fn", "struct", "enum", "trait", "impl", "const", "static", "macro_rules"];

#[test]
fn the_source_keeps_the_floor_plan() {
    let mut files = Vec::new();
    read(Path::new(env!("CARGO_MANIFEST_DIR")), Path::new("src"), &mut files);
    assert!(files.len() > 10, "the source was found");
    let files: Vec<_> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
    let broken = violations(&files);
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// Every file of the server, its tests aside.
fn read(root: &Path, directory: &Path, files: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(root.join(directory)).expect("src is there") {
        let path = directory.join(entry.expect("src can be listed").file_name());
        let name = path.to_str().expect("our names are UTF-8");
        if root.join(&path).is_dir() {
            if name != "src/tests" {
                read(root, &path, files);
            }
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(root.join(&path)).expect("source is text");
            files.push((name.into(), text));
        }
    }
    files.sort();
}

/// What is wrong with these files (path, text), one line each.
fn violations(files: &[(&str, &str)]) -> Vec<String> {
    let mut broken: Vec<String> = files.iter().filter_map(shape).collect();
    let (sources, tests): (Vec<_>, Vec<_>) =
        files.iter().map(|(path, text)| Source::parse(path, text)).unzip();
    let tests: BTreeSet<Module> = tests.into_iter().flatten().collect();
    let is_test = |module: &Module| (1..=module.len()).any(|len| tests.contains(&module[..len]));
    let sources: Vec<_> = sources.into_iter().filter(|source| !is_test(&source.module)).collect();
    for source in &sources {
        let word = CODE.iter().find(|word| source.has_word(word));
        if let Some(word) = word.filter(|_| source.path.ends_with("mod.rs")) {
            broken.push(format!("{}: `{word}` in a mod.rs", source.path));
        }
    }
    let imports = imports(&sources);
    broken.extend(imports.iter().filter_map(|(source, target)| across(source, target)));
    broken.extend(circles(&imports));
    broken.sort();
    broken.dedup();
    broken
}

fn shape((path, text): &(&str, &str)) -> Option<String> {
    let lines = text.lines().count();
    if lines > LINES_MAX {
        return Some(format!("{path}: {lines} lines, at most {LINES_MAX}"));
    }
    (!text.starts_with("//! ")).then(|| format!("{path}: does not begin with what it is (//!)"))
}

/// What is wrong with one import between rooms.
fn across(source: &Source, target: &Module) -> Option<String> {
    let floor = |room: &str| FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor);
    let (path, to) = (&source.path, target.first()?);
    let from = source.module.first().map_or("", String::as_str);
    if from == to {
        return None;
    }
    let Some(to_floor) = floor(to) else { return Some(format!("{path}: {to} has no floor")) };
    if path == "src/main.rs" {
        return (to != "server").then(|| format!("{path}: may know the server alone, not {to}"));
    }
    match floor(from) {
        None => Some(format!("{path}: {from} has no floor")),
        Some(floor) if floor < to_floor => Some(format!("{path}: {to} is above {from}")),
        Some(floor) if floor == to_floor => Some(format!("{path}: {to} is beside {from}")),
        Some(_) => None,
    }
}

/// Circles among the children of each module.
fn circles(imports: &[(&Source, Module)]) -> Vec<String> {
    let mut graphs: BTreeMap<Module, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for (source, target) in imports {
        let shared = source.module.iter().zip(target).take_while(|(a, b)| a == b).count();
        if let (Some(from), Some(to)) = (source.module.get(shared), target.get(shared)) {
            let graph = graphs.entry(target[..shared].to_vec()).or_default();
            graph.entry(from).or_default().insert(to);
        }
    }
    let mut found = Vec::new();
    for (parent, graph) in &graphs {
        for start in graph.keys() {
            let mut reached = BTreeSet::new();
            let mut next: Vec<&str> = vec![start];
            while let Some(module) = next.pop() {
                for to in graph.get(module).into_iter().flatten() {
                    if reached.insert(*to) {
                        next.push(to);
                    }
                }
            }
            if reached.contains(start) {
                let parent = parent.join("/");
                found.push(format!("src/{parent}: {start} is in an import circle"));
            }
        }
    }
    found
}

/// Plants files and compares what is noticed.
fn check(files: &[(&str, &str)], expected: &[&str]) {
    let files: Vec<_> = files.iter().map(|(path, text)| (format!("src/{path}"), *text)).collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (&**path, *text)).collect();
    assert_eq!(violations(&files), expected, "{files:?}");
}

const MODEL: (&str, &str) = ("model/mod.rs", "//! M.");
const STORE: (&str, &str) = ("store/mod.rs", "//! S.");

#[test]
fn an_import_that_goes_up_or_sideways_is_noticed() {
    check(&[("store/a.rs", "//! A.\nuse crate::model::x;"), MODEL], &[]);
    check(
        &[("model/a.rs", "//! A.\nuse crate::store::x;"), STORE],
        &["src/model/a.rs: store is above model"],
    );
    check(
        &[("connections/a.rs", "//! A.\nfn f(x: crate::store::X) {}"), STORE],
        &["src/connections/a.rs: store is beside connections"],
    );
    check(
        &[
            ("store/a.rs", "//! A.\nuse crate::{model::x, api::{y, z}};"),
            MODEL,
            ("api/mod.rs", "//! A."),
        ],
        &["src/store/a.rs: api is above store"],
    );
    check(
        &[("main.rs", "//! M.\nuse damso::{server, store::log};"), STORE],
        &["src/main.rs: may know the server alone, not store"],
    );
    check(
        &[("attic/a.rs", "//! A.\nuse crate::model::x;"), MODEL],
        &["src/attic/a.rs: attic has no floor"],
    );
}

#[test]
fn an_import_circle_is_noticed_also_through_a_rooms_front_door() {
    let circle = ["src/store: a is in an import circle", "src/store: b is in an import circle"];
    let back = ("store/b.rs", "//! B.\nuse crate::store::a::A;");
    check(&[("store/a.rs", "//! A.\nuse super::b::B;"), back], &circle);
    check(&[("store/a.rs", "//! A.\nuse super::c::C;"), back], &[]);
    check(
        &[
            ("store/mod.rs", "//! S.\nmod a;\nmod b;\npub use a::{A as Alpha};"),
            ("store/a.rs", "//! A.\nuse super::b;"),
            ("store/b.rs", "//! B.\nuse super::Alpha;"),
        ],
        &circle,
    );
}

#[test]
fn comments_literals_and_tests_count_for_nothing_and_what_follows_them_counts() {
    let noise = "//! A.\n// use crate::store::x;\nconst S: &str = \"crate::store::x\\\"\";\n\
                 const C: char = '\"';\nfn f<'a>(s: &'a str) {}\n\
                 #[cfg(test)]\nmod tests { use crate::store::x; fn f() {} }";
    let front = ("model/mod.rs", "//! M.\nmod a;\n#[cfg(test)]\nmod laws;");
    let laws = ("model/laws.rs", "//! L.\nuse crate::store::x;");
    check(&[("model/a.rs", noise), front, laws, STORE], &[]);
    for end in ["use crate::store::x;", "const R: &str = r#\"\"\"#; use crate::store::x;"] {
        let file = format!("{noise}\n{end}");
        check(&[("model/a.rs", &file), front, STORE], &["src/model/a.rs: store is above model"]);
    }
}

#[test]
fn a_file_out_of_shape_is_noticed() {
    let code = ("store/mod.rs", "//! S.\npub fn f() {}");
    check(&[code], &["src/store/mod.rs: `fn` in a mod.rs"]);
    let unnamed = ("store/a.rs", "use std::fs;");
    check(&[unnamed], &["src/store/a.rs: does not begin with what it is (//!)"]);
    let lines = |blank: usize| format!("//! Long.\n{}", "\n".repeat(blank));
    check(&[("store/a.rs", &lines(499))], &[]);
    check(&[("store/a.rs", &lines(500))], &["src/store/a.rs: 501 lines, at most 500"]);
}
