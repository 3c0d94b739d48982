//! The programs that operator tests run: etcd, kube-apiserver, kube-controller-manager, kubectl.
//!
//! Each is taken from `KUBEBUILDER_ASSETS`, from `PATH` if its version fits, or from the assets
//! folder, and else built there with Go from the modules under `tests/tools`, whose `go.mod` is the
//! only place that names a version. Links to what was found lie in `<target>/assets/bin`: tests look
//! there and nowhere else.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::shell;

/// Options of `cargo xtask assets`.
#[derive(Args)]
pub(crate) struct AssetsArgs {
    /// Build nothing: print where each program is
    #[arg(long)]
    print: bool,
}

/// One program.
struct Tool {
    binary: &'static str,
    /// Folder under `tests/tools`, and prefix of the folder in the assets.
    module: &'static str,
    /// The requirement in `go.mod` whose version is the program's.
    requirement: &'static str,
    package: &'static str,
    /// Prints the version.
    ask: &'static [&'static str],
}

const TOOLS: &[Tool] = &[
    Tool {
        binary: "etcd",
        module: "etcd",
        requirement: "go.etcd.io/etcd/server/v3",
        package: "go.etcd.io/etcd/server/v3",
        ask: &["--version"],
    },
    Tool {
        binary: "kube-apiserver",
        module: "kubernetes",
        requirement: "k8s.io/kubernetes",
        package: "k8s.io/kubernetes/cmd/kube-apiserver",
        ask: &["--version"],
    },
    Tool {
        binary: "kube-controller-manager",
        module: "kubernetes",
        requirement: "k8s.io/kubernetes",
        package: "k8s.io/kubernetes/cmd/kube-controller-manager",
        ask: &["--version"],
    },
    Tool {
        binary: "kubectl",
        module: "kubernetes",
        requirement: "k8s.io/kubernetes",
        package: "k8s.io/kubernetes/cmd/kubectl",
        ask: &["version", "--client"],
    },
];

/// The oldest kubectl that the tests can use; it prints and waits, so it need not match the server.
const KUBECTL_MINOR: u32 = 33;

/// `cargo xtask assets`.
pub(crate) fn run(args: &AssetsArgs) -> Result<()> {
    if !args.print {
        obtain()?;
    }
    let mut missing = Vec::new();
    for tool in TOOLS {
        match find(tool)? {
            Some(path) => print_line(&format!("{}\t{}", tool.binary, path.display())),
            None => missing.push(tool.binary),
        }
    }
    if !missing.is_empty() {
        bail!(
            "not found: {}; run `cargo xtask assets`",
            missing.join(", ")
        );
    }
    Ok(())
}

/// Finds or builds every program, and links it for the tests. Returns the assets folder.
pub(crate) fn obtain() -> Result<PathBuf> {
    let links = links()?;
    std::fs::create_dir_all(&links)?;
    for tool in TOOLS {
        let path = match find(tool)? {
            Some(path) => path,
            None => build(tool)?,
        };
        link(&path, &links.join(tool.binary))?;
    }
    folder()
}

/// `LEGATE_ASSETS`, else `assets` in the target folder.
pub(crate) fn folder() -> Result<PathBuf> {
    match std::env::var_os("LEGATE_ASSETS").filter(|value| !value.is_empty()) {
        // Relative to where cargo was called, which is not where the tools are built.
        Some(folder) => Ok(std::path::absolute(folder)?),
        None => Ok(target()?.join("assets")),
    }
}

/// Where the tests look.
fn links() -> Result<PathBuf> {
    Ok(target()?.join("assets/bin"))
}

fn target() -> Result<PathBuf> {
    let metadata = shell::metadata(false)?;
    let target = metadata["target_directory"].as_str();
    Ok(PathBuf::from(target.context("no target folder")?))
}

// === Finding ===

fn find(tool: &Tool) -> Result<Option<PathBuf>> {
    let wanted = version(tool)?;
    // Whoever names a folder means it, whatever version lies there.
    let given = std::env::var_os("KUBEBUILDER_ASSETS")
        .map(|folder| PathBuf::from(folder).join(tool.binary));
    if let Some(path) = given.filter(|path| path.is_file()) {
        return Ok(Some(std::path::absolute(path)?));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    for folder in std::env::split_paths(&path) {
        let file = folder.join(tool.binary);
        if file.is_file()
            && reported(&file, tool.ask).is_some_and(|found| fits(tool, &found, &wanted))
        {
            return Ok(Some(file));
        }
    }
    let built = built(tool)?;
    if built.is_file() {
        return Ok(Some(built));
    }
    // What an earlier call linked, perhaps with other variables set.
    let linked = std::fs::read_link(links()?.join(tool.binary));
    Ok(linked.ok().filter(|path| {
        reported(path, tool.ask).is_some_and(|found| found.trim_start_matches('v') == wanted)
    }))
}

/// Where the built program lies.
fn built(tool: &Tool) -> Result<PathBuf> {
    let name = format!("{}-{}", tool.module, version(tool)?);
    Ok(folder()?.join(name).join(tool.binary))
}

/// Whether a program with that version will do.
fn fits(tool: &Tool, found: &str, wanted: &str) -> bool {
    let (Some(found), Some(wanted)) = (minor(found), minor(wanted)) else {
        return false;
    };
    if tool.binary == "kubectl" {
        return found.0 == wanted.0 && found.1 >= KUBECTL_MINOR;
    }
    found == wanted
}

/// Major and minor of `1.36.3` or `v1.36.3-x`.
fn minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The first word of the program's answer that looks like a version.
fn reported(program: &Path, ask: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(ask)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace()
        .find(|word| minor(word).is_some())
        .map(str::to_owned)
}

/// The version that `go.mod` pins, without `v`.
fn version(tool: &Tool) -> Result<String> {
    let text = go_mod(tool)?;
    text.lines()
        .map(|line| line.trim().trim_start_matches("require "))
        .find_map(|line| line.strip_prefix(tool.requirement)?.strip_prefix(" v"))
        .and_then(|rest| rest.split_whitespace().next())
        .map(str::to_owned)
        .with_context(|| {
            format!(
                "{} is not required by {}/go.mod",
                tool.requirement, tool.module
            )
        })
}

fn go_mod(tool: &Tool) -> Result<String> {
    let path = module(tool).join("go.mod");
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn module(tool: &Tool) -> PathBuf {
    shell::root().join("tests/tools").join(tool.module)
}

// === Building ===

fn build(tool: &Tool) -> Result<PathBuf> {
    let version = version(tool)?;
    let path = built(tool)?;
    let parent = path.parent().context("no folder")?;
    std::fs::create_dir_all(parent)?;
    // A build that is cut short must not look like a finished one.
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let mut command = go(tool)?;
    command
        .args([
            "build",
            "-trimpath",
            "-ldflags",
            &linker_flags(tool, &version)?,
            "-o",
        ])
        .arg(&partial)
        .arg(tool.package)
        .env("CGO_ENABLED", "0")
        .current_dir(module(tool));
    shell::run(&format!("build {} {version}", tool.binary), &mut command)?;
    std::fs::rename(&partial, &path)?;
    Ok(path)
}

/// Kubernetes learns its version from the linker.
fn linker_flags(tool: &Tool, version: &str) -> Result<String> {
    let mut flags = "-s -w".to_owned();
    if tool.module == "kubernetes" {
        let (major, minor) = minor(version).context("odd version")?;
        for (name, value) in [
            ("gitVersion", format!("v{version}")),
            ("gitMajor", major.to_string()),
            ("gitMinor", minor.to_string()),
        ] {
            flags.push_str(&format!(" -X k8s.io/component-base/version.{name}={value}"));
        }
    }
    Ok(flags)
}

/// A Go command that is new enough for the module. Go 1.21 and newer fetch a newer toolchain
/// themselves when they are told to.
fn go(tool: &Tool) -> Result<Command> {
    let text = go_mod(tool)?;
    let wanted = text
        .lines()
        .find_map(|line| line.strip_prefix("go "))
        .context("go.mod names no Go version")?
        .trim();
    let found = match installed_go()? {
        Some(found) => found,
        None => {
            install_go(wanted)?;
            installed_go()?.context("Go is still missing after its installation")?
        }
    };
    let mut command = Command::new("go");
    if minor(&found) < minor(wanted) {
        if minor(&found) < Some((1, 21)) {
            bail!(
                "Go {found} cannot build {}: install Go 1.21 or newer",
                tool.binary
            );
        }
        command.env("GOTOOLCHAIN", format!("go{wanted}"));
    }
    Ok(command)
}

fn installed_go() -> Result<Option<String>> {
    let output = Command::new("go")
        .args(["env", "GOVERSION"])
        .env("GOTOOLCHAIN", "local")
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            Ok(Some(text.trim().trim_start_matches("go").to_owned()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("cannot start go"),
    }
}

fn install_go(wanted: &str) -> Result<()> {
    let script = "[ \"$(id -u)\" = 0 ] || sudo='sudo -n'; \
                  $sudo apt-get update -qq && \
                  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -qq -y golang-go";
    let status = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !status.success() {
        bail!("Go is missing and apt-get could not install it: install Go {wanted} or newer");
    }
    Ok(())
}

fn link(to: &Path, at: &Path) -> Result<()> {
    if std::fs::read_link(at).is_ok_and(|now| now == to) {
        return Ok(());
    }
    // Renamed into place, because tests may be starting the program now.
    let fresh = at.with_extension(format!("link-{}", std::process::id()));
    std::os::unix::fs::symlink(to, &fresh)?;
    std::fs::rename(&fresh, at).with_context(|| format!("cannot write {}", at.display()))
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn print_line(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_go_mod() {
        for tool in TOOLS {
            assert!(minor(&version(tool).unwrap()).is_some(), "{}", tool.binary);
        }
    }

    #[test]
    fn a_program_fits_by_minor_and_kubectl_by_age() {
        let [etcd, server, _, kubectl] = TOOLS else {
            panic!("four tools");
        };
        assert!(fits(server, "v1.36.0", "1.36.3"));
        assert!(!fits(server, "v1.35.3", "1.36.3"));
        assert!(!fits(etcd, "3.5.9", "3.6.14"));
        assert!(fits(kubectl, "v1.33.1", "1.36.3"));
        assert!(!fits(kubectl, "v1.32.4-dispatcher", "1.36.3"));
    }
}
