//! Files that the command makes. They are their owner's alone: what a program allocates, and where things lie in it, may tell of what
//! it works on.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// As a shell's `>` opens a file, but with no rights for others where it is new. One that is there keeps its rights: somebody chose
/// them.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    create(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_new_is_its_owners_alone_and_what_was_there_keeps_its_rights() {
        let path = std::env::temp_dir().join(format!("heapglass-output.{}", std::process::id()));
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        write(&path, b"first").unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        write(&path, b"2nd").unwrap();
        assert_eq!((mode(), fs::read(&path).unwrap()), (0o644, b"2nd".to_vec()));
        fs::remove_file(&path).unwrap();
        assert!(create(Path::new("/no/such/place")).is_err());
    }
}
