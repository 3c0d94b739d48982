use super::*;

fn each_node(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    if let Some(Value::Object(fields)) = schema.get("properties") {
        for (name, field) in fields {
            each_node(field, &format!("{path}.{name}"), visit);
        }
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(name) {
            each_node(inner, &format!("{path}[]"), visit);
        }
    }
}

fn kinds() -> impl Iterator<Item = Kind> {
    Kind::ALL
        .iter()
        .copied()
        .filter(|kind| kind.is_ambassador() && *kind != Kind::DevPortal)
}

#[test]
fn schemas_are_structural() {
    const KEYWORDS: &[&str] = &[
        "description",
        "type",
        "properties",
        "required",
        "items",
        "additionalProperties",
        "enum",
        "minimum",
        "maximum",
        "minItems",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
    ];
    for kind in kinds() {
        for schema in [wide_for_kind(kind), status_for_kind(kind), for_kind(kind)] {
            each_node(&schema.unwrap(), kind.as_str(), &mut |path, node| {
                let node = node.as_object().unwrap();
                for keyword in node.keys() {
                    assert!(KEYWORDS.contains(&keyword.as_str()), "{path}: {keyword}");
                }
                let open = node.contains_key("x-kubernetes-preserve-unknown-fields")
                    || node.contains_key("x-kubernetes-int-or-string");
                assert!(node.contains_key("type") || open, "{path}: no type");
                assert!(
                    !(node.contains_key("properties") && open),
                    "{path}: must be closed"
                );
            });
        }
    }
}

#[test]
fn every_field_is_described() {
    for kind in kinds() {
        for schema in [wide_for_kind(kind), status_for_kind(kind)] {
            each_node(&schema.unwrap(), kind.as_str(), &mut |path, node| {
                if !path.ends_with("[]") {
                    assert!(node.get("description").is_some(), "{path}");
                }
            });
        }
    }
}

#[test]
fn fields_that_differ_between_versions_are_open() {
    let open = |kind: Kind, pointer: &str| {
        let schema = wide_for_kind(kind).unwrap();
        let node = schema
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{pointer}"));
        node.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
            && node.get("type").is_none()
    };
    for kind in kinds() {
        assert!(open(kind, "/properties/ambassador_id"), "{kind}");
    }
    for pointer in [
        "/properties/tls",
        "/properties/headers/additionalProperties",
        "/properties/query_parameters/additionalProperties",
        "/properties/add_request_headers/additionalProperties",
        "/properties/add_response_headers/additionalProperties",
        "/properties/remove_request_headers",
        "/properties/remove_response_headers",
        "/properties/cors/properties/origins",
        "/properties/cors/properties/methods",
        "/properties/labels/additionalProperties/items/additionalProperties/items",
    ] {
        assert!(open(Kind::Mapping, pointer), "{pointer}");
    }
    assert!(open(Kind::Host, "/properties/ambassadorId"));
    assert!(open(Kind::TcpMapping, "/properties/tls"));
}

#[test]
fn fields_that_only_v2_has_are_in_the_wide_schema() {
    for old in OLD_NAMES {
        let within: String = old
            .within
            .iter()
            .map(|name| format!("/properties/{name}"))
            .collect();
        let pointer = format!("{within}/properties/{}", old.old);
        let wide = wide_for_kind(old.kind).unwrap();
        assert!(wide.pointer(&pointer).is_some(), "{} {pointer}", old.kind);
        let strict = for_kind(old.kind).unwrap();
        assert!(strict.pointer(&pointer).is_none(), "{} {pointer}", old.kind);
    }
}

#[test]
fn required_fields_are_those_of_the_specification() {
    let list = |names: &str| names.split(' ').collect::<Value>();
    let required = |schema: Option<Value>| schema.unwrap().get("required").cloned();
    for (kind, strict, wide) in [
        (
            Kind::Listener,
            Some("hostBinding port securityModel"),
            Some("hostBinding port securityModel"),
        ),
        (
            Kind::Mapping,
            Some("prefix service"),
            Some("prefix service"),
        ),
        (Kind::TcpMapping, Some("port service"), Some("port service")),
        (Kind::Module, Some("config"), None),
        (Kind::Host, None, None),
        (Kind::ConsulResolver, None, None),
        (
            Kind::AuthService,
            Some("auth_service"),
            Some("auth_service"),
        ),
    ] {
        assert_eq!(required(for_kind(kind)), strict.map(list), "{kind}");
        assert_eq!(required(wide_for_kind(kind)), wide.map(list), "{kind}");
    }
}
