//! Milestone 4, contracts: so far the promise that needs no pipeline run (spec matrix.md).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rstest::rstest;
use serde_json::{Value, json};
use support::{
    fixtures::{
        Application, EVENT_LIMIT, Person,
        Tracker::{self, Auth, Notification, Order},
        an_order, new_credentials,
    },
    mcp::Kind,
    prelude::*,
    stack::{
        bus::Entry,
        tokens::{Signature, token, verified_claims},
    },
};
use uuid::Uuid;

/// B1-04: every specification among the fixtures is valid without an error; one without
/// `info` and `paths` is not, and the errors say so.
#[rstest]
#[case::auth("openapi_auth", "openapi")]
#[case::order("openapi_order", "openapi")]
#[case::events("asyncapi_order", "asyncapi")]
#[tokio::test]
async fn b1_04_contract_validation(
    #[case] fixture: &str,
    #[case] kind: &str,
    mut build1: Build1,
    evidence: Evidence,
) -> Verdict {
    let spec = build1.variables().get(fixture).cloned().unwrap_or_default();
    let verdict = build1.call("validate_spec", json!({ "spec": spec, "type": kind })).await?.value(Kind::Object)?;
    evidence.check_eq("valid", &verdict["valid"], &json!(true))?;
    evidence.check_eq("errors", &verdict["errors"], &json!([]))?;

    let mut broken = spec;
    for key in ["info", "paths", "channels"] {
        broken.as_object_mut().map(|members| members.remove(key));
    }
    let verdict = build1.call("validate_spec", json!({ "spec": broken, "type": kind })).await?.value(Kind::Object)?;
    evidence.check_eq("the broken twin is not valid", &verdict["valid"], &json!(false))?;
    evidence.check(
        "its errors are listed",
        verdict["errors"].as_array().is_some_and(|errors| !errors.is_empty()),
        &verdict,
    )?;
    evidence.check(
        "each error is a text",
        verdict["errors"].as_array().into_iter().flatten().all(Value::is_string),
        &verdict,
    )
}

// ---- TaskTracker for real: the sample application, alive (spec tasktracker.md)

/// Someone else than the person who acts, and an order of each.
struct Scene {
    ada: Person,
    bob: Person,
    own: Value,
    foreign: Value,
}

impl Scene {
    async fn set(application: &Application) -> Result<Self, Failure> {
        let (ada, bob) = (application.person().await?, application.person().await?);
        let (own, foreign) = (application.order(&ada).await?, application.order(&bob).await?);
        Ok(Self { ada, bob, own, foreign })
    }

    /// A path with the ids of this scene in it.
    fn path(&self, path: &str) -> String {
        let id = |order: &Value| order["id"].as_str().unwrap_or_default().to_owned();
        path.replace("{own}", &id(&self.own))
            .replace("{foreign}", &id(&self.foreign))
            .replace("{unknown}", "00000000-0000-4000-8000-000000000000")
    }
}

/// Who makes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Nobody,
    Ada,
}
use Who::{Ada, Nobody};

/// What a body of success has to have, by method and path.
const FIELDS: [(&str, &[&str]); 9] = [
    ("POST /register", &["id", "email", "created_at"]),
    ("POST /login", &["access_token", "refresh_token"]),
    ("GET /users/me", &["id", "email", "created_at"]),
    ("POST /orders", &["id", "user_id", "status", "items", "total", "created_at"]),
    ("GET /orders/{own}", &["id", "user_id", "status", "items", "total", "created_at"]),
    ("PUT /orders/{own}", &["id", "user_id", "status", "items", "total", "created_at"]),
    ("POST /notify", &["id", "user_id", "type", "message", "sent_at", "order_id"]),
    ("GET /notifications", &[]),
    ("GET /health", &["status"]),
];

type Body = fn(&Scene) -> Value;

/// R4-M4-006: every endpoint answers with each documented status, with the fields of its
/// success or the reason of its refusal, and never with a password.
#[rstest]
#[case::register_201(Auth, "POST", "/register", Nobody, |_: &Scene| new_credentials(), 201)]
#[case::register_409_email_taken(Auth, "POST", "/register", Nobody, |scene: &Scene| json!({ "email": scene.ada.email, "password": "another password" }), 409)]
#[case::register_422_bad_email(Auth, "POST", "/register", Nobody, |_: &Scene| json!({ "email": "ada", "password": "long enough" }), 422)]
#[case::register_422_short_password(Auth, "POST", "/register", Nobody, |_: &Scene| json!({ "email": new_credentials()["email"], "password": "seven77" }), 422)]
#[case::register_422_no_password(Auth, "POST", "/register", Nobody, |_: &Scene| json!({ "email": new_credentials()["email"] }), 422)]
#[case::login_200(Auth, "POST", "/login", Nobody, |scene: &Scene| json!({ "email": scene.ada.email, "password": scene.ada.password }), 200)]
#[case::login_401_wrong_password(Auth, "POST", "/login", Nobody, |scene: &Scene| json!({ "email": scene.ada.email, "password": scene.bob.password }), 401)]
#[case::login_401_unknown_email(Auth, "POST", "/login", Nobody, |_: &Scene| new_credentials(), 401)]
#[case::login_422(Auth, "POST", "/login", Nobody, |scene: &Scene| json!({ "email": scene.ada.email }), 422)]
#[case::me_200(Auth, "GET", "/users/me", Ada, |_: &Scene| Value::Null, 200)]
#[case::me_401(Auth, "GET", "/users/me", Nobody, |_: &Scene| Value::Null, 401)]
#[case::create_order_201(Order, "POST", "/orders", Ada, |_: &Scene| an_order(), 201)]
#[case::create_order_401(Order, "POST", "/orders", Nobody, |_: &Scene| an_order(), 401)]
#[case::create_order_422_no_items(Order, "POST", "/orders", Ada, |_: &Scene| json!({ "items": [], "total": 1.0 }), 422)]
#[case::create_order_422_negative_total(Order, "POST", "/orders", Ada, |_: &Scene| json!({ "items": an_order()["items"], "total": -0.01 }), 422)]
#[case::get_order_200(Order, "GET", "/orders/{own}", Ada, |_: &Scene| Value::Null, 200)]
#[case::get_order_401(Order, "GET", "/orders/{own}", Nobody, |_: &Scene| Value::Null, 401)]
#[case::get_order_404_unknown(Order, "GET", "/orders/{unknown}", Ada, |_: &Scene| Value::Null, 404)]
#[case::get_order_404_of_another(Order, "GET", "/orders/{foreign}", Ada, |_: &Scene| Value::Null, 404)]
#[case::update_order_200(Order, "PUT", "/orders/{own}", Ada, |_: &Scene| json!({ "status": "confirmed" }), 200)]
#[case::update_order_401(Order, "PUT", "/orders/{own}", Nobody, |_: &Scene| json!({ "status": "confirmed" }), 401)]
#[case::update_order_404_unknown(Order, "PUT", "/orders/{unknown}", Ada, |_: &Scene| json!({ "status": "confirmed" }), 404)]
#[case::update_order_404_of_another(Order, "PUT", "/orders/{foreign}", Ada, |_: &Scene| json!({ "status": "confirmed" }), 404)]
#[case::update_order_409(Order, "PUT", "/orders/{own}", Ada, |_: &Scene| json!({ "status": "delivered" }), 409)]
#[case::update_order_422(Order, "PUT", "/orders/{own}", Ada, |_: &Scene| json!({ "status": "lost" }), 422)]
#[case::notify_201(Notification, "POST", "/notify", Ada, |scene: &Scene| json!({ "user_id": scene.ada.id, "type": "sms", "message": "hello", "order_id": scene.own["id"] }), 201)]
#[case::notify_401(Notification, "POST", "/notify", Nobody, |scene: &Scene| json!({ "user_id": scene.ada.id, "type": "sms", "message": "hello" }), 401)]
#[case::notify_422(Notification, "POST", "/notify", Ada, |scene: &Scene| json!({ "user_id": scene.ada.id, "type": "pigeon", "message": "hello" }), 422)]
#[case::notifications_200(Notification, "GET", "/notifications", Ada, |_: &Scene| Value::Null, 200)]
#[case::notifications_401(Notification, "GET", "/notifications", Nobody, |_: &Scene| Value::Null, 401)]
#[case::health_of_auth(Auth, "GET", "/health", Nobody, |_: &Scene| Value::Null, 200)]
#[case::health_of_order(Order, "GET", "/health", Nobody, |_: &Scene| Value::Null, 200)]
#[case::health_of_notification(Notification, "GET", "/health", Nobody, |_: &Scene| Value::Null, 200)]
#[tokio::test]
async fn r4_m4_006_endpoint(
    #[case] service: Tracker,
    #[case] method: &str,
    #[case] path: &str,
    #[case] who: Who,
    #[case] body: Body,
    #[case] promised: u16,
    pipeline_run: PipelineRun,
    evidence: Evidence,
) -> Verdict {
    let application = pipeline_run.application().await?;
    let scene = Scene::set(&application).await?;
    let token = (who == Ada).then_some(scene.ada.access_token.as_str());
    let body = Some(body(&scene)).filter(|body| !body.is_null());
    let answer = application.send(service, method, &scene.path(path), token, body.as_ref()).await?;
    let operation = format!("{method} {path}");
    answer.check(&evidence, &operation, promised)?;
    let shown = answer.body.to_string();
    evidence.check("no password is shown", !shown.contains("password_hash") && !shown.contains("$argon2"), &shown)?;
    if promised >= 400 {
        let detail = &answer.body["detail"];
        return evidence.check("the reason is told", detail.is_string() || detail.is_array(), &answer.body);
    }
    let fields = FIELDS.iter().find(|(known, _)| *known == operation).map(|(_, fields)| *fields).unwrap_or_default();
    let missing: Vec<_> = fields.iter().filter(|field| answer.body.get(**field).is_none()).collect();
    evidence.check_eq("fields that are missing", missing, Vec::<&&str>::new())
}

/// The ways an order may go (tasktracker.md §3).
const ARROWS: [(&str, &str); 6] = [
    ("pending", "confirmed"),
    ("confirmed", "shipped"),
    ("shipped", "delivered"),
    ("pending", "cancelled"),
    ("confirmed", "cancelled"),
    ("shipped", "cancelled"),
];

/// How an order gets into a status.
fn way_to(status: &str) -> &'static [&'static str] {
    match status {
        "confirmed" => &["confirmed"],
        "shipped" => &["confirmed", "shipped"],
        "delivered" => &["confirmed", "shipped", "delivered"],
        "cancelled" => &["cancelled"],
        _ => &[],
    }
}

/// R4-M4-006: an order moves along the arrows of its state machine; any other move is a
/// conflict and leaves it as it is.
#[rstest]
#[tokio::test]
async fn r4_m4_006_state_machine(
    #[values("pending", "confirmed", "shipped", "delivered", "cancelled")] from: &str,
    #[values("pending", "confirmed", "shipped", "delivered", "cancelled")] to: &str,
    pipeline_run: PipelineRun,
    evidence: Evidence,
) -> Verdict {
    let application = pipeline_run.application().await?;
    let ada = application.person().await?;
    let order = application.order(&ada).await?;
    evidence.check_eq("a new order is", &order["status"], &json!("pending"))?;
    for step in way_to(from) {
        let moved = application.move_order(&ada, &order, step).await?.expect(200)?;
        evidence.check_eq("on the way it is", &moved["status"], &json!(step))?;
    }
    let is_allowed = ARROWS.contains(&(from, to));
    let answer = application.move_order(&ada, &order, to).await?;
    answer.check(&evidence, &format!("{from} to {to}"), if is_allowed { 200 } else { 409 })?;
    let path = format!("/orders/{}", order["id"].as_str().unwrap_or_default());
    let now = application.send(Order, "GET", &path, Some(&ada.access_token), None).await?.expect(200)?;
    evidence.check_eq("afterwards it is", &now["status"], &json!(if is_allowed { to } else { from }))
}

/// R4-M4-006: of several people's hands on one order at the same moment, one wins, the others
/// are told of the conflict.
#[rstest]
#[tokio::test]
async fn r4_m4_006_racing_moves(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let application = pipeline_run.application().await?;
    let ada = application.person().await?;
    let order = application.order(&ada).await?;
    let confirm = || application.move_order(&ada, &order, "confirmed");
    let (a, b, c, d) = tokio::join!(confirm(), confirm(), confirm(), confirm());
    let mut statuses = [a?.status, b?.status, c?.status, d?.status];
    statuses.sort_unstable();
    evidence.check_eq("the statuses of four at once", statuses, [200, 409, 409, 409])
}

/// Every route that wants a token: service, method, path, and a body that is good.
const PROTECTED: [(Tracker, &str, &str, Body); 6] = [
    (Auth, "GET", "/users/me", |_| Value::Null),
    (Order, "POST", "/orders", |_| an_order()),
    (Order, "GET", "/orders/{own}", |_| Value::Null),
    (Order, "PUT", "/orders/{own}", |_| json!({ "status": "confirmed" })),
    (Notification, "POST", "/notify", |scene| json!({ "user_id": scene.ada.id, "type": "email", "message": "hello" })),
    (Notification, "GET", "/notifications", |_| Value::Null),
];

type Forgery = fn(&Application, &Scene) -> Result<Option<String>, Failure>;

/// A good token of this scene with one claim changed.
fn changed(application: &Application, scene: &Scene, claim: &str, value: Value) -> Result<Option<String>, Failure> {
    let mut claims = Application::good_claims(&scene.ada.id);
    claims[claim] = value;
    application.token(&claims).map(Some)
}

/// R4-M4-006: no protected route takes a token that is missing, expired, forged, unsigned or of
/// another type; the same token without that fault it takes.
#[rstest]
#[case::missing(|_: &Application, _: &Scene| Ok(None))]
#[case::garbage(|_: &Application, _: &Scene| Ok(Some("garbage".to_owned())))]
#[case::expired(|application: &Application, scene: &Scene| changed(application, scene, "exp", json!(chrono::Utc::now().timestamp() - 60)))]
#[case::of_no_type(|application: &Application, scene: &Scene| changed(application, scene, "type", Value::Null))]
#[case::wrong_signature(|_: &Application, scene: &Scene| Ok(Some(token(&Application::good_claims(&scene.ada.id), Signature::Hs256("a secret that the application does not have")))))]
#[case::unsigned(|_: &Application, scene: &Scene| Ok(Some(token(&Application::good_claims(&scene.ada.id), Signature::None))))]
#[case::tampered(|_: &Application, scene: &Scene| Ok(Some(tampered(&scene.ada.access_token))))]
#[case::refresh_as_access(|_: &Application, scene: &Scene| Ok(Some(scene.ada.refresh_token.clone())))]
#[tokio::test]
async fn r4_m4_006_token(#[case] forge: Forgery, pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let application = pipeline_run.application().await?;
    let scene = Scene::set(&application).await?;
    let good = application.token(&Application::good_claims(&scene.ada.id))?;
    let forged = forge(&application, &scene)?;
    for (service, method, path, body) in PROTECTED {
        let path = scene.path(path);
        let body = Some(body(&scene)).filter(|body| !body.is_null());
        let answer = application.send(service, method, &path, forged.as_deref(), body.as_ref()).await?;
        answer.check(&evidence, &format!("{method} {path} with it"), 401)?;
        let answer = application.send(service, method, &path, Some(&good), body.as_ref()).await?;
        let taken = (200..300).contains(&answer.status);
        evidence.check(&format!("{method} {path} with a good one is taken"), taken, &answer)?;
    }
    Ok(())
}

/// A token whose claims were changed after it had been signed.
fn tampered(token: &str) -> String {
    let middle = token.len() / 2;
    let swapped = if &token[middle..=middle] == "A" { "B" } else { "A" };
    format!("{}{swapped}{}", &token[..middle], &token[middle + 1..])
}

/// R4-M4-006: the tokens of a login say who, of what type, and until when, signed with the
/// shared secret.
#[rstest]
#[tokio::test]
async fn r4_m4_006_token_claims(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let application = pipeline_run.application().await?;
    let ada = application.person().await?;
    let now = chrono::Utc::now().timestamp();
    for (name, token, kind, lifetime) in
        [("access", &ada.access_token, "access", 30 * 60), ("refresh", &ada.refresh_token, "refresh", 7 * 24 * 3600)]
    {
        let claims = verified_claims(token, application.secret()?);
        evidence.check(&format!("the {name} token is signed with the secret by HS256"), claims.is_some(), token)?;
        let claims = claims.unwrap_or_default();
        evidence.check_eq(&format!("{name}: sub"), &claims["sub"], &json!(ada.id))?;
        evidence.check_eq(&format!("{name}: type"), &claims["type"], &json!(kind))?;
        let (issued, expires) = (claims["iat"].as_i64().unwrap_or(0), claims["exp"].as_i64().unwrap_or(0));
        evidence.check_eq(&format!("{name}: seconds it is good for"), expires - issued, lifetime)?;
        evidence.check(&format!("{name}: it was issued now"), (now - issued).abs() <= 5, issued)?;
        if kind == "access" {
            evidence.check_eq("access: email", &claims["email"], &json!(ada.email))?;
        }
    }
    Ok(())
}

/// DF-1: someone new is registered, without the password coming back; the same address again
/// is a conflict.
#[rstest]
#[tokio::test]
async fn r4_m4_006_df_1_register(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let application = pipeline_run.application().await?;
    let credentials = new_credentials();
    let answer = application.send(Auth, "POST", "/register", None, Some(&credentials)).await?;
    answer.check(&evidence, "a registration", 201)?;
    evidence.check_eq("the address", &answer.body["email"], &credentials["email"])?;
    evidence.check(
        "an id and a time",
        answer.body["id"].is_string() && answer.body["created_at"].is_string(),
        &answer.body,
    )?;
    evidence.check("no password_hash", answer.body.get("password_hash").is_none(), &answer.body)?;
    let again = application.send(Auth, "POST", "/register", None, Some(&credentials)).await?;
    again.check(&evidence, "the same address again", 409)
}

/// DF-2: a login gives both tokens; a wrong password gives none.
#[rstest]
#[tokio::test]
async fn r4_m4_006_df_2_login(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let application = pipeline_run.application().await?;
    let mut credentials = new_credentials();
    application.send(Auth, "POST", "/register", None, Some(&credentials)).await?.expect(201)?;
    let answer = application.send(Auth, "POST", "/login", None, Some(&credentials)).await?;
    answer.check(&evidence, "a login", 200)?;
    let is_text = |name: &str| answer.body[name].as_str().is_some_and(|token| !token.is_empty());
    evidence.check("both tokens", is_text("access_token") && is_text("refresh_token"), &answer.body)?;
    credentials["password"] = json!("a wrong password");
    let wrong = application.send(Auth, "POST", "/login", None, Some(&credentials)).await?;
    wrong.check(&evidence, "a wrong password", 401)?;
    evidence.check("no token then", wrong.body.get("access_token").is_none(), &wrong.body)
}

/// DF-3: an order is taken as it was placed, and is pending; without a token it is not taken.
#[rstest]
#[tokio::test]
async fn r4_m4_006_df_3_create_order(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let application = pipeline_run.application().await?;
    let ada = application.person().await?;
    let body = an_order();
    let answer = application.send(Order, "POST", "/orders", Some(&ada.access_token), Some(&body)).await?;
    answer.check(&evidence, "an order", 201)?;
    evidence.check_eq("its status", &answer.body["status"], &json!("pending"))?;
    evidence.check_eq("its items", &answer.body["items"], &body["items"])?;
    evidence.check_eq("its total", answer.body["total"].as_f64(), body["total"].as_f64())?;
    evidence.check_eq("its owner", &answer.body["user_id"], &json!(ada.id))?;
    let refused = application.send(Order, "POST", "/orders", None, Some(&body)).await?;
    refused.check(&evidence, "without a token", 401)
}

/// Whether a message is the one about an order that is expected.
fn is_about(message: &Value, person: &Person, order: &Value) -> bool {
    message["order_id"] == order["id"] && message["user_id"] == person.id.as_str() && message["type"] == "email"
}

/// DF-4: the event of an order is on the bus with its four fields, and has reached
/// notification-service within 5 s; an order that was refused has none.
#[rstest]
#[tokio::test]
async fn r4_m4_006_df_4_order_event(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let application = pipeline_run.application().await?;
    let _lock = application.bus_lock(false).await?;
    let ada = application.person().await?;
    let order = application.order(&ada).await?;
    let begun = Instant::now();
    let seen = application
        .notifications_until(&ada, EVENT_LIMIT, |seen| seen.iter().any(|message| is_about(message, &ada, &order)))
        .await?;
    evidence.observe("seconds_until_the_message", begun.elapsed().as_secs_f64())?;
    evidence.check("it arrives within 5 s", seen.iter().any(|message| is_about(message, &ada, &order)), &seen)?;
    let payloads: Vec<_> =
        application.bus()?.entries("order/created").await?.iter().filter_map(Entry::payload).collect();
    let payload = payloads.iter().find(|payload| payload["order_id"] == order["id"]);
    evidence.check("it is on the bus", payload.is_some(), payloads.len())?;
    let payload = payload.cloned().unwrap_or_default();
    evidence.check_eq("its user_id", &payload["user_id"], &json!(ada.id))?;
    evidence.check_eq("its items", &payload["items"], &order["items"])?;
    evidence.check_eq("its total", payload["total"].as_f64(), order["total"].as_f64())
}

/// DF-5: the whole way in one go: register, log in, order, message; confirming tells nothing,
/// shipping brings a second message, newest first, and nobody else sees them.
#[rstest]
#[tokio::test]
async fn r4_m4_006_df_5_notification(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let application = pipeline_run.application().await?;
    let _lock = application.bus_lock(false).await?;
    let (ada, bob) = (application.person().await?, application.person().await?);
    let order = application.order(&ada).await?;
    let messages = async |count: usize| {
        let seen = application.notifications_until(&ada, EVENT_LIMIT, |seen| seen.len() >= count).await?;
        evidence.append("steps", &seen)?;
        evidence.check_eq(&format!("messages within 5 s of event {count}"), seen.len(), count)?;
        Ok::<_, Failure>(seen)
    };
    let first = messages(1).await?;
    evidence.check("the first is about the order", is_about(&first[0], &ada, &order), &first)?;
    let id = order["id"].as_str().unwrap_or_default();
    let names_it = |message: &Value| message["message"].as_str().is_some_and(|text| text.contains(id));
    evidence.check("it names the order", names_it(&first[0]), &first)?;
    for status in ["confirmed", "shipped"] {
        application.move_order(&ada, &order, status).await?.check(&evidence, status, 200)?;
    }
    let both = messages(2).await?;
    evidence.check("both are about the order", both.iter().all(|message| is_about(message, &ada, &order)), &both)?;
    evidence.check_eq("the newest comes first", &both[1]["id"], &first[0]["id"])?;
    let shipped: Vec<_> =
        application.bus()?.entries("order/shipped").await?.iter().filter_map(Entry::payload).collect();
    let shipped: Vec<_> = shipped.iter().filter(|payload| payload["order_id"] == order["id"]).collect();
    evidence.check_eq("it was shipped once", shipped.len(), 1)?;
    let is_complete = shipped[0]["user_id"] == ada.id.as_str() && shipped[0]["shipped_at"].is_string();
    evidence.check("the event says whose and when", is_complete, shipped[0])?;
    evidence.check_eq("what another person sees", application.notifications(&bob).await?, Vec::<Value>::new())
}

/// R4-M4-006: an event that is delivered a second time, even under another id, brings no second
/// message.
#[rstest]
#[tokio::test]
async fn r4_m4_006_second_delivery_is_dropped(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let application = pipeline_run.application().await?;
    let _lock = application.bus_lock(false).await?;
    let (bus, ada) = (application.bus()?, application.person().await?);
    let order = application.order(&ada).await?;
    let seen = application.notifications_until(&ada, EVENT_LIMIT, |seen| !seen.is_empty()).await?;
    evidence.check_eq("messages after one delivery", seen.len(), 1)?;
    let entries = bus.entries("order/created").await?;
    let is_its = |entry: &&Entry| entry.payload().is_some_and(|payload| payload["order_id"] == order["id"]);
    let entry = entries.iter().find(is_its).ok_or_else(|| Failure::fail("the order's event is not on the bus"))?;
    bus.repeat(entry).await?;
    let renamed = entry
        .fields
        .iter()
        .map(|field| if Uuid::parse_str(field).is_ok() { Uuid::new_v4().to_string() } else { field.to_string() });
    bus.repeat(&Entry { fields: renamed.collect(), ..entry.clone() }).await?;
    let begun = Instant::now();
    while !bus.is_handled("order/created").await? && begun.elapsed() < EVENT_LIMIT {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    evidence.check(
        "both further deliveries were handled",
        bus.is_handled("order/created").await?,
        begun.elapsed().as_secs_f64(),
    )?;
    evidence.check_eq("messages after three", application.notifications(&ada).await?.len(), 1)
}

/// How many orders the burst has, how many at a time, and after how many the bus is restarted.
const BURST: usize = 500;
const AT_ONCE: usize = 12;
const BEFORE_THE_RESTART: usize = 150;

/// R4-M4-006: of 500 orders in a burst, with the bus restarted in between, none is refused and
/// none is lost: each is on the bus at least once, and each has exactly one message.
#[rstest]
#[tokio::test]
async fn r4_m4_006_burst_survives_bus_restart(pipeline_run: PipelineRun, evidence: Evidence) -> Verdict {
    let application = pipeline_run.application().await?;
    let _lock = application.bus_lock(true).await?;
    let (bus, ada) = (application.bus()?, application.person().await?);
    let begun = Instant::now();
    let mut answers = application.burst(&ada, BEFORE_THE_RESTART, AT_ONCE).await?;
    let (restarted, rest) = tokio::join!(bus.restart(), application.burst(&ada, BURST - BEFORE_THE_RESTART, AT_ONCE));
    evidence.observe("seconds_without_bus", restarted?.as_secs_f64())?;
    answers.extend(rest?);
    evidence.observe("seconds_for_the_orders", begun.elapsed().as_secs_f64())?;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 201).collect();
    evidence.check("no order is refused while the bus is away", refused.is_empty(), &refused)?;
    let orders: BTreeSet<_> = answers.iter().filter_map(|answer| answer.body["id"].as_str()).collect();
    evidence.check_eq("orders", orders.len(), BURST)?;

    let limit = Duration::from_secs(30);
    application.notifications_until(&ada, limit, |seen| seen.len() >= BURST).await?;
    evidence.observe("seconds_until_all_messages", begun.elapsed().as_secs_f64())?;
    let waited = Instant::now();
    while !bus.is_handled("order/created").await? && waited.elapsed() < limit {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    evidence.check(
        "every event was handled",
        bus.is_handled("order/created").await?,
        waited.elapsed().as_secs_f64(),
    )?;
    let messages = application.notifications(&ada).await?;
    let mut counts = BTreeMap::<&str, usize>::new();
    for message in &messages {
        *counts.entry(message["order_id"].as_str().unwrap_or_default()).or_default() += 1;
    }
    let wrong: Vec<_> = counts.iter().filter(|(order, count)| **count != 1 || !orders.contains(**order)).collect();
    evidence.check_eq("orders with another number of messages than one", wrong.len(), 0)?;
    evidence.check_eq("orders with a message", counts.len(), BURST)?;
    let payloads: Vec<_> = bus.entries("order/created").await?.iter().filter_map(Entry::payload).collect();
    let sent: BTreeSet<_> = payloads.iter().filter_map(|payload| payload["order_id"].as_str()).collect();
    evidence.check_eq("orders without an event on the bus", orders.difference(&sent).count(), 0)?;
    evidence
        .observe("events_on_the_bus", payloads.iter().filter(|payload| payload["user_id"] == ada.id.as_str()).count())
}
