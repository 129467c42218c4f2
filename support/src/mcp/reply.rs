//! Replies, and the value in them whatever SDK wrote the envelope (spec tools.md §2.3).

use std::time::Duration;

use rmcp::model::CallToolResult;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::McpError;

/// What a tool's value is (spec tools.md §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A JSON object.
    Object,
    /// An object, or null.
    Nullable,
    /// A list.
    List,
    /// Text.
    String,
}

/// What a server answered to one call.
#[derive(Debug)]
#[must_use = "read the reply's value or its error: a call nobody looked at proves nothing"]
pub struct Reply {
    tool: String,
    result: CallToolResult,
    elapsed: Duration,
}

impl Reply {
    pub(super) fn new(tool: &str, result: CallToolResult, elapsed: Duration) -> Self {
        Self { tool: tool.to_owned(), result, elapsed }
    }

    /// The time from the request to the reply.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The text of an `isError` reply; `None` for any other.
    pub fn error_text(&self) -> Option<String> {
        (self.result.is_error == Some(true)).then(|| self.texts().join("\n"))
    }

    /// The envelope as it came, for evidence.
    pub fn envelope(&self) -> Value {
        serde_json::to_value(&self.result).unwrap_or_else(|error| json!({ "unprintable": error.to_string() }))
    }

    /// The value of a reply of the kind `kind`.
    ///
    /// # Errors
    /// [`McpError::Tool`] for `isError`, [`McpError::Malformed`] when the reply is not of the
    /// kind, [`McpError::Business`] for an error that was not flagged.
    pub fn value(&self, kind: Kind) -> Result<Value, McpError> {
        if let Some(message) = self.error_text() {
            return Err(McpError::Tool { tool: self.tool.clone(), message });
        }
        let value = match &self.result.structured_content {
            Some(structured) if !structured.is_null() => unwrap_result(structured.clone()),
            _ => self.value_of_texts(kind)?,
        };
        if let Some(message) = business_error(&value) {
            return Err(McpError::Business { tool: self.tool.clone(), message });
        }
        let fits = match kind {
            Kind::Object => value.is_object(),
            Kind::Nullable => value.is_object() || value.is_null(),
            Kind::List => value.is_array(),
            Kind::String => value.is_string(),
        };
        if fits { Ok(value) } else { Err(self.malformed(format!("promised {kind:?}, answered {value}"))) }
    }

    fn value_of_texts(&self, kind: Kind) -> Result<Value, McpError> {
        let texts = self.texts();
        match (kind, texts.as_slice()) {
            (Kind::String, texts) => Ok(Value::String(texts.concat())),
            (Kind::List, []) => Ok(json!([])),
            (Kind::List, [one]) => match unwrap_result(self.decode(one)?) {
                list @ Value::Array(_) => Ok(list),
                element => Ok(json!([element])),
            },
            (Kind::List, many) => many.iter().map(|text| self.decode(text)).collect(),
            (Kind::Nullable, []) => Ok(Value::Null),
            (Kind::Object, []) => Err(self.malformed("an object was promised, the reply is empty".into())),
            (_, [one]) => self.decode(one).map(unwrap_result),
            (_, many) => self.decode(&many.concat()).map(unwrap_result),
        }
    }

    fn texts(&self) -> Vec<&str> {
        self.result.content.iter().filter_map(|block| block.as_text()).map(|text| text.text.as_str()).collect()
    }

    fn decode(&self, text: &str) -> Result<Value, McpError> {
        serde_json::from_str(text).map_err(|error| self.malformed(format!("the text is not JSON ({error}): {text:?}")))
    }

    fn malformed(&self, problem: String) -> McpError {
        McpError::Malformed { tool: self.tool.clone(), problem }
    }
}

/// `{"result": x}` is how SDKs wrap what is not an object.
fn unwrap_result(value: Value) -> Value {
    match value {
        Value::Object(mut members) if members.len() == 1 && members.contains_key("result") => {
            members.remove("result").unwrap_or_default()
        }
        other => other,
    }
}

/// The text of `{"error": …}`, alone or as the one element of a list.
fn business_error(value: &Value) -> Option<String> {
    let object = match value {
        Value::Array(items) if items.len() == 1 => items[0].as_object(),
        other => other.as_object(),
    }?;
    let error = object.get("error").filter(|_| object.len() == 1)?;
    Some(error.as_str().map_or_else(|| error.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::Class;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    fn reply(envelope: Value) -> Reply {
        let result = serde_json::from_value(envelope).expect("an envelope");
        Reply::new("tool", result, Duration::ZERO)
    }

    fn texts(texts: &[&str]) -> Reply {
        let blocks: Vec<_> = texts.iter().map(|text| json!({"type": "text", "text": text})).collect();
        reply(json!({ "content": blocks }))
    }

    #[rstest]
    #[case::structured_object(Kind::Object, json!({"content": [], "structuredContent": {"a": 1}}), json!({"a": 1}))]
    #[case::structured_wrapped(Kind::List, json!({"content": [], "structuredContent": {"result": [1]}}), json!([1]))]
    #[case::structured_null(Kind::Nullable, json!({"content": [], "structuredContent": {"result": null}}), json!(null))]
    #[case::structured_text(Kind::String, json!({"content": [], "structuredContent": {"result": "x"}}), json!("x"))]
    #[case::structured_missing(Kind::Object, json!({"content": [{"type": "text", "text": "{\"a\":1}"}], "structuredContent": null}), json!({"a": 1}))]
    fn structured_replies_are_read(#[case] kind: Kind, #[case] envelope: Value, #[case] value: Value) {
        assert_eq!(reply(envelope).value(kind).expect("a value"), value);
    }

    #[rstest]
    #[case::no_block_is_an_empty_list(Kind::List, &[], json!([]))]
    #[case::one_block_with_a_list(Kind::List, &["[1,2]"], json!([1, 2]))]
    #[case::one_block_wrapped(Kind::List, &[r#"{"result":[1]}"#], json!([1]))]
    #[case::one_block_an_element(Kind::List, &[r#"{"a":1}"#], json!([{"a": 1}]))]
    #[case::a_block_per_element(Kind::List, &[r#"{"a":1}"#, r#"{"a":2}"#], json!([{"a": 1}, {"a": 2}]))]
    #[case::no_block_is_null(Kind::Nullable, &[], json!(null))]
    #[case::null_text(Kind::Nullable, &["null"], json!(null))]
    #[case::object(Kind::Object, &[r#"{"a":1}"#], json!({"a": 1}))]
    #[case::object_in_pieces(Kind::Object, &[r#"{"a":"#, "1}"], json!({"a": 1}))]
    #[case::text_is_not_decoded(Kind::String, &["[1", "]"], json!("[1]"))]
    #[case::empty_text(Kind::String, &[], json!(""))]
    fn text_replies_are_read(#[case] kind: Kind, #[case] blocks: &[&str], #[case] value: Value) {
        assert_eq!(texts(blocks).value(kind).expect("a value"), value);
    }

    #[rstest]
    #[case::empty_object(Kind::Object, &[], Class::Malformed)]
    #[case::null_object(Kind::Object, &["null"], Class::Malformed)]
    #[case::garbage(Kind::Object, &["not json"], Class::Malformed)]
    #[case::list_for_object(Kind::Object, &["[1]"], Class::Malformed)]
    #[case::business(Kind::Object, &[r#"{"error":"no"}"#], Class::Business)]
    #[case::business_in_list(Kind::List, &[r#"[{"error":"no"}]"#], Class::Business)]
    fn bad_replies_have_a_class(#[case] kind: Kind, #[case] blocks: &[&str], #[case] class: Class) {
        assert_eq!(texts(blocks).value(kind).expect_err("a bad reply").class(), class);
    }

    #[test]
    fn an_error_flag_wins_over_content() {
        let flagged = reply(json!({"isError": true, "content": [{"type": "text", "text": "404: none"}]}));
        assert_eq!(flagged.error_text().as_deref(), Some("404: none"));
        assert_eq!(flagged.value(Kind::List).expect_err("flagged").class(), Class::Tool);
    }
}
