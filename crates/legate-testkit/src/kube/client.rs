//! The client library's client, and kubectl.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use kube::config::{KubeConfigOptions, Kubeconfig};

use super::{ApiServer, assets};
use crate::client::Error;

/// What kubectl answered.
#[derive(Debug, Clone)]
pub struct Output {
    /// Whether it exited with 0.
    pub ok: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output of a call that must have succeeded.
    ///
    /// # Errors
    /// It failed; the text is its standard error.
    pub fn success(self) -> Result<String, Error> {
        if self.ok {
            Ok(self.stdout)
        } else {
            Err(format!("kubectl: {}", self.stderr.trim()).into())
        }
    }
}

/// A client for a kubeconfig; it repeats no request by itself, so a test sees each answer.
///
/// # Errors
/// The file is not a kubeconfig.
pub(super) async fn connect(kubeconfig: &Path) -> Result<kube::Client, Error> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(file, &options).await?;
    config.default_retry = false;
    Ok(kube::Client::try_from(config)?)
}

impl ApiServer {
    /// Runs kubectl as the user who may do everything; `stdin` is what `-f -` reads.
    ///
    /// # Errors
    /// kubectl is missing or cannot be started. Its own failure is in the answer.
    pub fn kubectl(&self, args: &[&str], stdin: &str) -> Result<Output, Error> {
        self.kubectl_as(&self.admin_kubeconfig(), args, stdin)
    }

    /// As [`Self::kubectl`], with environment variables, such as the editor of `kubectl edit`.
    ///
    /// # Errors
    /// kubectl is missing or cannot be started. Its own failure is in the answer.
    pub fn kubectl_env(&self, args: &[&str], env: &[(&str, &str)]) -> Result<Output, Error> {
        self.run_kubectl(&self.admin_kubeconfig(), args, "", env)
    }

    /// Runs kubectl with another kubeconfig.
    ///
    /// # Errors
    /// kubectl is missing or cannot be started. Its own failure is in the answer.
    pub fn kubectl_as(
        &self,
        kubeconfig: &Path,
        args: &[&str],
        stdin: &str,
    ) -> Result<Output, Error> {
        self.run_kubectl(kubeconfig, args, stdin, &[])
    }

    fn run_kubectl(
        &self,
        kubeconfig: &Path,
        args: &[&str],
        stdin: &str,
        env: &[(&str, &str)],
    ) -> Result<Output, Error> {
        let mut child = Command::new(assets::program("kubectl")?)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .arg("--cache-dir")
            .arg(self.folder().join("kubectl-cache"))
            .args(args)
            // kubectl keeps preferences and plugins there.
            .env("HOME", self.folder())
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            // kubectl may end before it has read all; then its answer says why.
            let _ = pipe.write_all(stdin.as_bytes());
        }
        let output = child.wait_with_output()?;
        Ok(Output {
            ok: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}
