//! Ports for the system's services, never the same for two processes of the suite.

use std::{
    fs::{File, TryLockError},
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

/// Below the ports that the kernel hands out by itself, so that no outgoing connection takes one.
const RANGE: Range<u16> = 18_000..28_000;

/// A port on 127.0.0.1 that nobody listened on when it was taken; kept for this process by a
/// file lock until it is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Takes a free port.
    ///
    /// # Errors
    /// When none of the range is free, or the lock files cannot be made.
    pub fn take() -> std::io::Result<Self> {
        // One folder for all workspaces of this user, since they share the machine's ports.
        let user = rustix::process::getuid().as_raw();
        let folder = std::env::temp_dir().join(format!("run4-ports-{user}"));
        std::fs::create_dir_all(&folder)?;
        // Spread by process id: tests that start together do not try the same ports.
        let count = RANGE.end - RANGE.start;
        let offset = u16::try_from(std::process::id() % u32::from(count)).unwrap_or_default().wrapping_mul(37) % count;
        for step in 0..count {
            let number = RANGE.start + (offset + step) % count;
            let lock = File::options().create(true).append(true).open(folder.join(number.to_string()))?;
            match lock.try_lock() {
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error),
                Ok(()) => (),
            }
            if TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        Err(std::io::Error::other(format!("no free port in {RANGE:?}; end what listens there")))
    }

    /// The number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ports_differ_and_can_be_listened_on() {
        let (one, two) = (Port::take().expect("a port"), Port::take().expect("a port"));
        assert_ne!(one.number(), two.number());
        TcpListener::bind((Ipv4Addr::LOCALHOST, one.number())).expect("free");
    }
}
