//! What this process takes of the machine, for the metrics: under the names that every Prometheus client gives it, so
//! that dashboards know them. What the kernel doesn't tell is left out.

use std::fmt::Write as _;
use std::time::Duration;

use pilothouse_runtime::{Look, memory_maps, open_files};

/// What the kernel tells of this process.
struct Process {
    cpu: Option<Duration>,
    resident: Option<u64>,
    files: Option<Look>,
    maps: Option<Look>,
}

/// The gauges and counters, for an OpenMetrics exposition.
pub(crate) fn metrics() -> String {
    let status = std::fs::read_to_string("/proc/self/status").ok();
    let process = Process {
        cpu: cpu(),
        resident: status.as_deref().and_then(resident),
        files: open_files(),
        maps: memory_maps(),
    };
    text(&process)
}

#[cfg(unix)]
fn cpu() -> Option<Duration> {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(used).ok()
}

#[cfg(not(unix))]
fn cpu() -> Option<Duration> {
    None
}

/// Bytes, from the line `VmRSS:   1234 kB`.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

fn text(process: &Process) -> String {
    let mut text = String::new();
    let mut add = |name: &str, kind: &str, suffix: &str, help: &str, value: Option<String>| {
        if let Some(value) = value {
            // Writing to a String can't fail.
            let _ = writeln!(
                text,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{suffix} {value}"
            );
        }
    };
    let cpu = process.cpu.map(|cpu| format!("{:.3}", cpu.as_secs_f64()));
    let count = |look: Option<Look>| look.map(|look| look.count.to_string());
    let limit = |look: Option<Look>| look.map(|look| look.limit.to_string());
    let (files, maps) = (process.files, process.maps);
    add(
        "process_cpu_seconds",
        "counter",
        "_total",
        "CPU time used, in seconds.",
        cpu,
    );
    let resident = process.resident.map(|bytes| bytes.to_string());
    add(
        "process_resident_memory_bytes",
        "gauge",
        "",
        "Memory in use, in bytes.",
        resident,
    );
    add("process_open_fds", "gauge", "", "Open file descriptors.", count(files));
    add(
        "process_max_fds",
        "gauge",
        "",
        "The most file descriptors that may be open.",
        limit(files),
    );
    add(
        "pilothouse_memory_maps",
        "gauge",
        "",
        "Memory maps; each plugin takes some.",
        count(maps),
    );
    add(
        "pilothouse_memory_maps_limit",
        "gauge",
        "",
        "The most memory maps, as vm.max_map_count says.",
        limit(maps),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_shown_and_what_it_does_not_tell_is_left_out() {
        let files = Some(Look {
            count: 12,
            limit: 1_024,
        });
        let told = text(&Process {
            cpu: Some(Duration::from_millis(1_500)),
            resident: resident("Name:\tpilothouse\nVmRSS:\t   2048 kB\n"),
            files,
            maps: None,
        });
        let values: Vec<_> = told.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            values,
            [
                "process_cpu_seconds_total 1.500",
                "process_resident_memory_bytes 2097152",
                "process_open_fds 12",
                "process_max_fds 1024"
            ]
        );
        for rubbish in ["", "VmRSS: many kB", "VmRSS: 1"] {
            assert_eq!(resident(rubbish), None);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_all_of_it() {
        assert_eq!(metrics().lines().filter(|line| !line.starts_with('#')).count(), 6);
    }
}
