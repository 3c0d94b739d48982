//! `legate crds`: print the CRDs, or write them as files.

use crate::args::CrdsArgs;
use crate::output::{Exit, print, say};

/// Runs the command.
#[must_use]
pub fn run(args: &CrdsArgs) -> Exit {
    let files = legate_api::crd_files();
    let Some(folder) = &args.output_dir else {
        let all: Vec<String> = files.into_iter().map(|(_, text)| text).collect();
        print(&all.join("---\n"));
        return Exit::Fine;
    };
    let written = std::fs::create_dir_all(folder).and_then(|()| {
        files
            .iter()
            .try_for_each(|(name, text)| std::fs::write(folder.join(name), text))
    });
    match written {
        Ok(()) => Exit::Fine,
        Err(error) => {
            say(&format!("error: {}: {error}", folder.display()));
            Exit::Environment
        }
    }
}
