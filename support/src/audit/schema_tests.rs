use pretty_assertions::assert_eq;
use rstest::rstest;

use super::*;
use crate::{audit::sample::Bundle, verdict::Status, workspace};

fn errors(audit: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(&schema()).expect("the schema is one");
    validator.iter_errors(audit).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn with_everything_wrong() -> Bundle {
    Bundle::green()
        .result("x_01_y", "<failure/>")
        .record("x_01_y", Some(Status::Fail("no".into())), |_| ())
        .result("b1_07_mcp_tool_responses::x", r#"<flakyFailure type="test failure" message="x"/>"#)
        .record("b1_19_left", None, |_| ())
}

#[test]
fn the_published_schema_is_that_of_the_types() {
    let text = std::fs::read_to_string(workspace::fixture("schemas/audit.schema.json")).expect("it is published");
    let published: Value = serde_json::from_str(&text).expect("JSON");
    let advice = "publish it anew: cargo run4 audit --schema > fixtures/schemas/audit.schema.json";
    assert_eq!(published, schema(), "{advice}");
}

#[rstest]
#[case::green(Bundle::green())]
#[case::nothing(Bundle::new())]
#[case::red(with_everything_wrong())]
fn an_audit_fits_its_schema(#[case] bundle: Bundle) {
    let bundle = bundle.seal();
    std::fs::write(bundle.path("junit/stray.xml"), "<x/>").expect("written");
    let audit = serde_json::to_value(bundle.audit()).expect("JSON");
    assert_eq!(errors(&audit), Vec::<String>::new());
}

#[rstest]
#[case::unknown_field("/manifest", "colour", "additional")]
#[case::unknown_field_of_a_test("/tests/0", "colour", "unevaluated")]
#[case::unknown_field_of_a_row("/rows/0/row", "colour", "additional")]
#[case::wrong_type("", "seal", "is not of type")]
fn what_the_schema_does_not_know_is_an_error(#[case] place: &str, #[case] field: &str, #[case] said: &str) {
    let mut audit = serde_json::to_value(Bundle::green().seal().audit()).expect("JSON");
    audit.pointer_mut(place).expect("it is there")[field] = Value::from(7);
    let errors = errors(&audit).join("\n").to_lowercase();
    assert!(errors.contains(said), "{errors}");
}

#[test]
fn every_field_says_what_it_is() {
    fn collect(schema: &Value, place: &str, silent: &mut Vec<String>) {
        match schema {
            Value::Object(keywords) => {
                for (name, part) in keywords.get("properties").and_then(Value::as_object).into_iter().flatten() {
                    // What a variant holds is told by the variant.
                    let told = place.ends_with("/oneOf") && keywords.contains_key("description");
                    if !told && part.get("description").is_none() && part.get("const").is_none() {
                        silent.push(format!("{place}/{name}"));
                    }
                }
                keywords.iter().for_each(|(name, part)| collect(part, &format!("{place}/{name}"), silent));
            }
            Value::Array(parts) => parts.iter().for_each(|part| collect(part, place, silent)),
            _ => (),
        }
    }
    let mut silent = Vec::new();
    collect(&schema(), "", &mut silent);
    assert_eq!(silent, Vec::<String>::new());
}
