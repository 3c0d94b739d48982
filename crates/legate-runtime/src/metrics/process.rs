//! Metrics of the process itself, read from `/proc` at each scrape.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::task;

/// Linux has counted in hundredths of a second for user space on every architecture since 2.6.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads `/proc`; what is missing there is left out.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: Option<f64>| match value {
            Some(value) => write(&mut encoder, name, help, &ConstGauge::new(value)),
            None => Ok(()),
        };
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        gauge(
            "process_resident_memory_bytes",
            "Resident memory of the process",
            kilobytes(&status, "VmRSS:"),
        )?;
        gauge(
            "process_virtual_memory_bytes",
            "Virtual memory of the process",
            kilobytes(&status, "VmSize:"),
        )?;
        gauge(
            "process_threads",
            "Threads of the process",
            field(&status, "Threads:"),
        )?;
        gauge("process_open_fds", "Open file descriptors", open_files())?;
        gauge(
            "process_max_fds",
            "Largest number of open file descriptors",
            max_files(),
        )?;
        gauge(
            "process_start_time_seconds",
            "Start of the process as seconds since the epoch",
            start_time(&stat),
        )?;
        if let Some(seconds) = cpu_seconds(&stat) {
            let name = "process_cpu_seconds";
            let help = "Processor time used by the process";
            write(&mut encoder, name, help, &ConstCounter::new(seconds))?;
        }
        let panics = ConstCounter::new(task::panics());
        write(
            &mut encoder,
            "legate_task_panics",
            "Background tasks that panicked",
            &panics,
        )
    }
}

fn write(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> Result<(), std::fmt::Error> {
    let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
    metric.encode(encoder)
}

fn field(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn kilobytes(status: &str, name: &str) -> Option<f64> {
    field(status, name).map(|kilobytes| kilobytes * 1024.0)
}

/// A field of `/proc/self/stat` by its number in proc(5), from 3 on; the second one, the name in
/// parentheses, may hold anything.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace()
        .nth(number.checked_sub(3)?)?
        .parse()
        .ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / TICKS_PER_SECOND)
}

fn start_time(stat: &str) -> Option<f64> {
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot = field(&boot, "btime")?;
    Some(boot + stat_field(stat, 22)? / TICKS_PER_SECOND)
}

fn open_files() -> Option<f64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    // The directory itself is open while it is counted.
    u32::try_from(count.saturating_sub(1)).ok().map(f64::from)
}

fn max_files() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    field(&limits, "Max open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_the_name() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 4 0 12345 1";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(stat_field(stat, 22), Some(12345.0));
        assert_eq!(stat_field("", 22), None);
        assert_eq!(kilobytes("VmRSS:\t  10 kB\n", "VmRSS:"), Some(10240.0));
    }
}
