//! Programs that are asked once: their arguments and input, their output and exit code.

use std::{path::Path, time::Duration};

use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Command, Process};
use crate::verdict::Failure;

/// What a program answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbeReply {
    /// Its exit code; none when a signal ended it, as a crash does.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said beside.
    pub stderr: String,
}

impl ProbeReply {
    /// Its answer as JSON.
    ///
    /// # Errors
    /// FAIL when it did not end with 0 or did not print JSON.
    pub fn json(&self) -> Result<Value, Failure> {
        let answer = serde_json::from_str(&self.stdout);
        match (self.code, answer) {
            (Some(0), Ok(value)) => Ok(value),
            (Some(0), Err(error)) => {
                Err(Failure::fail(format!("the probe printed no JSON ({error}): {}", self.stdout)))
            }
            (code, _) => Err(Failure::fail(format!("the probe ended with {code:?}: {}", self.stderr.trim()))),
        }
    }
}

/// Runs `command` with `input` on its stdin, and waits for its end.
///
/// # Errors
/// FAIL when it cannot be started or takes longer than `limit`.
pub async fn probe(command: &Command, input: &str, logs: &Path, limit: Duration) -> Result<ProbeReply, Failure> {
    let mut process = Process::spawn(command, logs, true).map_err(Failure::fail)?;
    let (mut stdout, mut stdin) = process.take_pipes().ok_or_else(|| Failure::broken("it has no pipes"))?;
    let exchange = async {
        // One that does not want its input may close it.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let mut text = Vec::new();
        stdout.read_to_end(&mut text).await?;
        std::io::Result::Ok((text, process.wait().await?))
    };
    let Ok(outcome) = tokio::time::timeout(limit, exchange).await else {
        let log = process.log_tail();
        process.kill().await;
        return Err(Failure::fail(format!("{} took longer than {} s: {log}", command.key, limit.as_secs_f64())));
    };
    let (text, status) = outcome?;
    Ok(ProbeReply {
        code: status.code(),
        stdout: String::from_utf8_lossy(&text).into_owned(),
        stderr: std::fs::read_to_string(process.log())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    async fn shell(script: &str, input: &str, limit: Duration) -> Result<ProbeReply, Failure> {
        let folder = tempfile::tempdir().expect("a folder");
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        let cwd = folder.path().to_path_buf();
        let command = Command { key: "shell".into(), argv, cwd, env: Default::default(), ready: None };
        probe(&command, input, folder.path(), limit).await
    }

    #[tokio::test]
    async fn input_output_and_code_pass() {
        let reply = shell("cat; echo said >&2; exit 3", "{\"a\": 1}", Duration::from_secs(5)).await.expect("an end");
        assert_eq!(reply, ProbeReply { code: Some(3), stdout: "{\"a\": 1}".into(), stderr: "said\n".into() });
        assert!(format!("{:?}", reply.json().expect_err("no success")).contains("said"));
    }

    #[rstest]
    #[case::good("echo '[1]'", Some(serde_json::json!([1])))]
    #[case::no_json("echo hello", None)]
    #[case::killed("kill -9 $$", None)]
    #[tokio::test]
    async fn only_json_after_success_is_an_answer(#[case] script: &str, #[case] answer: Option<Value>) {
        let reply = shell(script, "", Duration::from_secs(5)).await.expect("an end");
        assert_eq!(reply.json().ok(), answer);
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed() {
        let error = shell("sleep 60", "", Duration::from_millis(200)).await.expect_err("too long");
        assert!(format!("{error:?}").contains("shell took longer than 0.2 s"), "{error:?}");
    }
}
