//! What other processes and `kill -9` can do to a state: nothing.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::TempDir;

use super::{FILE_NAME, Loaded, Run4State, TEMPORARY_NAME};

/// Makes this test binary a saver: it saves to the folder named here until it is killed.
const SAVER_VARIABLE: &str = "RUN4_INTERNAL_STATE_SAVER";
/// Large enough that a kill often falls into a write.
const FILLER_BYTES: usize = 300_000;

/// Saves state after state, each with a number and as many fillers, and tells each number.
fn save_forever(directory: &Path) -> ! {
    for number in 1_u64.. {
        let mut state = numbered(number);
        state.save(directory).expect("saved");
        println!("saved {number}");
    }
    unreachable!("the parent kills this process");
}

fn numbered(number: u64) -> Run4State {
    let mut state = Run4State::new();
    let letter = char::from(b'a' + u8::try_from(number % 26).expect("below 26"));
    state.milestone_artifacts.insert("number".into(), json!(number));
    state.milestone_artifacts.insert("filler".into(), json!(letter.to_string().repeat(FILLER_BYTES)));
    state
}

/// The number of a state, after a look at whether all of it is of one save.
fn number_of(state: &Run4State) -> u64 {
    let number = state.milestone_artifacts["number"].as_u64().expect("a number");
    assert!(state.milestone_artifacts == numbered(number).milestone_artifacts, "state {number} is of one piece");
    number
}

fn spawn_saver(test: &str, directory: &Path) -> Child {
    let (_, name) = module_path!().split_once("::").expect("below the crate");
    Command::new(std::env::current_exe().expect("this test binary"))
        .args(["--exact", &format!("{name}::{test}"), "--nocapture"])
        .env(SAVER_VARIABLE, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("started")
}

/// Waits until the saver told `saves` numbers, and gives the last.
fn last_told(saver: &mut Child, saves: usize) -> u64 {
    let told = BufReader::new(saver.stdout.as_mut().expect("piped"))
        .lines()
        .map(|line| line.expect("text"))
        .filter_map(|line| line.rsplit_once("saved ")?.1.parse().ok())
        .nth(saves - 1);
    told.expect("the saver goes on until it is killed")
}

/// Waits until a file of `directory` is being written.
fn next_write(directory: &Path) {
    let sizes =
        || [FILE_NAME, TEMPORARY_NAME].map(|name| fs::metadata(directory.join(name)).map(|file| file.len()).ok());
    let (before, started) = (sizes(), Instant::now());
    while sizes() == before {
        assert!(started.elapsed() < Duration::from_secs(30), "the saver writes nothing any more");
        std::thread::yield_now();
    }
}

fn kill(mut saver: Child) {
    saver.kill().expect("still running");
    saver.wait().expect("reaped");
}

fn load(directory: &Path) -> Run4State {
    match Run4State::load(directory).expect("readable") {
        Loaded::State(state) => *state,
        other => panic!("{other:?} instead of a whole state"),
    }
}

#[test]
fn a_saver_killed_at_any_moment_leaves_a_whole_state() {
    if let Some(directory) = std::env::var_os(SAVER_VARIABLE) {
        save_forever(Path::new(&directory));
    }
    let directory = TempDir::new().expect("a folder");
    for round in 0..40 {
        let mut saver = spawn_saver("a_saver_killed_at_any_moment_leaves_a_whole_state", directory.path());
        let told = last_told(&mut saver, 1 + round % 3);
        if round % 4 != 0 {
            next_write(directory.path());
        }
        kill(saver);
        let kept = number_of(&load(directory.path()));
        assert!(kept >= told, "save {told} was told as done, but {kept} is on disk");
    }
    numbered(1).save(directory.path()).expect("the lock of a killed saver is free");
}

#[test]
fn two_processes_and_a_thread_that_save_at_once_never_mix() {
    if let Some(directory) = std::env::var_os(SAVER_VARIABLE) {
        save_forever(Path::new(&directory));
    }
    let directory = TempDir::new().expect("a folder");
    let test = "two_processes_and_a_thread_that_save_at_once_never_mix";
    let mut savers = [spawn_saver(test, directory.path()), spawn_saver(test, directory.path())];
    for saver in &mut savers {
        last_told(saver, 1);
    }
    for number in 1..=40 {
        numbered(number).save(directory.path()).expect("saved");
        number_of(&load(directory.path()));
    }
    savers.into_iter().for_each(kill);
}
