//! PostgreSQL: made anew for each session, without a promise to survive anything.

use std::{
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Home, Recipe, Server, logs, source::Source};
use crate::{
    session::Supervisor,
    sut::{Farewell, Process},
    verdict::Failure,
};

/// Its name among the servers of a session.
const NAME: &str = "postgresql";

/// The user and the database of [`query`].
const USER: &str = "run4";
const DATABASE: &str = "postgres";

/// What makes it fast and its end clean: nothing waits for the disk, and no shared memory
/// but one small segment lies outside its folder.
const SETTINGS: [&str; 9] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "dynamic_shared_memory_type=mmap",
    "shared_buffers=64MB",
    "max_connections=200",
    "jit=off",
];

/// Protocol 3.0 of the frontend/backend protocol.
const PROTOCOL: i32 = 196_608;

pub(super) async fn start() -> Result<Server, Failure> {
    let source = Source::postgres().map_err(|reason| Failure::untestable(format!("{NAME}: {reason}")))?;
    let home = Home::new(NAME)?;
    let source = source.readable_by(&home.account, &home.folder.join("programs"))?;
    let data = data(&home.folder);
    make_cluster(&home, &source, &data).await?;

    let port = Supervisor::of_this_session()?.port()?;
    let settings = SETTINGS.map(str::to_owned).into_iter().chain([format!("port={port}")]);
    let arguments = ["-D".to_owned(), data.display().to_string()]
        .into_iter()
        .chain(settings.flat_map(|setting| ["-c".to_owned(), setting]))
        .collect();
    let recipe = Recipe {
        name: NAME,
        program: source.program("postgres"),
        arguments,
        farewell: Farewell::Quit,
        port,
        url: format!("postgresql://{USER}@127.0.0.1:{port}/{DATABASE}"),
        home,
    };
    recipe.start(async |port| ask(port, "select 1").await.map(drop)).await
}

async fn make_cluster(home: &Home, source: &Source, data: &Path) -> Result<(), Failure> {
    let argv = [source.program("initdb").display().to_string(), "-D".into(), data.display().to_string()];
    let options = ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", &format!("--username={USER}")];
    let argv = argv.into_iter().chain(options.map(str::to_owned)).collect();
    let mut process = Process::spawn(&home.command("initdb", argv), &logs(), false).map_err(Failure::broken)?;
    let status = process.wait().await?;
    match status.success() {
        true => Ok(()),
        false => {
            Err(Failure::broken(format!("initdb ended with {status}; its log ends with:\n{}", process.log_tail())))
        }
    }
}

fn data(home: &Path) -> PathBuf {
    home.join("data")
}

/// The System V shared memory segment of the PostgreSQL of a session, as long as its lock file
/// is there.
pub(super) fn shared_memory(scratch: &Path) -> Option<i64> {
    segment_of(&data(&scratch.join(NAME)))
}

/// The segments of every PostgreSQL whose data lies anywhere below `folder`: a system under test
/// may start servers of its own there.
pub(super) fn all_shared_memory(folder: &Path) -> Vec<i64> {
    let mut segments: Vec<_> = segment_of(folder).into_iter().collect();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            segments.extend(all_shared_memory(&entry.path()));
        }
    }
    segments
}

fn segment_of(data: &Path) -> Option<i64> {
    let lock = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
    // The seventh line has the key and the id.
    lock.lines().nth(6)?.split_whitespace().nth(1)?.parse().ok()
}

/// Runs one statement on the database; gives the first value of its first row.
///
/// # Errors
/// When the server cannot be reached, or its own text when it refuses.
pub async fn query(database: &Server, sql: &str) -> io::Result<Option<String>> {
    ask(database.port, sql).await
}

async fn ask(port: u16, sql: &str) -> io::Result<Option<String>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let parameters = format!("user\0{USER}\0database\0{DATABASE}\0\0");
    let mut start = PROTOCOL.to_be_bytes().to_vec();
    start.extend(parameters.as_bytes());
    stream.write_all(&message(None, &start)).await?;
    until_ready(&mut stream).await?;
    stream.write_all(&message(Some(b'Q'), format!("{sql}\0").as_bytes())).await?;
    let value = until_ready(&mut stream).await?;
    stream.write_all(&message(Some(b'X'), b"")).await?;
    Ok(value)
}

/// A message of the client: a kind, except for the first, its length and its body.
fn message(kind: Option<u8>, body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len() + 4).unwrap_or(i32::MAX);
    let mut message: Vec<u8> = kind.into_iter().collect();
    message.extend(length.to_be_bytes());
    message.extend(body);
    message
}

/// Reads until the server waits for the next statement; gives the first value it sent.
async fn until_ready(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut first = None;
    loop {
        let kind = stream.read_u8().await?;
        let length = stream.read_i32().await?;
        let mut body = vec![0; usize::try_from(length - 4).map_err(io::Error::other)?];
        stream.read_exact(&mut body).await?;
        match kind {
            b'Z' => return Ok(first),
            b'E' => return Err(io::Error::other(error_text(&body))),
            b'R' if body != 0i32.to_be_bytes() => return Err(io::Error::other("it asks for a password")),
            b'D' if first.is_none() => first = first_value(&body),
            _ => (),
        }
    }
}

/// The first value of a row: the count of values, then each with its length before it.
fn first_value(row: &[u8]) -> Option<String> {
    let length = i32::from_be_bytes(row.get(2..6)?.try_into().ok()?);
    let end = 6 + usize::try_from(length).ok()?;
    Some(String::from_utf8_lossy(row.get(6..end)?).into_owned())
}

/// The text of an error: fields of a letter and a text, each ended by zero.
fn error_text(body: &[u8]) -> String {
    let fields = body.split(|byte| *byte == 0);
    let text = fields.filter_map(|field| field.strip_prefix(b"M")).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    #[rstest]
    #[case::value(b"\0\x01\0\0\0\x021a", Some("1a"))]
    #[case::null(b"\0\x01\xff\xff\xff\xff", None)]
    #[case::cut_short(b"\0\x01\0\0\0\x091a", None)]
    fn a_row_gives_its_first_value(#[case] row: &[u8], #[case] value: Option<&str>) {
        assert_eq!(first_value(row).as_deref(), value);
    }

    #[test]
    fn an_error_gives_its_message() {
        assert_eq!(error_text(b"SERROR\0C42601\0Msyntax error at \"selekt\"\0\0"), "syntax error at \"selekt\"");
    }

    #[test]
    fn the_lock_file_names_the_shared_memory() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(shared_memory(folder.path()), None);
        let lock = "812\n/tmp/d/data\n1795532000\n18007\n\n127.0.0.1\n  22413   98306\nready   \n";
        crate::atomic::write(&folder.path().join("postgresql/data/postmaster.pid"), lock).expect("written");
        assert_eq!(shared_memory(folder.path()), Some(98306));
        let other = lock.replace("98306", "98309");
        crate::atomic::write(&folder.path().join("pipelines/a/data/pg/postmaster.pid"), other).expect("written");
        let mut all = all_shared_memory(folder.path());
        all.sort_unstable();
        assert_eq!(all, [98306, 98309]);
    }
}
