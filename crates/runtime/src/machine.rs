//! What the machine, or the control group that evenkeel runs in, has left: memory, processor time and a network.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of memory that the control group of this process has in use and may have, where that is nearest to its limit: its own, or
/// one above it. Nothing without a limit, or without cgroup v2.
#[must_use]
pub fn memory() -> Option<(u64, u64)> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own_group(&groups)?;
    memory_of(Path::new("/sys/fs/cgroup"), path)
}

/// The path of the control group in the unified hierarchy.
fn own_group(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::/"))
}

fn memory_of(root: &Path, group: &str) -> Option<(u64, u64)> {
    let own: PathBuf = root.join(group);
    let groups = own.ancestors().take_while(|path| path.starts_with(root));
    let read = |group: &Path, file| fs::read_to_string(group.join(file)).ok();
    let number = |text: Option<String>| text?.trim().parse::<u64>().ok();
    let limited = groups.filter_map(|group| {
        let limit = number(read(group, "memory.max"))?;
        let used = number(read(group, "memory.current"))?;
        // File pages that have not been used recently are reclaimed before an allocation fails.
        let idle = read(group, "memory.stat").and_then(|text| {
            let idle = text
                .lines()
                .find_map(|line| line.strip_prefix("inactive_file "));
            idle?.parse::<u64>().ok()
        });
        Some((used.saturating_sub(idle.unwrap_or(0)), limit.max(1)))
    });
    limited.max_by(|(used, limit), (other_used, other_limit)| {
        let share = *used as f64 / *limit as f64;
        share.total_cmp(&(*other_used as f64 / *other_limit as f64))
    })
}

/// The part of the last ten seconds, in thousandths, in which something that could run waited for a processor (the kernel's `some avg10`): of
/// the control group of this process, which its children share, else of the machine. Nothing where the kernel does not measure it.
#[must_use]
pub fn cpu_wait_permille() -> Option<u16> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok();
    let group = groups.as_deref().and_then(own_group);
    let own = group.map(|group| Path::new("/sys/fs/cgroup").join(group).join("cpu.pressure"));
    let own = own.and_then(|path| fs::read_to_string(path).ok());
    permille(&own.or_else(|| fs::read_to_string("/proc/pressure/cpu").ok())?)
}

fn permille(pressure: &str) -> Option<u16> {
    let some = pressure
        .lines()
        .find_map(|line| line.strip_prefix("some "))?;
    let percent = some
        .split(' ')
        .find_map(|word| word.strip_prefix("avg10="))?;
    let percent: f64 = percent.parse().ok()?;
    Some((percent * 10.0).clamp(0.0, 1_000.0) as u16)
}

/// Whether the machine has network interfaces beside the loopback and none of them is up. What cannot be read is no sign of it.
#[must_use]
pub fn is_cut_off() -> bool {
    is_cut_off_by(Path::new("/sys/class/net"))
}

fn is_cut_off_by(interfaces: &Path) -> bool {
    let Ok(interfaces) = fs::read_dir(interfaces) else {
        return false;
    };
    let mut has_others = false;
    for interface in interfaces.flatten().filter(|one| one.file_name() != "lo") {
        // "unknown" is said by interfaces that do not tell, such as tunnels.
        match fs::read_to_string(interface.path().join("operstate")).as_deref() {
            Ok("down\n" | "lowerlayerdown\n" | "notpresent\n" | "dormant\n") => has_others = true,
            Ok(_) => return false,
            Err(_) => {}
        }
    }
    has_others
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_group_that_is_nearest_to_its_limit_counts_and_idle_pages_do_not() {
        let root = std::env::temp_dir().join(format!("evenkeel-cgroup-{}", std::process::id()));
        for (group, current, max, idle) in [
            ("a/b", "900", "max", "0"),
            ("a", "950", "1000", "100"),
            ("", "5000", "100000", "0"),
        ] {
            write(
                &root.join(group).join("memory.current"),
                &format!("{current}\n"),
            );
            write(&root.join(group).join("memory.max"), &format!("{max}\n"));
            let stat = format!("anon 5\ninactive_file {idle}\n");
            write(&root.join(group).join("memory.stat"), &stat);
        }
        assert_eq!(memory_of(&root, "a/b"), Some((850, 1000)));
        assert_eq!(memory_of(&root.join("a/b"), ""), None);
        assert_eq!(own_group("12:cpu:/x\n0::/a/b\n"), Some("a/b"));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn pressure_is_read_as_the_kernel_writes_it() {
        let text = "some avg10=78.43 avg60=82.03 avg300=68.73 total=7327681459\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(permille(text), Some(784));
        assert_eq!(permille("full avg10=1.00 total=0\n"), None);
        assert_eq!(permille(""), None);
    }

    #[test]
    fn a_machine_is_cut_off_if_all_its_interfaces_are_down() {
        let root = std::env::temp_dir().join(format!("evenkeel-net-{}", std::process::id()));
        write(&root.join("lo/operstate"), "unknown\n");
        assert!(
            !is_cut_off_by(&root),
            "it may have nothing but the loopback"
        );
        write(&root.join("eth0/operstate"), "down\n");
        assert!(is_cut_off_by(&root));
        write(&root.join("eth1/operstate"), "up\n");
        assert!(!is_cut_off_by(&root));
        fs::remove_dir_all(&root).unwrap();
        assert!(!is_cut_off_by(&root));
    }
}
