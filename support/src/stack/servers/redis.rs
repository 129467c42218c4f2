//! Redis: in memory only.

use std::{io, net::Ipv4Addr};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::{Home, Recipe, Server, source::Source};
use crate::{session::Supervisor, sut::Farewell, verdict::Failure};

/// Its name among the servers of a session.
const NAME: &str = "redis";

pub(super) async fn start() -> Result<Server, Failure> {
    let source = Source::redis().map_err(|reason| Failure::untestable(format!("{NAME}: {reason}")))?;
    let home = Home::new(NAME)?;
    let source = source.readable_by(&home.account, &home.folder.join("programs"))?;
    let port = Supervisor::of_this_session()?.port()?;
    let options = format!("--port {port} --bind 127.0.0.1 --appendonly no --databases 16 --save");
    // The empty list of times at which it would write itself to disk.
    let arguments = options.split(' ').map(str::to_owned).chain([String::new()]).collect();
    let recipe = Recipe {
        name: NAME,
        program: source.program("redis-server"),
        arguments,
        farewell: Farewell::Terminate,
        port,
        url: format!("redis://127.0.0.1:{port}/0"),
        home,
    };
    recipe.start(async |port| ask(Ipv4Addr::LOCALHOST, port, &["PING"]).await.map(drop)).await
}

/// Sends one command to the broker; gives its reply as JSON: texts, integers, null and lists.
///
/// # Errors
/// When the server cannot be reached, or its own text when it refuses.
pub async fn command(event_bus: &Server, words: &[&str]) -> io::Result<Value> {
    ask(Ipv4Addr::LOCALHOST, event_bus.port, words).await
}

/// As [`command`], for any broker, by its address.
///
/// # Errors
/// As [`command`].
pub async fn ask(host: Ipv4Addr, port: u16, words: &[&str]) -> io::Result<Value> {
    let mut stream = BufReader::new(TcpStream::connect((host, port)).await?);
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(request.as_bytes()).await?;
    reply(&mut stream).await
}

/// Reads one reply of the protocol RESP2.
async fn reply(stream: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Value> {
    // How many elements each open list still lacks, and what it has.
    let mut open: Vec<(usize, Vec<Value>)> = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let malformed = || io::Error::other(format!("malformed reply {line:?}"));
        let (kind, rest) = line.trim_end().split_at_checked(1).ok_or_else(malformed)?;
        let number = || rest.parse::<i64>().map_err(|_| malformed());
        let mut value = match kind {
            "+" => Value::from(rest),
            "-" => return Err(io::Error::other(rest.to_owned())),
            ":" => Value::from(number()?),
            "$" | "*" if number()? < 0 => Value::Null,
            "$" => {
                let length = usize::try_from(number()?).map_err(io::Error::other)?;
                let mut bytes = vec![0; length + 2];
                stream.read_exact(&mut bytes).await?;
                Value::from(String::from_utf8_lossy(&bytes[..length]).into_owned())
            }
            "*" if number()? > 0 => {
                open.push((usize::try_from(number()?).map_err(io::Error::other)?, Vec::new()));
                continue;
            }
            "*" => Value::Array(Vec::new()),
            _ => return Err(malformed()),
        };
        // A complete value completes the lists whose last element it is.
        loop {
            let Some((lacking, mut list)) = open.pop() else { return Ok(value) };
            list.push(value);
            if lacking > 1 {
                open.push((lacking - 1, list));
                break;
            }
            value = Value::Array(list);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case::word("+PONG\r\n", json!("PONG"))]
    #[case::number(":-3\r\n", json!(-3))]
    #[case::text("$5\r\na\r\nbc\r\n", json!("a\r\nbc"))]
    #[case::nothing("$-1\r\n", json!(null))]
    #[case::empty("*0\r\n", json!([]))]
    #[case::nested("*2\r\n*2\r\n:1\r\n*0\r\n$1\r\nx\r\n", json!([[1, []], "x"]))]
    #[case::last_nested("*2\r\n:1\r\n*1\r\n*1\r\n:2\r\n", json!([1, [[2]]]))]
    #[tokio::test]
    async fn a_reply_becomes_json(#[case] text: &str, #[case] expected: Value) {
        assert_eq!(reply(&mut text.as_bytes()).await.expect("well formed"), expected);
    }

    #[rstest]
    #[case::refused("-ERR no such key\r\n", "ERR no such key")]
    #[case::no_reply("", "malformed reply \"\"")]
    #[case::no_number("*x\r\n", "malformed reply \"*x\\r\\n\"")]
    #[case::cut_short("$9\r\nabc", "early eof")]
    #[tokio::test]
    async fn a_bad_reply_is_an_error(#[case] text: &str, #[case] part: &str) {
        let error = reply(&mut text.as_bytes()).await.expect_err("no reply").to_string();
        assert!(error.contains(part), "{error}");
    }
}
