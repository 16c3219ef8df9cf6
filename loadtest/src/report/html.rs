//! The report as one HTML page: nothing to load, nothing to install, opens from disk.
//!
//! ```text
//! page/template.html <- style  : uPlot.min.css, page.css
//!                    <- report : the report as JSON, without histograms
//!                    <- script : uPlot, text.js, tables.js, compared.js, details.js, charts.js,
//!                                saturation.js, page.js
//! ```
//!
//! Names in a report come from people and from servers. As JSON they cannot end their element, the
//! scripts show them as text only, and the policy of the page lets nothing but these scripts run.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::model::Report;

const TEMPLATE: &str = include_str!("page/template.html");

const THEIR_STYLE: &str = include_str!("page/uPlot.min.css");
const THEIR_SCRIPT: &str = include_str!("page/uPlot.iife.min.js");
/// Asks for its own text beside every copy, and each page is one.
const THEIR_LICENCE: &str = include_str!("page/LICENSE-uPlot");

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: [&str; 7] = [
    include_str!("page/text.js"),
    include_str!("page/tables.js"),
    include_str!("page/compared.js"),
    include_str!("page/details.js"),
    include_str!("page/charts.js"),
    include_str!("page/saturation.js"),
    include_str!("page/page.js"),
];

/// The page that shows `report`.
pub fn html(report: &Report) -> String {
    let (style, script) = (style(), script());
    let mut pieces = TEMPLATE.split("{{");
    let mut page = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").expect("the template closes what it opens");
        match name {
            "style" => page.push_str(&style),
            "style-hash" => page.push_str(&policy_hash(&style)),
            "script" => page.push_str(&script),
            "script-hash" => page.push_str(&policy_hash(&script)),
            "report" => page.push_str(&data(report)),
            unknown => unreachable!("the template asks for {unknown}"),
        }
        page.push_str(rest);
    }
    page
}

fn style() -> String {
    let mut ours = squeeze(STYLE).replace(" {", "{");
    for mark in [":", ";", ",", "{"] {
        ours = ours.replace(&format!("{mark} "), mark);
    }
    format!("{THEIR_STYLE}\n{ours}")
}

fn script() -> String {
    let mut ours = squeeze(&SCRIPT.concat());
    // No text of ours has any of these in it.
    let operators = "=> === && = + || ?? ? : >= > < - *";
    for operator in operators.split(' ') {
        ours = ours.replace(&format!(" {operator} "), operator);
    }
    format!("/*\n{THEIR_LICENCE}*/\n{THEIR_SCRIPT}\n(() => {{\n\"use strict\";\n{ours}}})();\n")
}

/// The lines of `source` without what is only for its readers: comments, indentation, and ends of
/// lines where something is open.
fn squeeze(source: &str) -> String {
    let comment =
        |line: &str| line.starts_with("//") || line.starts_with("/*") && line.ends_with("*/");
    let code = |line: &&str| !line.is_empty() && !comment(line);
    let ended = |line: &str| !line.ends_with(['{', '(', '[', ',']);
    let lines = source.lines().map(str::trim).filter(code);
    lines.flat_map(|line| [line, if ended(line) { "\n" } else { "" }]).collect()
}

/// How a content security policy names an inline element.
fn policy_hash(content: &str) -> String {
    format!("sha256-{}", STANDARD.encode(digest(&SHA256, content.as_bytes())))
}

/// The report as JSON that no HTML parser finds a tag in.
fn data(report: &Report) -> String {
    let mut value = serde_json::to_value(report).expect("a report is plain data");
    drop_histograms(&mut value);
    // Outside of strings JSON has no `<`, and inside of them this is the same character.
    value.to_string().replace('<', "\\u003c")
}

/// The curves say what a page can show; histograms are for programs, and long.
fn drop_histograms(report: &mut Value) {
    for side in children(report, "sides") {
        for phase in children(side, "phases") {
            for stream in children(phase, "streams") {
                for measured in children(stream, "latencies") {
                    measured.as_object_mut().and_then(|fields| fields.remove("histogram"));
                }
            }
        }
    }
}

fn children<'a>(value: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> {
    value.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Latencies;
    use crate::report::model::{
        Host, Measure, Measured, Outcome, Phase, REPORT_VERSION, Side, Stream,
    };

    fn report(name: &str) -> Report {
        let latencies = vec![Measured {
            measure: Measure::Last,
            summary: Latencies::default().summary(),
            curve: vec![(0.5, 10), (1.0, 20)],
            histogram: Latencies::default(),
        }];
        let phase = Phase {
            name: name.into(),
            repeat: 1,
            seconds: 1.0,
            streams: vec![Stream { name: name.into(), latencies, ..Stream::default() }],
            closings: vec![name.into()],
            ..Phase::default()
        };
        Report {
            version: REPORT_VERSION,
            outcome: Outcome::Ok,
            reasons: vec![name.into()],
            run: 1_760_000_000_000,
            harness: "0.1.0".into(),
            host: Host::default(),
            scenario: name.into(),
            about: name.into(),
            configuration: serde_json::json!({ name: name }),
            objectives: Vec::new(),
            sides: vec![Side { name: name.into(), phases: vec![phase], ..Side::default() }],
            ratios: Vec::new(),
            saturation: None,
        }
    }

    fn element<'a>(page: &'a str, open: &str, close: &str) -> &'a str {
        let (_, rest) = page.split_once(open).expect(open);
        rest.split_once(close).expect(close).0
    }

    fn data_of(page: &str) -> &str {
        element(page, r#"<script type="application/json" id="report">"#, "</script>")
    }

    #[test]
    fn no_name_ends_its_element_or_is_taken_for_a_placeholder() {
        let calm = html(&report("calm")).matches('<').count();
        for name in ["</script><script>alert(1)</script>", "<!--<script>", "{{script}}", "\"'&>"] {
            let page = html(&report(name));
            assert_eq!(page.matches('<').count(), calm, "{name}");
            let read: Value = serde_json::from_str(data_of(&page)).unwrap();
            assert_eq!(read["scenario"], name);
            assert_eq!(read["sides"][0]["phases"][0]["streams"][0]["name"], name);
        }
    }

    #[test]
    fn the_data_has_curves_and_no_histograms() {
        let page = html(&report("calm"));
        let read: Value = serde_json::from_str(data_of(&page)).unwrap();
        let measured = &read["sides"][0]["phases"][0]["streams"][0]["latencies"][0];
        assert_eq!(measured["curve"][1], serde_json::json!([1.0, 20]));
        assert_eq!(measured.get("histogram"), None);
    }

    #[test]
    fn the_page_loads_nothing() {
        let page = html(&report("calm"));
        // The address in uPlot's own line is text.
        let rest = page.replacen("https://github.com/leeoniya/uPlot", "", 1);
        for way in ["http://", "https://", " src=", "url(", "@import", "<link", "fetch(", "import("]
        {
            assert!(!rest.contains(way), "{way}");
        }
    }

    #[test]
    fn nothing_in_the_scripts_makes_markup_or_code_of_text() {
        for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!script().contains(way), "{way}");
        }
        assert!(!script().contains("</script") && !style().contains("</style"));
    }

    #[test]
    fn the_policy_lets_just_this_style_and_this_script_in() {
        let page = html(&report("calm"));
        let policy = element(&page, r#"Content-Security-Policy" content=""#, "\"");
        let style = policy_hash(element(&page, "<style>", "</style>"));
        let script = policy_hash(element(&page, "\n<script>", "</script>"));
        assert_eq!(
            policy,
            format!(
                "default-src 'none'; style-src '{style}'; script-src '{script}'; \
                 base-uri 'none'; form-action 'none'"
            )
        );
    }

    #[test]
    fn what_is_ours_on_the_page_stays_small() {
        let theirs = THEIR_STYLE.len() + THEIR_SCRIPT.len() + THEIR_LICENCE.len();
        let ours = style().len() + script().len() - theirs;
        // About as much as uPlot. It was 40 KiB until the page learned to show a search for the
        // limit, which is a page of its own by what is on it.
        assert!(ours < 48 * 1024, "{ours} bytes");
    }
}
