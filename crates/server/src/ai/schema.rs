//! JSON schemas of tools and answers in strict mode: what was optional becomes required and nullable, and the nulls that
//! a model must then send are taken out of a tool's arguments again.

use serde_json::{Map, Value, json};

/// Deeper schemas are sent as they are: each level costs stack, and no tool nests like that.
const MAX_DEPTH: usize = 32;

/// The schema in strict mode; `None` when strict mode cannot express it (`oneOf`, `$ref`).
pub(super) fn to_strict(schema: &Value) -> Option<Value> {
    can_be_strict(schema, 0).then(|| strict(schema))
}

/// What a tool without a schema takes, in strict mode.
pub(super) fn no_arguments_strict() -> Value {
    json!({ "type": "object", "properties": {}, "required": [], "additionalProperties": false })
}

/// What a tool without a schema takes.
pub(super) fn no_arguments() -> Value {
    json!({ "type": "object", "properties": {}, "required": [] })
}

/// Whether strict mode can express a schema.
fn can_be_strict(schema: &Value, depth: usize) -> bool {
    let Value::Object(schema) = schema else {
        // `true` stands for anything, which strict mode cannot say.
        return false;
    };
    depth <= MAX_DEPTH
        && !schema.contains_key("oneOf")
        && !schema.contains_key("$ref")
        && inner_schemas(schema).all(|inner| can_be_strict(inner, depth + 1))
}

/// The schemas within one that [`strict`] rewrites as well.
fn inner_schemas(schema: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let choices = schema.get("anyOf").and_then(Value::as_array);
    let properties = properties.into_iter().flat_map(Map::values);
    let choices = choices.into_iter().flatten();
    properties.chain(schema.get("items")).chain(choices)
}

/// Rewrites a schema that can be strict.
fn strict(schema: &Value) -> Value {
    let Value::Object(schema) = schema else {
        return schema.clone();
    };
    let mut out = Map::new();
    for (key, value) in schema {
        let value = match (key.as_str(), value) {
            ("$schema", _) => continue,
            ("properties", Value::Object(properties)) => {
                Value::Object(strict_properties(schema, properties))
            }
            ("items", items) => strict(items),
            ("anyOf", Value::Array(choices)) => choices.iter().map(strict).collect(),
            // The vendors' strict modes know no `const`.
            ("const", value) => {
                out.insert("enum".to_owned(), json!([value]));
                continue;
            }
            (_, value) => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    if is_object(schema) {
        let names = schema.get("properties").and_then(Value::as_object);
        let names: Vec<_> = names.into_iter().flat_map(Map::keys).cloned().collect();
        out.entry("properties").or_insert_with(|| json!({}));
        out.insert("required".to_owned(), Value::from(names));
        out.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    Value::Object(out)
}

fn strict_properties(
    schema: &Map<String, Value>,
    properties: &Map<String, Value>,
) -> Map<String, Value> {
    properties
        .iter()
        .map(|(name, property)| {
            let mut property = strict(property);
            if !is_required(schema, name) {
                make_nullable(&mut property);
            }
            (name.clone(), property)
        })
        .collect()
}

fn is_object(schema: &Map<String, Value>) -> bool {
    let is_typed = match schema.get("type") {
        Some(Value::String(name)) => name == "object",
        Some(Value::Array(names)) => names.iter().any(|name| name == "object"),
        _ => false,
    };
    is_typed || schema.contains_key("properties")
}

fn is_required(schema: &Map<String, Value>, name: &str) -> bool {
    let required = schema.get("required").and_then(Value::as_array);
    required.is_some_and(|required| required.iter().any(|required| required == name))
}

fn make_nullable(schema: &mut Value) {
    let Value::Object(schema) = schema else {
        return;
    };
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        let null = json!({ "type": "null" });
        if !choices.contains(&null) {
            choices.push(null);
        }
    }
    match schema.get_mut("type") {
        Some(Value::String(name)) if name != "null" => {
            let name = std::mem::take(name);
            schema.insert("type".to_owned(), json!([name, "null"]));
        }
        Some(Value::Array(names)) if !names.iter().any(|name| name == "null") => {
            names.push(Value::from("null"));
        }
        _ => {}
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
}

/// Takes out the nulls that stand for optional members, unless the tool itself allows null there. Where strict mode was
/// off, a null is what the model meant.
pub(super) fn remove_strict_nulls(input: &mut Value, schema: &Value) {
    if can_be_strict(schema, 0) {
        remove_nulls(input, schema);
    }
}

fn remove_nulls(input: &mut Value, schema: &Value) {
    match (input, schema.as_object()) {
        (Value::Object(input), Some(schema)) => {
            let Some(Value::Object(properties)) = schema.get("properties") else {
                return;
            };
            for (name, property) in properties {
                let is_filler = input.get(name) == Some(&Value::Null)
                    && !is_required(schema, name)
                    && !allows_null(property);
                if is_filler {
                    input.shift_remove(name);
                } else if let Some(value) = input.get_mut(name) {
                    remove_nulls(value, property);
                }
            }
        }
        (Value::Array(values), Some(schema)) => {
            if let Some(items) = schema.get("items") {
                for value in values {
                    remove_nulls(value, items);
                }
            }
        }
        _ => {}
    }
}

fn allows_null(schema: &Value) -> bool {
    let lists = |member: &str, is_null: fn(&Value) -> bool| {
        let values = schema.get(member).and_then(Value::as_array);
        values.is_some_and(|values| values.iter().any(is_null))
    };
    let names_null = |name: &Value| name == "null";
    schema.get("type").is_some_and(names_null)
        || lists("type", names_null)
        || lists("enum", Value::is_null)
        || schema.get("const").is_some_and(Value::is_null)
        || lists("anyOf", allows_null)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{remove_strict_nulls, to_strict};

    #[test]
    fn schemas_that_strict_mode_cannot_express_are_left_alone() {
        for schema in [
            json!({ "type": "object", "properties": { "a": { "$ref": "#/x" } } }),
            json!({ "type": "array", "items": { "oneOf": [] } }),
            json!({ "type": "object", "properties": { "a": true } }),
        ] {
            assert_eq!(to_strict(&schema), None, "{schema}");
        }
        let mut deep = json!({ "type": "string" });
        for _ in 0..100 {
            deep = json!({ "type": "array", "items": deep });
        }
        assert_eq!(to_strict(&deep), None);
    }

    #[track_caller]
    fn check(schema: &Value, mut input: Value, expect: &Value) {
        remove_strict_nulls(&mut input, schema);
        assert_eq!(input, *expect);
    }

    #[test]
    fn nulls_go_only_where_they_stand_for_something_left_out() {
        let schema = json!({
            "type": "object",
            "properties": {
                "must": { "type": "string" },
                "may": { "type": "string" },
                "nullable": { "type": ["string", "null"] },
                "list": { "type": "array", "items": {
                    "type": "object", "properties": { "k": { "type": "string" } },
                } },
            },
            "required": ["must"],
        });
        check(
            &schema,
            json!({ "must": null, "may": null, "nullable": null, "list": [{ "k": null }], "x": null }),
            &json!({ "must": null, "nullable": null, "list": [{}], "x": null }),
        );
    }

    #[test]
    fn nulls_that_the_tool_allows_stay() {
        for property in [
            json!({ "type": "null" }),
            json!({ "type": ["string", "null"] }),
            json!({ "enum": ["a", null] }),
            json!({ "const": null }),
            json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] }),
            json!({ "anyOf": [{ "type": "string" }, { "enum": [null] }] }),
        ] {
            let schema = json!({ "type": "object", "properties": { "may": property } });
            check(&schema, json!({ "may": null }), &json!({ "may": null }));
        }
        let listed = json!({ "type": "object", "properties": { "may": { "enum": ["a", "b"] } } });
        check(&listed, json!({ "may": null }), &json!({}));
    }

    #[test]
    fn nulls_stay_where_strict_mode_is_off() {
        for other in [
            json!({ "oneOf": [{ "type": "string" }, { "type": "number" }] }),
            json!({ "$ref": "#/$defs/other" }),
        ] {
            let schema = json!({
                "type": "object",
                "properties": { "may": { "type": "string" }, "other": other },
            });
            let input = json!({ "may": null, "other": null });
            check(&schema, input.clone(), &input);
        }
    }
}
