use pretty_assertions::assert_eq;
use rstest::rstest;
use serde_json::json;

use super::*;

const BASE: &str = "
services:
  web:
    image: web:1
    command: [serve, --all]
    ports: ['80:80']
    networks: [inside]
    environment: { LEVEL: info, NAME: web }
    volumes: ['data:/data', '/run/x:/run/x:ro']
    healthcheck: { test: [CMD, check], retries: 3 }
    depends_on: [store]
  store: { image: store:1, networks: { inside: { aliases: [s] } } }
networks: { inside: {}, outside: {} }
volumes: { data: }
";

fn base() -> Compose {
    Compose::default().with("base.yml", BASE).expect("sound")
}

/// The service `web` of [`BASE`] with `overlay` merged into it, at `pointer`.
#[rstest]
#[case::scalar_of_the_later_file("image: web:2", "/image", json!("web:2"))]
#[case::mappings_merge("environment: { LEVEL: debug }", "/environment", json!({ "LEVEL": "debug", "NAME": "web" }))]
#[case::mapping_as_list("environment: [LEVEL=debug]", "/environment", json!({ "LEVEL": "debug", "NAME": "web" }))]
#[case::ports_append("ports: ['443:443', '80:80']", "/ports", json!(["80:80", "443:443"]))]
#[case::override_replaces("ports: !override ['81:80']", "/ports", json!(["81:80"]))]
#[case::override_of_a_mapping("environment: !override { A: b }", "/environment", json!({ "A": "b" }))]
#[case::reset_removes("ports: !reset []", "/ports", json!(null))]
#[case::networks_append("networks: [outside]", "/networks", json!({ "inside": null, "outside": null }))]
#[case::volumes_by_target(
    "volumes: ['/data', 'more:/more']",
    "/volumes",
    json!(["/data", "/run/x:/run/x:ro", "more:/more"])
)]
#[case::command_is_replaced("command: [idle]", "/command", json!(["idle"]))]
#[case::test_is_replaced("healthcheck: { test: [NONE] }", "/healthcheck", json!({ "test": ["NONE"], "retries": 3 }))]
#[case::dependencies_merge(
    "depends_on: { other: { condition: service_healthy } }",
    "/depends_on",
    json!({ "store": { "condition": "service_started" }, "other": { "condition": "service_healthy" } })
)]
fn files_merge(#[case] overlay: &str, #[case] pointer: &str, #[case] expected: Value) {
    let text = format!("services:\n  web:\n    {overlay}\n");
    let merged = base().with("overlay.yml", &text).expect("sound");
    assert_eq!(merged.service("web").pointer(pointer).cloned().unwrap_or_default(), expected);
}

#[test]
fn anchors_of_one_file_are_resolved() {
    let text = "x-all: &all { image: i }\nservices: { a: { <<: *all, command: [x] } }\n";
    let compose = Compose::default().with("a.yml", text).expect("sound");
    assert_eq!(compose.service("a"), &json!({ "image": "i", "command": ["x"] }));
}

#[test]
fn members_are_read_from_both_forms() {
    let overlay = "services: { alone: { image: i } }\n";
    let compose = base().with("overlay.yml", overlay).expect("sound");
    let expected = [("default", vec!["alone"]), ("inside", vec!["store", "web"]), ("outside", vec![])];
    let expected = expected.map(|(network, services)| (network, services.into_iter().collect()));
    assert_eq!(compose.members(), BTreeMap::from(expected));
}

#[rstest]
#[case::nothing("{}", &[])]
#[case::undefined_service("services: { ghost: { ports: ['1'] } }", &["ghost has neither image nor build"])]
#[case::dependency("services: { web: { depends_on: [ghost] } }", &["web depends on ghost"])]
#[case::network("services: { web: { networks: [ghost] } }", &["web is on the network ghost"])]
#[case::volume("services: { web: { volumes: ['ghost:/g', './here:/h', '/anonymous'] } }", &["web has the volume ghost"])]
fn what_docker_would_refuse_is_named(#[case] overlay: &str, #[case] parts: &[&str]) {
    let problems = base().with("overlay.yml", overlay).expect("sound").problems();
    assert_eq!(problems.len(), parts.len(), "{problems:?}");
    for (problem, part) in problems.iter().zip(parts) {
        assert!(problem.starts_with(part), "{problem}");
    }
}

#[rstest]
#[case::variable("DB_PASSWORD: '${DB_PASSWORD:-x}'", false)]
#[case::literal("DB_PASSWORD: hunter2", true)]
#[case::other("LEVEL: info", false)]
#[case::address_of_variables("URL: 'postgresql://${U:-u}:${P:-p}@db/x'", false)]
#[case::address_with_literal("URL: 'postgresql://u:hunter2@db/x'", true)]
#[case::address_without("URL: 'redis://redis:6379/0'", false)]
fn secrets_must_be_variables(#[case] entry: &str, #[case] found: bool) {
    let text = format!("services: {{ web: {{ environment: {{ {entry} }} }} }}");
    let secrets = base().with("overlay.yml", &text).expect("sound").literal_secrets();
    assert_eq!(!secrets.is_empty(), found, "{secrets:?}");
}

#[rstest]
#[case::not_yaml("services: [", "x.yml: ")]
#[case::no_mapping("- a", "x.yml: it is no mapping")]
#[case::unknown_tag("services: !merge {}", "x.yml: the tag !merge is neither !override nor !reset")]
fn what_cannot_be_read_is_named(#[case] text: &str, #[case] part: &str) {
    let error = Compose::default().with("x.yml", text).expect_err("refused").to_string();
    assert!(error.starts_with(part), "{error}");
}
