//! ServiceAccounts: what the operator under test runs as.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::credentials::{write, write_kubeconfig};
use super::{ApiServer, FaultProxy, eventually};
use crate::client::Error;

/// The shortest life that TokenRequest grants.
const SHORTEST_REQUEST: Duration = Duration::from_secs(600);

/// How long a new right may take to be honoured.
const HONOURED: Duration = Duration::from_secs(20);

/// A ServiceAccount with a kubeconfig whose token lies in a file, as in a pod.
#[derive(Debug, Clone)]
pub struct Account {
    namespace: String,
    name: String,
    uid: String,
    authority: String,
    token_file: PathBuf,
    kubeconfig: PathBuf,
}

impl Account {
    /// Its name in the audit log and in RBAC.
    #[must_use]
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    /// A kubeconfig that speaks to the API server directly.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A kubeconfig that speaks through a proxy, with the same token.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn kubeconfig_through(&self, proxy: &FaultProxy) -> Result<PathBuf, Error> {
        let end = format!("{}.kubeconfig", proxy.address().ip());
        let path = self.kubeconfig.with_extension(end);
        write_kubeconfig(&path, &proxy.url(), &self.authority, &self.token_file)?;
        Ok(path)
    }

    /// The file with the token. The Kubernetes client reads it again now and then.
    #[must_use]
    pub fn token_file(&self) -> &Path {
        &self.token_file
    }
}

impl ApiServer {
    /// Makes a ServiceAccount, and a kubeconfig with a token that lives for an hour.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Result<Account, Error> {
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": namespace},
        });
        let made = self.apply(&[manifest]).await?;
        let uid = made
            .first()
            .and_then(|object| object.pointer("/metadata/uid"))
            .and_then(Value::as_str)
            .ok_or("the account has no uid")?;
        let file = |end: &str| self.folder().join(format!("{namespace}.{name}.{end}"));
        let account = Account {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            authority: self.authority.certificate().to_owned(),
            token_file: file("token"),
            kubeconfig: file("kubeconfig"),
        };
        self.renew(&account, Duration::from_secs(3600)).await?;
        let url = self.url();
        let authority = &account.authority;
        write_kubeconfig(&account.kubeconfig, &url, authority, &account.token_file)?;
        Ok(account)
    }

    /// Replaces the account's token by one that is taken for this long. Below ten minutes it is
    /// signed here, as TokenRequest would not make it. A token that was taken once is remembered by
    /// the API server for ten seconds more; one that lives for zero seconds is refused at once.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn renew(&self, account: &Account, lifetime: Duration) -> Result<(), Error> {
        let token = if lifetime < SHORTEST_REQUEST {
            let (namespace, name) = (&account.namespace, &account.name);
            self.signing
                .token(namespace, name, &account.uid, lifetime)?
        } else {
            self.request_token(account, lifetime).await?
        };
        write(&account.token_file, &token)
    }

    /// Whether RBAC lets a user do something now: `[namespace, group, resource, verb, name]`, each
    /// empty if it does not apply; a resource may be `mappings/status`. Asking is no attempt: the
    /// audit log shows no refusal.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn allows(&self, user: &str, access: [&str; 5]) -> Result<bool, Error> {
        let [namespace, group, resource, verb, name] = access.map(str::to_owned);
        let (resource, subresource) = match resource.split_once('/') {
            Some((resource, sub)) => (resource.to_owned(), sub.to_owned()),
            None => (resource, String::new()),
        };
        let some = |text: String| (!text.is_empty()).then_some(text);
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.to_owned()),
                resource_attributes: Some(ResourceAttributes {
                    namespace: some(namespace),
                    group: some(group),
                    resource: some(resource),
                    subresource: some(subresource),
                    verb: some(verb),
                    name: some(name),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// Applies an account with its roles and bindings, and waits until the API server honours every
    /// rule: its authoriser learns of a role some moments after the role is there.
    ///
    /// # Errors
    /// The API server's words, or a rule that is not honoured in time.
    pub async fn apply_rights(&self, user: &str, manifests: &[Value]) -> Result<(), Error> {
        self.apply(manifests).await?;
        for role in manifests {
            let namespace = role.pointer("/metadata/namespace").and_then(Value::as_str);
            let rules = role.get("rules").and_then(Value::as_array);
            for rule in rules.into_iter().flatten() {
                let first = |key: &str| {
                    let list = rule.get(key).and_then(Value::as_array);
                    list.and_then(|list| list.first()?.as_str())
                        .unwrap_or_default()
                };
                let access = [
                    namespace.unwrap_or_default(),
                    first("apiGroups"),
                    first("resources"),
                    first("verbs"),
                    first("resourceNames"),
                ];
                eventually(&format!("{user} may {access:?}"), HONOURED, async || {
                    self.allows(user, access).await.ok()?.then_some(())
                })
                .await?;
            }
        }
        Ok(())
    }

    async fn request_token(&self, account: &Account, lifetime: Duration) -> Result<String, Error> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &account.namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(i64::try_from(lifetime.as_secs())?),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = api
            .create_token_request(&account.name, &PostParams::default(), &request)
            .await?;
        Ok(answer.status.ok_or("no token")?.token)
    }
}
