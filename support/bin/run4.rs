//! The `run4` command; see [`support::command`].

fn main() -> std::process::ExitCode {
    support::command::main()
}
