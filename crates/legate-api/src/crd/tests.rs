use super::*;

#[test]
fn files_on_disk_are_up_to_date() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    if std::env::var_os("UPDATE_CRDS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in crd_files() {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
    let mut expected = Vec::new();
    for (name, text) in crd_files() {
        let on_disk = std::fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert!(
            on_disk == text,
            "crds/{name} is stale: run `cargo xtask generate`"
        );
        expected.push(name);
    }
    expected.sort();
    let mut found: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn versions_are_those_of_the_specification() {
    let versions = |name: &str| -> Vec<(String, bool, bool)> {
        let crds = crds();
        let crd = crds
            .iter()
            .find(|crd| crd.pointer("/metadata/name") == Some(&json!(name)))
            .unwrap_or_else(|| panic!("{name}"));
        let versions = crd.pointer("/spec/versions").unwrap().as_array().unwrap();
        let flag = |version: &Value, name: &str| version.get(name) == Some(&json!(true));
        versions
            .iter()
            .map(|version| {
                let name = version.get("name").unwrap().as_str().unwrap();
                (
                    name.to_owned(),
                    flag(version, "served"),
                    flag(version, "storage"),
                )
            })
            .collect()
    };
    let stored = ("v3alpha1".to_owned(), true, true);
    let served = ("v2".to_owned(), true, false);
    let listed = ("v1".to_owned(), false, false);
    assert_eq!(
        versions("listeners.getambassador.io"),
        std::slice::from_ref(&stored)
    );
    assert_eq!(
        versions("hosts.getambassador.io"),
        [stored.clone(), served.clone()]
    );
    for plural in [
        "mappings",
        "tcpmappings",
        "tlscontexts",
        "modules",
        "consulresolvers",
        "kubernetesendpointresolvers",
        "kubernetesserviceresolvers",
        "authservices",
        "ratelimitservices",
        "ratelimits",
        "logservices",
        "tracingservices",
    ] {
        assert_eq!(
            versions(&format!("{plural}.getambassador.io")),
            [stored.clone(), served.clone(), listed.clone()],
            "{plural}"
        );
    }
    let own = [("v1alpha1".to_owned(), true, true)];
    assert_eq!(versions("ratelimitpolicies.legate.dev"), own);
    assert_eq!(crds().len(), 15);
}

#[test]
fn names_and_versions_have_what_kubectl_needs() {
    for crd in crds() {
        let names = crd.pointer("/spec/names").unwrap();
        assert_eq!(names.get("categories"), Some(&json!(["ambassador-crds"])));
        assert_eq!(names.get("shortNames"), None);
        assert_eq!(
            crd.pointer("/spec/conversion"),
            Some(&json!({"strategy": "None"}))
        );
        let versions = crd.pointer("/spec/versions").unwrap().as_array().unwrap();
        let first = versions.first().unwrap();
        for version in versions {
            for name in ["schema", "additionalPrinterColumns", "subresources"] {
                assert_eq!(version.get(name), first.get(name));
            }
        }
    }
}

#[test]
fn yaml_reads_back_as_the_same() {
    let value = json!({
        "plain": "text", "empty": "", "colon": "a: b", "word": "yes", "number": "1", "int": 1,
        "list": ["a", {"x": 1, "z": [1, 2]}, [], {}], "map": {}, "quote": "say \"so\"\n",
        "long": "word ".repeat(60).trim_end(),
    });
    let expected = "plain: text\nempty: \"\"\ncolon: \"a: b\"\nword: \"yes\"\nnumber: \"1\"\n\
        int: 1\nlist:\n- a\n- x: 1\n  z:\n  - 1\n  - 2\n- []\n- {}\nmap: {}\n\
        quote: \"say \\\"so\\\"\\n\"\nlong: >-\n";
    assert!(
        yaml::to_string(&value).starts_with(expected),
        "{}",
        yaml::to_string(&value)
    );
}
