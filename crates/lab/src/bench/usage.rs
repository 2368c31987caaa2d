//! CPU time, memory and utilisation of a process tree and a core, from the kernel.
//!
//! CPU time comes from `schedstat`, which counts nanoseconds; `/proc/PID/stat` counts ticks of 10 ms.

use std::fs;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// A process and all its descendants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree(Vec<u32>);

impl Tree {
    /// The tree below `root` as it is now.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn of(root: u32) -> io::Result<Self> {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // A process may end between the listing and here.
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
                continue;
            };
            // The name in parentheses may hold anything; the parent is the second word behind it.
            let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
            if let Some(parent) = behind
                .split_whitespace()
                .nth(1)
                .and_then(|word| word.parse::<u32>().ok())
            {
                parents.push((pid, parent));
            }
        }
        let mut tree = vec![root];
        let mut next = 0;
        while let Some(&parent) = tree.get(next) {
            tree.extend(
                parents
                    .iter()
                    .filter(|(_, of)| *of == parent)
                    .map(|(pid, _)| *pid),
            );
            next += 1;
        }
        Ok(Self(tree))
    }

    /// CPU time of all threads that are alive of all its processes.
    ///
    /// # Errors
    /// If a process has ended.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut nanos = 0;
        for pid in &self.0 {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                // A thread may end between the listing and here.
                let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
                    continue;
                };
                nanos += text
                    .split(' ')
                    .next()
                    .and_then(|word| word.parse::<u64>().ok())
                    .unwrap_or(0);
            }
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Resident memory of all its processes, in bytes. Pages that they share are counted for each.
    ///
    /// # Errors
    /// If a process has ended.
    pub fn resident(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for pid in &self.0 {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))
                .unwrap_or("0");
            let kib = line
                .split_whitespace()
                .next()
                .and_then(|word| word.parse::<u64>().ok())
                .unwrap_or(0);
            bytes += kib * 1024;
        }
        Ok(bytes)
    }
}

/// The ticks that a core has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Core {
    busy: u64,
    all: u64,
}

impl Core {
    /// The core with this number, now.
    ///
    /// # Errors
    /// If there is no such core.
    pub fn now(number: usize) -> io::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let name = format!("cpu{number} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        let line = line.ok_or_else(|| {
            io::Error::new(
                ErrorKind::NotFound,
                format!("this machine has no core {number}"),
            )
        })?;
        // user nice system idle iowait irq softirq steal; the guests' are part of user.
        let ticks: Vec<u64> = line
            .split_whitespace()
            .take(8)
            .filter_map(|word| word.parse().ok())
            .collect();
        let all = ticks.iter().sum();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        Ok(Self {
            busy: all - idle,
            all,
        })
    }

    /// The share of the time since `earlier` in which the core worked.
    #[must_use]
    pub fn busy_since(self, earlier: Self) -> f64 {
        (self.busy - earlier.busy) as f64 / (self.all - earlier.all).max(1) as f64
    }
}

/// How many descriptors a process may open, as this one was given it.
#[must_use]
pub fn descriptor_limit() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_time_and_memory() {
        let tree = Tree::of(std::process::id()).unwrap();
        let before = tree.cpu().unwrap();
        while Tree(vec![std::process::id()]).cpu().unwrap() < before + Duration::from_millis(5) {}
        assert!(tree.resident().unwrap() > 100_000);
        assert!(descriptor_limit() >= 64);
    }

    #[test]
    fn a_core_is_between_idle_and_busy() {
        let earlier = Core { busy: 10, all: 100 };
        assert!((Core { busy: 85, all: 200 }.busy_since(earlier) - 0.75).abs() < 1e-9);
        assert!(Core::now(0).is_ok());
        assert!(Core::now(99_999).is_err());
    }
}
