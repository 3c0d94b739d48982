//! How many client connections a worker may hold, from what the system allows the process.

/// Descriptors that are not for connections: sockets, files, runtimes.
const RESERVED: usize = 128;

/// Where the limit cannot be read.
const FALLBACK: usize = 65_536;

/// Smallest number that makes sense.
const LEAST: usize = 64;

/// Client connections that each of so many workers may hold: each may need a second descriptor for
/// its upstream.
pub(super) fn max_connections(workers: usize) -> usize {
    let limit = std::fs::read_to_string("/proc/self/limits")
        .ok()
        .and_then(|text| open_files(&text))
        .unwrap_or(FALLBACK);
    let share = limit.saturating_sub(RESERVED) / 2 / workers.max(1);
    share.max(LEAST)
}

/// The soft limit of open files in `/proc/self/limits`; `None` when there is none or it is not a
/// number.
fn open_files(text: &str) -> Option<usize> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_counts() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             unlimited            unlimited            processes \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(open_files(text), Some(1024));
        assert_eq!(
            open_files("Max open files   unlimited unlimited files"),
            None
        );
        assert!(max_connections(2) >= LEAST);
    }
}
