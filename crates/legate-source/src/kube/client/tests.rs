use std::fs;

use super::*;

fn kubeconfig(server: &str, context: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {context}\n\
         clusters: [{{name: {context}, cluster: {{server: '{server}'}}}}]\n\
         users: [{{name: {context}, user: {{token: planted}}}}]\n\
         contexts: [{{name: {context}, context: {{cluster: {context}, user: {context}}}}}]\n"
    )
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

#[test]
fn a_file_and_a_context_of_several_files() {
    let directory = tempfile::tempdir().unwrap();
    let one = directory.path().join("one");
    let two = directory.path().join("two");
    fs::write(&one, kubeconfig("https://10.0.0.1:6443", "one")).unwrap();
    fs::write(&two, kubeconfig("https://10.0.0.2:6443", "two")).unwrap();
    runtime().block_on(async {
        let config = client_config(Some(&one), None).await.unwrap();
        assert_eq!(config.cluster_url.host(), Some("10.0.0.1"));
        assert_eq!(config.connect_timeout, Some(CONNECT));
        let missing = directory.path().join("missing");
        let both = std::env::join_paths([&missing, &one, &two]).unwrap();
        let config = client_config(Some(Path::new(&both)), Some("two"))
            .await
            .unwrap();
        assert_eq!(config.cluster_url.host(), Some("10.0.0.2"));
        assert!(client(config).is_ok());
        // One whose name looks like a list.
        let odd = directory.path().join("one:6443");
        fs::rename(&one, &odd).unwrap();
        let config = client_config(Some(&odd), None).await.unwrap();
        assert_eq!(config.cluster_url.host(), Some("10.0.0.1"));
    });
}

#[test]
fn what_is_wrong_is_said_without_credentials() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config");
    runtime().block_on(async {
        let error = client_config(Some(&path), None).await.unwrap_err();
        assert!(
            error.to_string().contains("config cannot be used"),
            "{error}"
        );
        fs::write(&path, kubeconfig("https://10.0.0.1:6443", "one")).unwrap();
        let error = client_config(Some(&path), Some("other")).await.unwrap_err();
        assert!(error.to_string().contains("other"), "{error}");
        assert!(!format!("{error:?}").contains("planted"), "{error:?}");
    });
}
