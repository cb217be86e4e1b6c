//! How much memory there is, so that what will not fit is refused before it begins.

use std::path::Path;
use std::{error, fmt, fs};

/// A computation needs more memory than there is.
#[derive(Debug)]
pub struct MemoryError {
    /// What it is.
    what: &'static str,
    needed: u64,
    available: u64,
    /// What makes it smaller.
    advice: Vec<&'static str>,
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, needed, available, advice } = self;
        let mb = |bytes: u64| bytes.div_ceil(1_000_000);
        write!(f, "{what} needs about {} MB of memory, and {} MB are available", mb(*needed), mb(*available))?;
        if advice.is_empty() { Ok(()) } else { write!(f, "; what helps: {}", advice.join(", ")) }
    }
}

impl error::Error for MemoryError {}

/// Refuses `what` if it needs more bytes than there are. Where the system does not tell how many there are, nothing is.
///
/// # Errors
/// The numbers, and the `advice`.
pub fn require(what: &'static str, needed: u64, advice: Vec<&'static str>) -> Result<(), MemoryError> {
    match available_bytes() {
        Some(available) if available < needed => Err(MemoryError { what, needed, available, advice }),
        _ => Ok(()),
    }
}

/// The bytes that this process may still take; nothing where the system does not tell.
pub fn available_bytes() -> Option<u64> {
    available(Path::new("/"))
}

/// The bytes that a process may still take under Linux, by what is mounted under `root`: of the machine (`MemAvailable`), and
/// of the control groups that the process is in. Pages of files that can be read again count as free.
fn available(root: &Path) -> Option<u64> {
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let kilobytes = machine.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let machine: u64 = kilobytes.trim().strip_suffix(" kB")?.parse().ok()?;
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    Some(groups.lines().filter_map(|line| group(root, line)).fold(1024 * machine, u64::min))
}

/// What is left in a control group, a line of `/proc/self/cgroup`, and in those that it is part of.
fn group(root: &Path, line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
    let (mount, limit, usage, cache) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file "),
        list if list.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
        }
        _ => return None,
    };
    // Inside a container the path may be one of the world outside; the mount itself is the container's own group then.
    let left = |folder: &Path| {
        let folder = root.join(mount).join(folder);
        let number = |name: &str| -> Option<u64> { fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok() };
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let cached = stat.lines().find_map(|line| line.strip_prefix(cache)?.parse().ok()).unwrap_or(0);
        // A group without a limit says "max", which is no number.
        Some(number(limit)?.saturating_sub(number(usage)?.saturating_sub(cached)))
    };
    Path::new(path).ancestors().filter_map(left).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with 8,000 kB to spare, on which the process is in the group `a/b` by `cgroup`.
    fn machine(cgroup: &str, files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        let meminfo = "MemTotal: 9000 kB\nMemAvailable:    8000 kB\n";
        for (name, text) in [("proc/meminfo", meminfo), ("proc/self/cgroup", cgroup)].iter().chain(files) {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        available(root.path())
    }

    #[test]
    fn the_least_of_machine_and_control_groups_counts() {
        assert_eq!(available(Path::new("none")), None);
        assert_eq!(machine("", &[]), Some(8_192_000));
        let group = |folder: &str, limit: &'static str| {
            [("max", limit), ("current", "5000"), ("stat", "active_file 9\ninactive_file 1000\n")]
                .map(|(name, text)| (format!("sys/fs/cgroup/{folder}memory.{name}"), text))
        };
        let two = |cgroup: &str, outer: &'static str, inner: &'static str| {
            let files = [group("", outer), group("a/b/", inner)].concat();
            machine(cgroup, &files.iter().map(|(name, text)| (name.as_str(), *text)).collect::<Vec<_>>())
        };
        assert_eq!(two("0::/a/b\n", "max", "max\n"), Some(8_192_000));
        assert_eq!(two("0::/a/b\n", "max", "7000\n"), Some(3000));
        assert_eq!(two("0::/a/b\n", "6000", "7000\n"), Some(2000));
        assert_eq!(two("0::/a/b\n", "max", "3000\n"), Some(0));
        assert_eq!(two("0::/../elsewhere\n", "6000", "7000\n"), Some(2000));
        assert_eq!(two("4:cpu:/\n", "6000", "7000\n"), Some(8_192_000));
        let old = [
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9000\n"),
            ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "8000\n"),
            ("sys/fs/cgroup/memory/a/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n"),
        ];
        assert_eq!(machine("7:memory:/a\n", &old), Some(1500));
    }

    #[test]
    fn the_refusal_has_the_numbers_and_what_helps() {
        assert!(require("a step", 1, vec![]).is_ok());
        let error = MemoryError { what: "a step", needed: 2_000_001, available: 10, advice: vec!["x", "y"] };
        assert_eq!(error.to_string(), "a step needs about 3 MB of memory, and 1 MB are available; what helps: x, y");
    }
}
