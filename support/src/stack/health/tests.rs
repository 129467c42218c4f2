use std::collections::VecDeque;

use pretty_assertions::assert_eq;
use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

const INTERVAL: Duration = Duration::from_millis(2);
/// Far more than a poll on this machine takes; nothing waits it out but the tests of time-outs.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(440);

#[derive(Clone, Copy)]
enum Reply {
    Answer(u16, &'static str),
    Redirect,
    Hangup,
    Mute,
}
use Reply::{Answer as Says, Hangup, Mute, Redirect};

const HEALTHY: Reply = Says(200, r#"{"status":"healthy","service_name":"x"}"#);
const DEGRADED: Reply = Says(200, r#"{"status":"degraded"}"#);
const STARTING: Reply = Says(503, r#"{"status":"unhealthy"}"#);

/// A service that gives the replies in turn, one a connection, and the last one ever after.
async fn service(replies: &[Reply]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/api/health", listener.local_addr().expect("bound"));
    let mut replies = VecDeque::from(replies.to_vec());
    tokio::spawn(async move {
        let mut muted = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let reply = if replies.len() > 1 { replies.pop_front() } else { replies.front().copied() };
            if read_request(&mut stream).await.is_err() {
                // The poller's time was over before it had asked.
                continue;
            }
            match reply.expect("at least one reply") {
                Says(status, body) => send(&mut stream, status, body, "").await,
                Redirect => send(&mut stream, 307, "", "location: /healthy\r\n").await,
                Hangup => {}
                Mute => muted.push(stream),
            }
        }
    });
    url
}

async fn read_request(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    Ok(())
}

async fn send(stream: &mut TcpStream, status: u16, body: &str, headers: &str) {
    let length = body.len();
    let reply = format!("HTTP/1.1 {status} x\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    // A poller whose time was over is gone, and its test is about what it saw before.
    let _ = stream.write_all(reply.as_bytes()).await;
}

fn named<const N: usize>(services: [(&str, &str); N]) -> BTreeMap<String, String> {
    services.map(|(name, url)| (name.to_owned(), url.to_owned())).into()
}

async fn polled(replies: &[Reply], timeout: Duration, required: u32) -> HealthCheckResult {
    let urls = named([("auth", &service(replies).await)]);
    poll_until_healthy(&urls, timeout, INTERVAL, required).await.remove("auth").expect("a result")
}

#[rstest]
#[case::at_once(&[HEALTHY], 2)]
#[case::after_its_start(&[STARTING, STARTING, HEALTHY], 2)]
#[case::after_a_broken_connection(&[Hangup, HEALTHY], 2)]
#[case::after_being_degraded(&[DEGRADED, HEALTHY], 3)]
#[case::without_a_status(&[Says(200, r#"{"ok":true}"#)], 1)]
#[case::without_json(&[Says(200, "fine")], 1)]
#[case::zero_means_one(&[HEALTHY], 0)]
#[tokio::test]
async fn a_service_becomes_healthy(#[case] replies: &[Reply], #[case] required: u32) {
    let result = polled(replies, LONG, required).await;
    assert_eq!((result.healthy, result.status_code, result.error), (true, Some(200), None));
    assert!(result.response_time_ms.is_some_and(|time| time > 0.0));
}

#[rstest]
#[case::degraded(&[DEGRADED], Some(200), r#"last seen: HTTP 200 with status "degraded""#)]
#[case::status_of_another_type(&[Says(200, r#"{"status":true}"#)], Some(200), "last seen: HTTP 200 with status true")]
#[case::unhealthy(&[STARTING], Some(503), r#"last seen: HTTP 503 with status "unhealthy""#)]
#[case::healthy_by_word_only(&[Says(503, r#"{"status":"healthy"}"#)], Some(503), r#"last seen: HTTP 503 with status "healthy""#)]
#[case::created(&[Says(201, "")], Some(201), "last seen: HTTP 201")]
#[case::redirected(&[Redirect, HEALTHY, Redirect], Some(307), "last seen: HTTP 307")]
#[case::mute(&[Mute], None, "last seen: no answer within 0.4 s")]
#[case::mute_after_an_answer(&[STARTING, Mute], Some(503), r#"last seen: HTTP 503 with status "unhealthy""#)]
#[tokio::test]
async fn a_service_that_stays_ill_is_reported_as_last_seen(
    #[case] replies: &[Reply],
    #[case] status_code: Option<u16>,
    #[case] error: &str,
) {
    let result = polled(replies, SHORT, 2).await;
    assert_eq!((result.healthy, result.status_code, result.error.as_deref()), (false, status_code, Some(error)));
}

#[tokio::test]
async fn a_failed_poll_starts_the_count_afresh() {
    let flapping: Vec<Reply> = [HEALTHY, HEALTHY, STARTING].repeat(10_000);
    let result = polled(&flapping, SHORT, 3).await;
    assert!(!result.healthy, "three healthy answers in a row never came");
}

#[tokio::test]
async fn too_few_healthy_answers_in_a_row_are_told_apart_from_illness() {
    let urls = named([("auth", &service(&[HEALTHY]).await)]);
    let pause = SHORT * 2;
    let results = poll_until_healthy(&urls, SHORT, pause, 2).await;
    let expected = r#"last seen: HTTP 200 with status "healthy", healthy 1 of 2 times in a row"#;
    assert_eq!(results["auth"].error.as_deref(), Some(expected));
}

#[tokio::test]
async fn a_service_that_falls_ill_while_another_starts_is_seen() {
    let mut late = vec![STARTING; 5];
    late.push(HEALTHY);
    let urls = named([("late", &service(&late).await), ("early", &service(&[HEALTHY, HEALTHY, STARTING]).await)]);
    let results = poll_until_healthy(&urls, SHORT, INTERVAL, 2).await;
    assert!(results["late"].healthy);
    assert_eq!((results["early"].healthy, results["early"].status_code), (false, Some(503)));
}

#[tokio::test]
async fn the_error_names_each_ill_service_with_its_address_and_last_state() {
    let (healthy, degraded) = (service(&[HEALTHY]).await, service(&[DEGRADED]).await);
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let refused = format!("http://{}/", closed.local_addr().expect("bound"));
    drop(closed);
    let urls = named([("auth", &healthy), ("order", &degraded), ("gateway", &refused)]);

    let error = wait_healthy(&urls, SHORT, INTERVAL, 1).await.expect_err("two are ill");

    let text = error.to_string();
    let (head, services) = text.split_once(": ").expect("services follow");
    assert!(head.starts_with("2 of 3 services not healthy after "), "{head}");
    let expected = format!(
        "gateway at {refused}, last seen: Connection refused (os error 111); \
         order at {degraded}, last seen: HTTP 200 with status \"degraded\""
    );
    assert_eq!(services, expected);
    assert_eq!((error.aggregate.healthy_services, error.aggregate.unhealthy_services), (1, 2));
    assert!(error.waited <= SHORT + Duration::from_secs(2));
}

#[tokio::test]
async fn all_services_healthy_is_an_aggregate() {
    let urls = named([("auth", &service(&[HEALTHY]).await), ("order", &service(&[STARTING, HEALTHY]).await)]);
    let aggregate = wait_healthy(&urls, LONG, INTERVAL, 2).await.expect("healthy");
    assert_eq!((aggregate.total_services, aggregate.healthy_services, aggregate.all_healthy), (2, 2, true));
}

#[tokio::test]
async fn no_services_are_never_all_healthy() {
    let none = BTreeMap::new();
    let aggregate = HealthAggregate::from(poll_until_healthy(&none, LONG, INTERVAL, 2).await);
    assert_eq!((aggregate.total_services, aggregate.all_healthy), (0, false));
    let error = wait_healthy(&none, LONG, INTERVAL, 2).await.expect_err("nothing to become healthy");
    assert_eq!(error.to_string(), "there are no services to become healthy");
}
