//! The hash by which two contracts are the same (spec tools.md §3), computed by the suite itself.

use serde_json::Value;

use crate::matrix::digest;

/// The lower-case hex SHA-256 of the canonical text of `spec`: equal for specs that differ in
/// the order of their keys only.
pub fn spec_hash(spec: &Value) -> String {
    digest(canonical(spec).as_bytes())
}

/// Keys sorted at every level, separators `", "` and `": "`, ASCII only, integers without a
/// fraction part.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            let members = sorted.into_iter().map(|(key, member)| format!("{}: {}", quoted(key), canonical(member)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        Value::Array(elements) => format!("[{}]", elements.iter().map(canonical).collect::<Vec<_>>().join(", ")),
        Value::String(text) => quoted(text),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => format!("{float:.0}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let mut ascii = String::new();
    for character in Value::from(text).to_string().chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            let mut units = [0; 2];
            ascii.extend(character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case::sorted(json!({"b": [1, 2.0, 2.5, null], "a": {"d": true, "c": "x"}}), r#"{"a": {"c": "x", "d": true}, "b": [1, 2, 2.5, null]}"#)]
    #[case::ascii(json!("é\n\"𝄞"), r#""\u00e9\n\"\ud834\udd1e""#)]
    #[case::empty(json!({"a": [], "b": {}}), r#"{"a": [], "b": {}}"#)]
    fn the_text_is_canonical(#[case] value: Value, #[case] text: &str) {
        assert_eq!(canonical(&value), text);
    }

    #[test]
    fn the_samples_have_the_hashes_of_the_table_of_tools() {
        let variables = crate::mcp::Toolset::load().and_then(|toolset| toolset.variables()).expect("readable");
        for name in ["openapi_auth", "openapi_order"] {
            let hash = variables.get(&format!("{name}_hash")).and_then(Value::as_str);
            assert_eq!(variables.get(name).map(spec_hash).as_deref(), hash, "{name}");
        }
    }
}
