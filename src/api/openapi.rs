//! The description for programs: OpenAPI 3.1, written by hand, and held against the routes and the
//! bodies by a test.

use axum::http::StatusCode;

use super::ask::Answer;
use super::problem::Problem;

const DESCRIPTION: &str = include_str!("openapi.json");

pub(super) async fn description() -> Result<Answer, Problem> {
    Ok(Answer::written(StatusCode::OK, DESCRIPTION))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::super::routes::ROUTES;
    use super::super::{bans, channels, members, messages, people};
    use super::*;
    use crate::model::scope::Scope;

    fn description() -> Value {
        serde_json::from_str(DESCRIPTION).expect("JSON")
    }

    #[test]
    fn every_route_is_described_and_nothing_else_with_its_scope() {
        let described: BTreeSet<_> = description()["paths"]
            .as_object()
            .expect("paths")
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().expect("methods").iter();
                methods.map(|(method, operation)| {
                    let scope = operation["x-scope"].as_str().map(str::to_owned);
                    (method.clone(), path.clone(), scope)
                })
            })
            .collect();
        let served: BTreeSet<_> = ROUTES
            .iter()
            .map(|route| {
                let scope = route.scope.map(|scope: Scope| scope.name().to_owned());
                (route.method.name().to_owned(), route.path.to_owned(), scope)
            })
            .collect();
        assert_eq!(described, served);
    }

    /// The fields that a body may have, as whoever reads it says.
    fn fields<T: DeserializeOwned>() -> BTreeSet<String> {
        let Err(error) = serde_json::from_str::<T>(r#"{"?": 0}"#) else {
            panic!("a body takes anything")
        };
        let said = error.to_string();
        // ``unknown field `?`, expected one of `a`, `b` at line ...``
        said.split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_field_of_a_body_is_described_and_nothing_else() {
        let description = description();
        for (name, taken) in [
            ("MakeUser", fields::<people::Make>()),
            ("GiveToken", fields::<people::GiveToken>()),
            ("MakeChannel", fields::<channels::Make>()),
            ("ChangeChannel", fields::<channels::Change>()),
            ("AddMembers", fields::<members::Add>()),
            ("GiveRole", fields::<members::GiveRole>()),
            ("Mute", fields::<members::Mute>()),
            ("KeepOut", fields::<bans::KeepOut>()),
            ("SendMessage", fields::<messages::Send>()),
            ("Custom", fields::<messages::Custom>()),
        ] {
            let schema = &description["components"]["schemas"][name];
            let described: BTreeSet<_> =
                schema["properties"].as_object().expect("properties").keys().cloned().collect();
            assert_eq!(described, taken, "{name}");
            assert_eq!(schema["additionalProperties"], false, "{name}");
        }
    }

    /// Every reference within `value`.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_names_in_a_path_are_parameters() {
        let description = description();
        let mut found = Vec::new();
        references(&description, &mut found);
        assert!(found.len() > 20);
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("a reference within");
            assert!(description.pointer(pointer).is_some(), "{reference}");
        }
        for route in &ROUTES {
            let operation = &description["paths"][route.path][route.method.name()];
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let given: BTreeSet<_> = parameters
                .filter(|parameter| parameter["in"] == "path")
                .filter_map(|parameter| parameter["name"].as_str())
                .collect();
            let named: BTreeSet<_> = route.path.split(['{', '}']).skip(1).step_by(2).collect();
            assert_eq!(given, named, "{}", route.path);
        }
    }
}
