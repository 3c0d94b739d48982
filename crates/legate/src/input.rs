//! Manifests read and compiled once, for the subcommands that do not serve.

use std::path::PathBuf;

use legate_compiler::{Compilation, Compiler, Diagnostic, MissingRefs};
use legate_source::folder::{FolderOptions, FolderSource};

use crate::args::CompileFlags;
use crate::settings::{ProcessEnvironment, compile_options};
use legate_source::selector::LabelSelector;

/// What reading and compiling gave.
#[derive(Debug)]
pub struct Compiled {
    /// Where objects came from.
    pub source: FolderSource,
    /// The compiler's result.
    pub compilation: Compilation,
    /// Everything to report, located and sorted: the source's and the compiler's.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads and compiles.
///
/// # Errors
/// The label selector is none.
pub fn compile(
    paths: &[PathBuf],
    flags: &CompileFlags,
    missing: MissingRefs,
) -> Result<Compiled, String> {
    let selector = LabelSelector::parse(flags.label_selector.as_deref().unwrap_or_default())?;
    let options = compile_options(flags, &ProcessEnvironment, missing);
    let folder = FolderOptions {
        namespace: options.namespace.clone(),
        ..FolderOptions::default()
    };
    let (source, update) = FolderSource::load(paths, folder);
    let mut compiler = Compiler::new(options);
    for object in update.upserts {
        if selector.matches(&object.meta.labels) {
            compiler.upsert(object);
        }
    }
    let compilation = compiler.compile();
    let diagnostics = merged(&source, update.diagnostics, &compilation.diagnostics);
    Ok(Compiled {
        source,
        compilation,
        diagnostics,
    })
}

/// The source's and the compiler's diagnostics in one located, sorted list.
#[must_use]
pub fn merged(
    source: &FolderSource,
    mut from_source: Vec<Diagnostic>,
    from_compiler: &[Diagnostic],
) -> Vec<Diagnostic> {
    from_source.extend(from_compiler.iter().cloned());
    source.annotate_sorted(&mut from_source);
    from_source
}
