//! `check-config`.

use std::process::ExitCode;

use super::ConfigFile;

pub(super) fn run(file: &ConfigFile) -> Result<(), ExitCode> {
    print!("{}", file.load_with_files()?.effective);
    Ok(())
}
