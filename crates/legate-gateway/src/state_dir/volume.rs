//! The directory's rights, and whether it lies in memory.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::{DIRECTORY, OTHERS};

/// Takes the rights of others away. Where that is not permitted (a volume's root that belongs to
/// somebody else) it is only said: the file in it is closed to them all the same.
pub(super) fn close_to_others(path: &Path) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    if metadata.mode() & OTHERS == 0 {
        return Ok(());
    }
    let was = format!("{:03o}", metadata.mode() & 0o777);
    match fs::set_permissions(path, Permissions::from_mode(DIRECTORY)) {
        Ok(()) => {
            tracing::warn!(path = %path.display(), was, "State directory was open to others, and is not any more");
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), was, %error, "State directory is open to others; a directory below it would not be");
        }
    }
    Ok(())
}

/// Says so when keys would be written to a disk.
pub(super) fn notice_disk(path: &Path) {
    // No such table, no notice: elsewhere than on Linux this cannot be told without unsafe code.
    let (Ok(mounts), Ok(metadata)) = (
        fs::read_to_string("/proc/self/mountinfo"),
        fs::metadata(path),
    ) else {
        return;
    };
    // A file system that has no line of its own under its device number (btrfs) is a disk too.
    let kind = kind(&mounts, metadata.dev()).unwrap_or("unknown");
    if !matches!(kind, "tmpfs" | "ramfs") {
        tracing::warn!(path = %path.display(), volume.kind = kind, "State directory is not in memory: private keys are written to a disk");
    }
}

/// The kind of file system with this device number, from the text of `/proc/self/mountinfo`:
/// `36 35 98:0 /root /mount options [fields…] - kind source options`.
pub(super) fn kind(mounts: &str, device: u64) -> Option<&str> {
    // As the kernel packs them: the C library's macros are not to be had everywhere.
    let major = (device >> 8) & 0xfff | (device >> 32) & !0xfff;
    let minor = device & 0xff | (device >> 12) & !0xff;
    let device = format!("{major}:{minor}");
    mounts.lines().find_map(|line| {
        let (mount, volume) = line.split_once(" - ")?;
        (mount.split(' ').nth(2) == Some(&device)).then(|| volume.split(' ').next())?
    })
}
